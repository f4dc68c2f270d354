package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/fleettest"
)

// wholeSize is how many events a batch of TestKillLeavesWholeBatches has.
const wholeSize = 100

// wholeBatches publishes batches, and knows which were answered.
type wholeBatches struct {
	t  *testing.T
	mu sync.Mutex

	n        int
	answered map[int]bool // by number: false = nobody knows
}

// TestKillLeavesWholeBatches: of a batch that a SIGKILL comes in between there is all or nothing, of one that was answered there is all,
// and one that comes again is stored where it was not.
func TestKillLeavesWholeBatches(t *testing.T) {
	if testing.Short() {
		t.Skip("a fault campaign")
	}
	kills := 4
	if os.Getenv(envLength) == "full" {
		kills = 60
	}
	s := fleettest.Start(t, fleettest.Options{Args: []string{"--log-level", "info"}})
	b := &wholeBatches{t: t, answered: map[int]bool{}}
	parts := 0
	for range kills {
		b.publishUntilKilled(s, 20+rand.IntN(60)) // batches
		s.Start(t)
		if strings.Contains(s.Log(), "removed a part of a batch") {
			parts++
		}
	}
	seen, plain := b.read(s)
	for n, answered := range b.answered {
		if there := seen[n]; there != wholeSize && (answered || there != 0) {
			t.Errorf("of batch %d, answered: %v, %d events are there", n, answered, there)
		}
	}
	if plain == 0 {
		t.Error("no batch was stored as plain messages: nothing was tested")
	}
	again := 0
	for n, answered := range b.answered {
		if !answered {
			again++
			if !b.send(s.Client(), n) {
				t.Errorf("batch %d is not taken when it comes again", n)
			}
		}
	}
	seen, _ = b.read(s)
	for n := range b.answered {
		if seen[n] != wholeSize {
			t.Errorf("of batch %d, which came again, %d events are there", n, seen[n])
		}
	}
	t.Logf("%d batches, %d of them unanswered at first; %d starts removed a part", b.n, again, parts)
	s.MustStop(t)
}

// publishUntilKilled publishes batches from several clients, none twice, and kills s when so many more are answered.
func (b *wholeBatches) publishUntilKilled(s *fleettest.Server, more int) {
	const clients = 4
	answers := make(chan struct{}, more+clients)
	var publishing sync.WaitGroup
	for range clients {
		publishing.Go(func() {
			for c := s.Client(); ; answers <- struct{}{} {
				b.mu.Lock()
				n := b.n
				b.n++
				b.answered[n] = false
				b.mu.Unlock()
				if !b.send(c, n) {
					return
				}
				b.mu.Lock()
				b.answered[n] = true
				b.mu.Unlock()
			}
		})
	}
	go func() {
		publishing.Wait()
		close(answers)
	}()
	for range more {
		if _, ok := <-answers; !ok {
			b.t.Fatal("the publishers ended by themselves")
		}
	}
	s.Kill()
	for range answers { // until they have ended
	}
}

// send publishes a batch; false = nobody knows what became of it.
func (b *wholeBatches) send(c *fleettest.Client, n int) bool {
	texts := make([]string, wholeSize)
	for i := range texts {
		texts[i] = fmt.Sprintf(`{"specversion":"1.0","id":"%d-%d","source":"/whole","type":"whole","data":%q}`, n, i, strings.Repeat("x", 500))
	}
	r, err := c.Call(b.t.Context(), http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Batch}},
		[]byte("["+strings.Join(texts, ",")+"]"))
	if err == nil && r.Status != http.StatusAccepted {
		b.t.Errorf("batch %d is answered %d: %s", n, r.Status, r.Body)
	}
	return err == nil && r.Status == http.StatusAccepted
}

// read counts the events of each batch that are stored, and those that were stored as plain messages.
func (b *wholeBatches) read(s *fleettest.Server) (seen map[int]int, plain int) {
	nc, err := nats.Connect(s.BrokerURL(s.Key), nats.Timeout(fleettest.Patience))
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(fleettest.Patience))
	if err != nil {
		b.t.Fatal(err)
	}
	str, err := js.Stream(b.t.Context(), stream.Events)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := str.OrderedConsumer(b.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		b.t.Fatal(err)
	}
	defer messages.Stop()
	seen = map[int]int{}
	for range str.CachedInfo().State.Msgs {
		m, err := messages.Next()
		if err != nil {
			b.t.Fatal(err)
		}
		var e struct{ ID string }
		var n, i int
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			b.t.Fatal(err)
		}
		if _, err := fmt.Sscanf(e.ID, "%d-%d", &n, &i); err != nil {
			b.t.Fatalf("event %q: %v", e.ID, err)
		}
		seen[n]++
		if m.Headers().Get(stream.HeaderTogether) != "" {
			plain++
		}
	}
	return seen, plain
}
