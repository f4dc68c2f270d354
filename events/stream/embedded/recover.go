package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Recover has the server read its store anew, which it does else at its start only, as for the ids of what is stored within the window of
// duplicates: 20 ms, and a microsecond for each of these. Clients from outside stay connected, also one that waits to be let in, which
// keeps a server from ending; what these ask meanwhile is refused. Our own connections break and come back as at a restart, which tells whoever listens or pulls
// to ask anew; but what they send meanwhile waits, and what was asked before is answered, so that nothing is lost.
func (b *Broker) Recover(ctx context.Context) error {
	if !b.swap.lock(ctx) {
		return fmt.Errorf("read the store anew: %w", context.Cause(ctx))
	}
	defer b.swap.unlock()
	s := b.current.Load()
	if s == nil || b.over {
		return errEnded
	}
	if b.failed.Load() {
		return fmt.Errorf("read the store anew: %w", errFailed)
	}
	defer b.inner.hold()()
	if !idle(ctx, s) {
		b.log.Warn().Msg("the broker is not through with what it was sent, and reads its store anew all the same")
	}
	account := s.GlobalAccount()
	if err := account.DisableJetStream(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	if err := account.EnableJetStream(nil, nil); err != nil {
		b.failed.Store(true) // and so it is started anew
		return fmt.Errorf("read the store anew: %w", err)
	}
	return nil
}

// What was sent is queued in the server, of streams and consumers each, and the queue ends with them: an ack, to which nobody waits for an answer,
// would be lost. They are through with it within milliseconds.
const (
	idleTimeout = 500 * time.Millisecond
	idleLook    = time.Millisecond
)

// idle waits until the streams and consumers have carried out what they were sent. It returns false if that takes too long.
func idle(ctx context.Context, s *server.Server) bool {
	ctx, cancel := context.WithTimeout(ctx, idleTimeout)
	defer cancel()
	look := time.NewTicker(idleLook)
	defer look.Stop()
	for {
		queues := s.Ipqueuesz(&server.IpqueueszOptions{Filter: "[ACC:" + server.DEFAULT_GLOBAL_ACCOUNT + "] "})
		if len(*queues) == 0 {
			return true
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// swap is what only one may do with the server at a time: to read its store anew, or to end it.
type swap chan struct{}

func (s swap) lock(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s swap) unlock() { <-s }
