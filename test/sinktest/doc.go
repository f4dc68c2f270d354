// Package sinktest is a partner's webhook endpoint for tests: a real HTTP server on 127.0.0.1 that answers as it is told,
// records each request with its bytes, headers and time of arrival, and lets a test wait for what is to come.
//
// It promises that what it records is what was on the wire, as far as net/http shows it, and that a request is recorded
// before it is answered. It does not judge: tests do.
package sinktest
