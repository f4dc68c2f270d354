package worker

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// ackWait is how long the broker waits for a message's ack before it gives it to another worker: what a killed worker
// had in flight is taken up that soon. Whoever lives says so every keepInterval, four times within ackWait.
const (
	ackWait      = 4 * time.Second
	keepInterval = time.Second
)

// keeper tells the broker that messages in our hands are being worked on.
type keeper struct {
	nc *nats.Conn

	mu   sync.Mutex
	ring kept // of all, the oldest after it
}

type kept struct {
	reply        string
	since        time.Time
	older, newer *kept
}

func newKeeper(nc *nats.Conn) *keeper {
	k := &keeper{nc: nc}
	k.ring.older, k.ring.newer = &k.ring, &k.ring
	return k
}

// add keeps a message alive until remove.
func (k *keeper) add(reply string) *kept {
	m := &kept{reply: reply, since: time.Now()}
	k.mu.Lock()
	m.older, m.newer = k.ring.older, &k.ring
	m.older.newer, k.ring.older = m, m
	k.mu.Unlock()
	return m
}

func (k *keeper) remove(m *kept) {
	k.mu.Lock()
	m.older.newer, m.newer.older = m.newer, m.older
	k.mu.Unlock()
}

// run says InProgress for all that is older than keepInterval, until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, reply := range k.aged(now.Add(-keepInterval)) {
				if err := k.nc.Publish(reply, inProgress); err != nil {
					break // disconnected: the broker redelivers
				}
			}
		}
	}
}

// aged returns the replies of the messages held since before.
func (k *keeper) aged(before time.Time) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var replies []string
	for m := k.ring.newer; m != &k.ring && !m.since.After(before); m = m.newer {
		replies = append(replies, m.reply)
	}
	return replies
}
