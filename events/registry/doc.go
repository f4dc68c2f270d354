// Package registry holds the subscriptions and the health of their sinks: in KV, watched into memory, with the index that
// finds the subscriptions of an event.
//
// It promises that a write is visible to this process when it returns and to every other process that calls Fresh after
// it, that an event is matched by the subscriptions as they were when it was accepted, and that a record that cannot be
// read stops nothing else. It does not promise that two processes see a change at the same instant, and it neither
// sends nor cancels anything.
package registry
