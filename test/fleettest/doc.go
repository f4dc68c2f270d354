// Package fleettest runs real `hookfleet serve` processes for tests that look at the fleet from outside.
//
// It promises a binary built from this tree, once per test run; processes that end with the test that started them, also
// when the test is killed; and everything on 127.0.0.1, in directories that the test removes. It knows of the fleet what
// the contract says, and nothing of its packages.
package fleettest
