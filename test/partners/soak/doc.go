// Package soak runs the five partner systems together on one fleet for as long as it is told, with mixed load and partners
// that are down, slow, rotate their secret and move. At the end every receiver's checker has to be content, everything
// that was accepted has to have come once, and nothing twice.
//
// HOOKFLEET_SOAK says how long, such as 30m; without it the test is skipped. `make soak` is the usual way.
package soak
