//go:build !brokenack

package worker

// ackFirst turns the order of settling round: the ack before the attempt and its record. It is false in every build but
// the one with the tag brokenack, which exists for one test: that the checker of test/faults reports the loss which a
// worker in this order causes. A checker that was never seen to report loss proves nothing.
const ackFirst = false
