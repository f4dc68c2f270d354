package main

import "runtime"

// ballastBytes is memory that is reserved and never touched, so it costs no RAM. The collector runs when the heap has
// doubled, and a fleet's live heap is small while it allocates much: with 16 MiB beside it, it runs less often, at
// the price of at most 16 MiB more at the full rate. A large live heap is not inflated, as a higher GOGC would.
const ballastBytes = 16 << 20

// carryBallast reserves the ballast until the returned func is called.
func carryBallast() (drop func()) {
	ballast := make([]byte, ballastBytes)
	return func() { runtime.KeepAlive(ballast) }
}
