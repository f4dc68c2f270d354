package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Sender is where a worker's requests come from.
type Sender struct {
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Proxy     string       `json:"proxy,omitempty"` // its URL without credentials; "" = none
}

// heartbeat is what a worker says of itself in BucketWorkers.
type heartbeat struct {
	At      time.Time `json:"at"`
	Sender  Sender    `json:"sender"`
	Leaving bool      `json:"leaving,omitempty"` // it takes nothing new
}

// Leaves reports whether a heartbeat says that its worker is leaving.
func Leaves(text []byte) bool {
	var beat heartbeat
	return json.Unmarshal(text, &beat) == nil && beat.Leaving
}

// Heartbeat is the text of a heartbeat.
func Heartbeat(at time.Time, s Sender, leaving bool) []byte {
	text, err := json.Marshal(heartbeat{at.UTC(), s, leaving})
	if err != nil {
		panic(fmt.Sprintf("stream: heartbeat: %v", err)) // times, addresses and a string
	}
	return text
}

// Senders are those of the live workers, in no particular order. A worker of a release that does not say is passed over.
func Senders(ctx context.Context, js jetstream.JetStream) ([]Sender, error) {
	kv, err := js.KeyValue(ctx, BucketWorkers)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", BucketWorkers, err)
	}
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read the workers: %w", err)
	}
	defer func() { _ = w.Stop() }() // what was read is read
	var all []Sender
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("read the workers: %w", context.Cause(ctx))
		case entry := <-w.Updates():
			if entry == nil {
				return all, nil
			}
			var beat heartbeat
			if json.Unmarshal(entry.Value(), &beat) == nil {
				all = append(all, beat.Sender)
			}
		}
	}
}
