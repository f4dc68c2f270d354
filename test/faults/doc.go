// Package faults kills, stops and starves real fleets under load, and proves from two ledgers that nothing accepted was
// lost: publishers write down what was accepted, sinks write down what they got before they answer, and a checker
// compares them.
//
// It promises to find loss, duplicates beyond what was in flight at a kill, and altered bytes: the checker is tested
// with each of them planted, and with a worker that is broken on purpose. It does not cut the power: what the disk lost
// is not seen here. The long form runs with `make faults` (HOOKFLEET_FAULTS=full), a short form in `go test`.
package faults
