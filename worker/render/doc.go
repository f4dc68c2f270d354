// Package render makes what a partner gets of an event: URL, headers and body of a request, as the subscription says.
//
// It promises that the bytes of data are never changed but where a template takes a value out of them; that nothing of an
// event gets into scheme, host or port of a URL; and that what it makes is bounded, whatever the template and the event. It
// does not sign, does not authenticate, and does not send.
package render
