// Package egress is the one way out: every request that we send to an address somebody else chose goes through a Client.
//
// It promises that each concrete address is judged by the Guard after name resolution and before the first packet, that nothing is sent
// twice or to anywhere else (no redirects, no proxy environment, no hidden re-send, no connection shared by two tenants, two certificates
// or two ways), that an exchange has one deadline from connecting to the last body byte, that what is read and kept is bounded, and that
// every error is an *Error with one of seven kinds and without the query of a URL in its text.
//
// With a Proxy it judges the target as far as it resolves here, and then leaves to the proxy where the name leads: nothing that is said
// about addresses holds for a proxy that reaches what it should not.
//
// It does not promise to retry, to judge a status, or to hide what a partner answered: Response has that as it came.
package egress
