package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/events"
)

// pile is a gatherer whose batches are kept instead of sent.
type pile struct {
	*gatherer
	mu   sync.Mutex
	sent []string // the texts of each, joined
	back int      // members that were handed back
}

func newPile() *pile {
	p := &pile{}
	p.gatherer = newGatherer(func(b *batch) {
		var texts []string
		size := len("[]") + len(b.members) - 1
		for _, m := range b.members {
			texts = append(texts, string(m.text))
			size += len(m.text)
		}
		if b.size != 0 && b.size != size {
			panic(fmt.Sprintf("a batch of %d bytes says %d", size, b.size))
		}
		p.mu.Lock()
		p.sent = append(p.sent, strings.Join(texts, ","))
		p.mu.Unlock()
		b.settled(nil)
	})
	return p
}

func (p *pile) put(l *slots, subscription string, bounds events.Batch, texts ...string) {
	for _, text := range texts {
		m := &member{text: []byte(text), delivery: &delivery{Delivery: events.Delivery{Subscription: subscription}, slots: l}}
		m.done = func(err error) {
			if err != nil {
				p.mu.Lock()
				p.back++
				p.mu.Unlock()
			}
		}
		if !p.add(m, bounds) {
			m.done(errReturned)
		}
	}
}

// batches are the batches sent so far, in no particular order.
func (p *pile) batches() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.sent)
	return p.sent
}

// TestGather: each bound sends a batch, and each subscription and lane has batches of its own.
func TestGather(t *testing.T) {
	t.Parallel()
	first, held := &slots{name: "first"}, &slots{name: "held"}
	minute := events.Duration(time.Minute)
	for name, tc := range map[string]struct {
		bounds events.Batch
		put    func(p *pile, b events.Batch)
		now    []string // sent at once
		later  []string // sent when the linger is over
	}{
		"count": {
			events.Batch{MaxEvents: 2, MaxBytes: 100, Linger: minute},
			func(p *pile, b events.Batch) { p.put(first, "a", b, "1", "2", "3") },
			[]string{"1,2"}, []string{"1,2", "3"},
		},
		"one": {
			events.Batch{MaxEvents: 1, MaxBytes: 100, Linger: minute},
			func(p *pile, b events.Batch) { p.put(first, "a", b, "1", "2") },
			[]string{"1", "2"}, []string{"1", "2"},
		},
		"bytes reached": {
			events.Batch{MaxEvents: 9, MaxBytes: len("[11,22]"), Linger: minute},
			func(p *pile, b events.Batch) { p.put(first, "a", b, "11", "22", "33") },
			[]string{"11,22"}, []string{"11,22", "33"},
		},
		"bytes exceeded": {
			events.Batch{MaxEvents: 9, MaxBytes: len("[11,22]"), Linger: minute},
			func(p *pile, b events.Batch) { p.put(first, "a", b, "11", "222", "3") },
			[]string{"11", "222,3"}, []string{"11", "222,3"},
		},
		"too large": {
			events.Batch{MaxEvents: 9, MaxBytes: 8, Linger: minute},
			func(p *pile, b events.Batch) { p.put(first, "a", b, "1", "1234567", "2") },
			[]string{"1234567"}, []string{"1,2", "1234567"},
		},
		"subscriptions and lanes": {
			events.Batch{MaxEvents: 2, MaxBytes: 100, Linger: minute},
			func(p *pile, b events.Batch) {
				p.put(first, "a", b, "1")
				p.put(first, "b", b, "2")
				p.put(held, "a", b, "3")
				p.put(first, "b", b, "4")
			},
			[]string{"2,4"}, []string{"1", "2,4", "3"},
		},
		"no linger": {
			events.Batch{MaxEvents: 9, MaxBytes: 100},
			func(p *pile, b events.Batch) { p.put(first, "a", b, "1") },
			[]string{"1"}, []string{"1"},
		},
		"flush": {
			events.Batch{MaxEvents: 9, MaxBytes: 100, Linger: minute},
			func(p *pile, b events.Batch) {
				p.put(first, "a", b, "1", "2")
				p.flush(gatherKey{"a", first})
				p.flush(gatherKey{"b", first})
				p.put(first, "a", b, "3")
			},
			[]string{"1,2"}, []string{"1,2", "3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPile()
				tc.put(p, tc.bounds)
				if diff := cmp.Diff(tc.now, p.batches()); diff != "" {
					t.Errorf("at once: %s", diff)
				}
				<-time.After(time.Minute) // of the bubble
				if diff := cmp.Diff(tc.later, p.batches()); diff != "" {
					t.Errorf("later: %s", diff)
				}
				if p.count != 0 || p.bytes != 0 || len(p.open) != 0 {
					t.Errorf("%d deliveries with %d bytes in %d batches are left", p.count, p.bytes, len(p.open))
				}
			})
		})
	}
}

// TestGatherEnd: what lingers is handed back, and nothing is taken after that.
func TestGatherEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPile()
		bounds := events.Batch{MaxEvents: 9, MaxBytes: 100, Linger: events.Duration(time.Minute)}
		p.put(&slots{}, "a", bounds, "1", "2")
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = p.run(ctx) })
		cancel()
		running.Wait()
		p.put(&slots{}, "a", bounds, "3")
		<-time.After(time.Minute) // of the bubble
		if got := p.batches(); len(got) != 0 || p.back != 3 {
			t.Errorf("sent %v, %d handed back", got, p.back)
		}
	})
}

// TestGatherHandBack: what lingers for slots is handed back and makes room, what lingers for others goes on, and new is taken.
func TestGatherHandBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPile()
		first, held := &slots{}, &slots{name: "held"}
		bounds := events.Batch{MaxEvents: 9, MaxBytes: 100, Linger: events.Duration(time.Minute)}
		p.put(first, "a", bounds, "1", "2")
		p.put(first, "b", bounds, "3")
		p.put(held, "a", bounds, "4")
		p.handBack(first)
		if p.back != 3 || p.count != 1 || p.bytes != 1 {
			t.Errorf("%d handed back, %d of %d bytes are left", p.back, p.count, p.bytes)
		}
		p.put(first, "a", bounds, "5")
		<-time.After(time.Minute) // of the bubble
		synctest.Wait()
		if got := p.batches(); !slices.Equal(got, []string{"4", "5"}) || p.count != 0 || p.bytes != 0 {
			t.Errorf("sent %v, %d of %d bytes are left", got, p.count, p.bytes)
		}
	})
}

func TestGatherLimit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ count, bytes, want int }{
		{0, 0, 2 * maxGathered}, {maxGathered / 2, 0, maxGathered}, {maxGathered - 1, 0, 2}, {maxGathered, 0, 1}, {maxGathered + 5, 0, 1},
		{0, maxGatheredBytes, 1},
	} {
		g := newGatherer(nil)
		g.count, g.bytes = tc.count, tc.bytes
		if got := g.limit(); got != tc.want {
			t.Errorf("with %d deliveries and %d bytes: %d, want %d", tc.count, tc.bytes, got, tc.want)
		}
	}
}
