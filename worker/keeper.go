package worker

import (
	"container/list"
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

	mu  sync.Mutex
	old list.List // of *kept, oldest first
}

type kept struct {
	reply string
	since time.Time
	place *list.Element
}

func newKeeper(nc *nats.Conn) *keeper { return &keeper{nc: nc} }

// add keeps a message alive until remove.
func (k *keeper) add(reply string) *kept {
	m := &kept{reply: reply, since: time.Now()}
	k.mu.Lock()
	m.place = k.old.PushBack(m)
	k.mu.Unlock()
	return m
}

func (k *keeper) remove(m *kept) {
	k.mu.Lock()
	k.old.Remove(m.place)
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
	for e := k.old.Front(); e != nil; e = e.Next() {
		m, ok := e.Value.(*kept)
		if !ok || m.since.After(before) {
			break
		}
		replies = append(replies, m.reply)
	}
	return replies
}
