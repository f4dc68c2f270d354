// Package e2e drives real `hookfleet serve` processes from outside: over HTTP, over NATS, and by the command line.
//
// It promises to look at nothing but what the contract says a user, a partner or an operator sees. How the fleet behaves
// when processes die is the business of package faults.
package e2e
