//go:build brokenack

package worker

// ackFirst: see order.go. What is in flight when this worker is killed is lost.
const ackFirst = true
