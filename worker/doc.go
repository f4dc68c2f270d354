// Package worker takes events from the stream and brings them to their sinks: dispatch → deliver → settle. deliver.go is
// where to start reading.
//
// It promises that every delivery it takes ends in exactly one state, that what it cannot finish is handed back
// uncounted, and that one sink's trouble holds up no other's. It does not promise an order between deliveries, and a
// partner may get a delivery twice when a process is killed between its answer and our record of it.
package worker
