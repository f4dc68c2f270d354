package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// aliveKept is how long is known when a worker was last alive: longer than the history of what it did.
const aliveKept = 8 * 24 * time.Hour

func aliveSubject(worker string) string { return "$KV." + BucketFleet + "." + KeyAlive + worker }

// AliveMessage says that a worker is alive. Unlike its heartbeat it stays when the worker is gone.
func AliveMessage(worker string) *nats.Msg {
	return &nats.Msg{Subject: aliveSubject(worker), Header: nats.Header{jetstream.MsgTTLHeader: {aliveKept.String()}}, Data: []byte(`{}`)}
}

// LastAlive is when a worker last said that it is alive; zero = longer ago than is known.
func (l *Lanes) LastAlive(ctx context.Context, worker string) (time.Time, error) {
	m, err := l.leader(ctx, "KV_"+BucketFleet, getRequest{Last: aliveSubject(worker)})
	if err != nil {
		return time.Time{}, fmt.Errorf("look when worker %s was last alive: %w", worker, err)
	}
	if m == nil || len(m.Data) == 0 { // or it has expired
		return time.Time{}, nil
	}
	return m.Time, nil
}
