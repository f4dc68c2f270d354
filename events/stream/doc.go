// Package stream is what Hookfleet says to JetStream: the names, the topology, the group writer, timers, held
// deliveries, dead letters and the delivery history.
//
// It promises that an acknowledged write is as durable as the broker can make it (one fsync a group on the embedded
// broker, a quorum in a cluster). It decides nothing: what to write and when is the worker's, the producer's and the
// scheduler's.
package stream
