package worker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// crew is some workers who hear of each other late, each at its own time, and one sink of theirs.
type crew struct {
	t     *testing.T
	r     *rand.Rand
	limit int
	said  map[string]stream.Heartbeat            // the newest word of each that is alive
	all   map[string]*fleet                      // that are alive
	heard map[string]map[string]stream.Heartbeat // by whom, of whom
	gates map[string]*gate
}

const oneSink = "sub-1"

func (c *crew) come(id string) {
	f, g := newFleet(nil, nil, zerolog.Nop(), id), &gate{}
	f.parts.makeRoom = func() ([]string, bool) {
		rank, n := f.rank(oneSink)
		if g.lower(share(c.limit, rank, n)) {
			return []string{oneSink}, true
		}
		return nil, true
	}
	c.all[id], c.gates[id], c.heard[id] = f, g, map[string]stream.Heartbeat{}
	c.said[id] = f.word(false, stream.Sender{})
}

// leave ends a worker; what it had in flight has ended.
func (c *crew) leave(id string) {
	delete(c.all, id)
	delete(c.gates, id)
	delete(c.said, id)
	delete(c.heard, id)
}

// listen lets a worker hear what the others say now.
func (c *crew) listen(id string) {
	c.heard[id] = maps.Clone(c.said)
	c.heard[id][id] = stream.Heartbeat{}
	c.all[id].set(c.heard[id])
}

// send lets a worker send as much as it may.
func (c *crew) send(id string) {
	f, g := c.all[id], c.gates[id]
	part := 0
	if f.parts.has(oneSink) {
		rank, n := f.rank(oneSink)
		part = share(c.limit, rank, n)
	}
	for g.tryAcquire(part, time.Now()) {
	}
}

func (c *crew) inflight() (n int) {
	for _, g := range c.gates {
		n += g.inflight
	}
	return n
}

// TestPartsKeepTheLimit: while workers come and go and hear of each other late, what all have in flight is never more
// than the limit; and once all have heard everything they use it.
func TestPartsKeepTheLimit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := &crew{
			t: t, r: r, limit: 1 + r.IntN(12), said: map[string]stream.Heartbeat{}, all: map[string]*fleet{},
			heard: map[string]map[string]stream.Heartbeat{}, gates: map[string]*gate{},
		}
		next := 0
		for range 400 {
			ids := slices.Sorted(maps.Keys(c.all))
			if len(ids) == 0 || len(ids) < 5 && r.IntN(20) == 0 {
				next++
				c.come(fmt.Sprintf("w-%d", next))
				continue
			}
			id := ids[r.IntN(len(ids))]
			switch r.IntN(8) {
			case 0:
				if r.IntN(4) == 0 {
					c.leave(id)
				}
			case 1, 2, 3:
				c.listen(id)
			case 4:
				c.said[id] = c.all[id].word(false, stream.Sender{})
			case 5, 6:
				c.send(id)
			case 7:
				if g := c.gates[id]; g.inflight > 0 {
					g.release(time.Millisecond)
				}
			}
			if n := c.inflight(); n > c.limit {
				t.Fatalf("seed %d: %d in flight, the limit is %d", seed, n, c.limit)
			}
		}
		for range 6 {
			for id := range c.all {
				for c.gates[id].inflight > 0 {
					c.gates[id].release(time.Millisecond)
				}
				c.listen(id)
				c.said[id] = c.all[id].word(false, stream.Sender{})
			}
		}
		for id := range c.all {
			c.send(id)
		}
		if n := c.inflight(); n != c.limit && len(c.all) > 0 {
			t.Errorf("seed %d: %d in flight of %d workers, the limit is %d", seed, n, len(c.all), c.limit)
		}
	}
}
