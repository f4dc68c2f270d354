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

// Heartbeat is what a worker says of itself in BucketWorkers, and a poller in BucketPollers, of which only Broker counts.
type Heartbeat struct {
	At      time.Time `json:"at"`
	Sender  Sender    `json:"sender"`
	Broker  bool      `json:"broker,omitempty"`  // it is in the process that runs the broker, and ends with it
	Leaving bool      `json:"leaving,omitempty"` // it takes nothing new: it owns no sink, and has its part of the limits until it is gone
	Knows   []string  `json:"knows,omitempty"`   // workers that it has made room for within the limits
	Over    []string  `json:"over,omitempty"`    // but not yet at these subscriptions' sinks: more is in flight there than its part is now
}

// ReadHeartbeat reads the text of a heartbeat. Of what it cannot read, another release's, it knows that there is a worker.
func ReadHeartbeat(text []byte) (h Heartbeat) {
	if json.Unmarshal(text, &h) != nil {
		return Heartbeat{}
	}
	return h
}

// Text is what is stored of a heartbeat.
func (h Heartbeat) Text() []byte {
	text, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("stream: heartbeat: %v", err)) // times, addresses and strings
	}
	return text
}

// Senders are those of the live workers, in no particular order. A worker of a release that does not say is passed over.
func Senders(ctx context.Context, js jetstream.JetStream) ([]Sender, error) {
	kv, err := js.KeyValue(ctx, BucketWorkers)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", BucketWorkers, err)
	}
	var all []Sender
	err = eachBeat(ctx, kv, func(_ string, text []byte) {
		var beat Heartbeat
		if json.Unmarshal(text, &beat) == nil {
			all = append(all, beat.Sender)
		}
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
