package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// reconnectWait is how long a lost connection to the broker waits before the next try.
const reconnectWait = 500 * time.Millisecond

// dialTimeout is how long a broker may take to let us in. One that is embedded in another process reads the ids of the last minutes first.
const dialTimeout = 30 * time.Second

// connect opens the connections: several, so that what workers pull does not wait behind what publishers send, and a
// read behind neither.
func (f *fleet) connect(context.Context) (err error) {
	if f.front, err = f.dial("hookfleet front"); err != nil {
		return err
	}
	if f.back, err = f.dial("hookfleet back"); err != nil {
		return err
	}
	if f.query, err = f.dial("hookfleet query"); err != nil {
		return err
	}
	if f.js, err = jetstream.New(f.query); err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	return nil
}

func (f *fleet) dial(name string) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.CustomInboxPrefix(stream.InboxPrefix),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				f.log.Warn().Err(err).Str("connection", name).Msg("broker away")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { f.log.Info().Str("connection", name).Msg("broker back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			f.log.Warn().Err(err).Str("connection", name).Msg("broker")
		}),
	}
	if f.broker != nil {
		return f.broker.Connect(opts...)
	}
	if f.cfg.NATS.Creds != "" {
		opts = append(opts, nats.UserCredentials(f.cfg.NATS.Creds))
	}
	nc, err := nats.Connect(strings.Join(f.cfg.NATS.URL, ","), append(opts, nats.Timeout(dialTimeout))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	return nc, nil
}

// disconnect closes the connections, once nobody uses them any more.
func (f *fleet) disconnect() {
	for _, nc := range []*nats.Conn{f.front, f.back, f.index, f.replays, f.query} {
		if nc != nil {
			nc.Close()
		}
	}
	if f.egress != nil {
		f.egress.Close()
	}
}
