// Package producer is how events get in: the public Go client, and the ingest that answers HTTP and NATS publishers.
//
// It promises that an event whose publishing was answered is durable, and that publishing it again is harmless: the
// same source and id is stored once. It does not promise when, or in what order, sinks get it.
package producer
