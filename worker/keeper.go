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

// keeper knows the messages in our hands, and tells the broker that they are being worked on.
type keeper struct {
	nc *nats.Conn

	mu     sync.Mutex
	ring   kept // of all, the oldest after it
	inHand map[place]struct{}
}

// place is a message's in the broker.
type place struct {
	stream   string
	sequence uint64
}

type kept struct {
	at           place
	reply        string // "" = nobody waits for an answer
	since        time.Time
	older, newer *kept
}

func newKeeper(nc *nats.Conn) *keeper {
	k := &keeper{nc: nc, inHand: map[place]struct{}{}}
	k.ring.older, k.ring.newer = &k.ring, &k.ring
	return k
}

// add keeps a message alive until remove. It returns nil for one that is in our hands already: the broker, or we, stood
// still for so long that it was given out again, and who has it will answer.
func (k *keeper) add(streamName string, sequence uint64, reply string) *kept {
	m := &kept{at: place{streamName, sequence}, reply: reply, since: time.Now()}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.inHand[m.at]; ok {
		return nil
	}
	k.inHand[m.at] = struct{}{}
	m.older, m.newer = k.ring.older, &k.ring
	m.older.newer, k.ring.older = m, m
	return m
}

func (k *keeper) remove(m *kept) {
	k.mu.Lock()
	m.older.newer, m.newer.older = m.newer, m.older
	delete(k.inHand, m.at)
	k.mu.Unlock()
}

// of returns the sequences of a stream's messages in our hands, the oldest in hand first.
func (k *keeper) of(streamName string) (sequences []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for m := k.ring.newer; m != &k.ring; m = m.newer {
		if m.at.stream == streamName {
			sequences = append(sequences, m.at.sequence)
		}
	}
	return sequences
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
		if m.reply != "" {
			replies = append(replies, m.reply)
		}
	}
	return replies
}
