// Package api is the HTTP API of Hookfleet: every resource of /v1, one file each, and the OpenAPI document that is made
// from the same table as the routes.
//
// It promises that a 2xx answer to a change is only sent when the change is durable, that input is refused with every
// fault named at once, that one tenant's caller never learns of another tenant's objects, and that nothing a caller
// sends makes it read, keep or answer without a bound. It does not take events in itself (it mounts the producer's
// handler for that), sends no webhook, and promises no snapshot: a list read while deliveries move may show one of them
// in the state it had a moment before.
package api
