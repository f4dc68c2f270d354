// Package examples holds the subscriptions of five systems that Hookfleet replaces, as `hookfleet subscription apply -f`
// takes them. The demo runs them, and the tests in test/partners hold each of their promises against a running fleet.
package examples

import "embed"

// Files are the examples, one directory for each system.
//
//go:embed */*.yaml
var Files embed.FS
