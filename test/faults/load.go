package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// Types of the load's events: all go to the first sink, some to the second too.
const (
	typeAll  = "load.all"
	typeBoth = "load.both"
	sinkAll  = "/all"
	sinkBoth = "/both"
	// sinkOrdered gets everything of a load that has keys.
	sinkOrdered = "/ordered"
)

// One event in so many goes to both sinks; is answered slowly by one; fails the first time; and is large.
const (
	oneInBoth  = 10
	oneInSlow  = 50
	oneInFails = 30
	oneInLarge = 200
	slowAnswer = 400 * time.Millisecond
	largeBytes = 20_000
)

// Publishers of one event a request, and of batches.
const (
	singles   = 24
	batchers  = 4
	batchSize = 25
)

// Load publishes events at a rate until it is stopped, each again and again until it is accepted, and writes down what
// was.
type Load struct {
	t       testing.TB
	ledger  *Ledger
	clients []*fleettest.Client // of the API processes, in turn
	seed    uint64
	rate    int // events a second
	pad     int // bytes that each event has beside its own
	keys    int // subjects that events are of, in turn by chance; 0 = they have none, and are for the two other sinks

	end        context.CancelFunc
	publishing sync.WaitGroup
	begun      time.Time
	number     atomic.Int64
	repeated   atomic.Int64 // requests that had to be sent again
}

// StartLoad begins to publish.
func StartLoad(t testing.TB, ledger *Ledger, seed uint64, rate, pad, keys int, clients ...*fleettest.Client) *Load {
	l := &Load{t: t, ledger: ledger, clients: clients, seed: seed, rate: rate, pad: pad, keys: keys, begun: time.Now()}
	ctx, end := context.WithCancel(t.Context())
	l.end = end
	for i := range singles {
		l.publishing.Go(func() { l.publish(ctx, i, 1) })
	}
	for i := range batchers {
		l.publishing.Go(func() { l.publish(ctx, singles+i, batchSize) })
	}
	t.Cleanup(l.Stop)
	return l
}

// Stop ends the load, and returns when what was under way is accepted.
func (l *Load) Stop() {
	l.end()
	l.publishing.Wait()
}

// event is one that is published.
type event struct {
	id, text, key string
	sinks         []string
}

// event makes event n. All that is random about it follows from the seed.
func (l *Load) event(n int64) event {
	r := rand.New(rand.NewPCG(l.seed, uint64(n)))
	e := event{id: fmt.Sprintf("%d-%d", l.seed, n), sinks: []string{sinkAll}}
	typ, pad := typeAll, l.pad+r.IntN(800)
	if r.IntN(oneInBoth) == 0 {
		typ, e.sinks = typeBoth, []string{sinkAll, sinkBoth}
	}
	if r.IntN(oneInLarge) == 0 {
		pad = largeBytes
	}
	subject := ""
	if l.keys > 0 {
		typ, e.sinks, e.key = typeAll, []string{sinkOrdered}, fmt.Sprintf("key-%d", r.IntN(l.keys))
		subject = fmt.Sprintf(`"subject":%q,`, e.key)
	}
	e.text = fmt.Sprintf(`{"specversion":"1.0", "id":%q,"source":"/load",`+subject+`"type":%q,"data":{ "n" : %d.0,"pad":%q}}`, e.id, typ, n, strings.Repeat("x", pad))
	return e
}

// take waits until size more events are to be offered, and gives them; false at the end.
func (l *Load) take(ctx context.Context, size int) ([]event, bool) {
	last := l.number.Add(int64(size))
	due := l.begun.Add(time.Duration(last) * time.Second / time.Duration(l.rate))
	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil, false
	}
	events := make([]event, size)
	for i := range events {
		events[i] = l.event(last - int64(i))
	}
	return events, true
}

// publish is one publisher.
func (l *Load) publish(ctx context.Context, number, size int) {
	for turn := number; ; turn++ {
		events, ok := l.take(ctx, size)
		if !ok {
			return
		}
		for try := 0; !l.try(l.clients[(turn+try)%len(l.clients)], events); try++ {
			l.repeated.Add(1)
			select {
			case <-time.After(patienceBetween):
			case <-l.t.Context().Done():
				return
			}
		}
	}
}

// patienceBetween two tries of a publisher whose fleet is away.
const patienceBetween = 20 * time.Millisecond

// publishTimeout bounds one try: an answer that takes longer is lost.
const publishTimeout = 15 * time.Second

// try publishes events once, and writes down those that are accepted; false when that is to be repeated.
func (l *Load) try(c *fleettest.Client, events []event) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), publishTimeout)
	defer cancel()
	body, media := events[0].text, fleettest.Structured
	if len(events) > 1 {
		texts := make([]string, len(events))
		for i := range events {
			texts[i] = events[i].text
		}
		body, media = "["+strings.Join(texts, ",")+"]", fleettest.Batch
	}
	r, err := c.Call(ctx, http.MethodPost, "/v1/events", http.Header{"Content-Type": {media}}, []byte(body))
	switch {
	case err != nil, r.Status == http.StatusServiceUnavailable:
		return false
	case r.Status != http.StatusAccepted:
		l.t.Errorf("publishing is answered %d: %s", r.Status, r.Body)
		return true
	}
	l.accepted(events, r.Body)
	return true
}

func (l *Load) accepted(events []event, answer []byte) {
	var receipts fleettest.Page[fleettest.Receipt]
	if len(events) == 1 {
		receipts.Items = make([]fleettest.Receipt, 1)
		if err := json.Unmarshal(answer, &receipts.Items[0]); err != nil {
			l.t.Errorf("answer %s: %v", answer, err)
		}
	} else if err := json.Unmarshal(answer, &receipts); err != nil {
		l.t.Errorf("answer %s: %v", answer, err)
	}
	if len(receipts.Items) != len(events) {
		l.t.Errorf("%d receipts for %d events: %s", len(receipts.Items), len(events), answer)
		return
	}
	entries := make([]Accepted, len(events))
	for i, e := range events {
		entries[i] = Accepted{ID: e.id, Sum: Sum([]byte(e.text)), Sinks: e.sinks, Sequence: receipts.Items[i].Sequence, Key: e.key, At: time.Now()}
	}
	l.ledger.Accept(entries...)
}

// Sink is what the load is delivered to. It writes down each request before it answers.
type Sink struct {
	t      testing.TB
	ledger *Ledger
	url    string
	slow   uint32 // one in so many is answered slowly
	fails  uint32 // one in so many fails the first time

	mu     sync.Mutex
	failed map[string]bool // webhooks that were refused once
}

// StartSink starts the sinks of a load.
func StartSink(t testing.TB, ledger *Ledger) *Sink {
	s := &Sink{t: t, ledger: ledger, slow: oneInSlow, fails: oneInFails, failed: map[string]bool{}}
	s.url = sinktest.Serve(t, s)
	return s
}

// Subscribe subscribes both sinks.
func (s *Sink) Subscribe(t testing.TB, c *fleettest.Client) {
	const config = `{"timeout":"10s","concurrency":256,"retry":{"policy":"fixed","initial":"300ms","maxattempts":1000}}`
	c.Subscribe(t, "all", fmt.Sprintf(`{"types":["load.*"],"sink":%q,"config":%s}`, s.url+sinkAll, config))
	c.Subscribe(t, "both", fmt.Sprintf(`{"types":[%q],"sink":%q,"config":%s}`, typeBoth, s.url+sinkBoth, config))
}

// ServeHTTP takes one webhook. Which are slow, and which fail the first time, follows from the webhook-id.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut short: it was never a whole request
	}
	var e struct{ ID string }
	if err := json.Unmarshal(body, &e); err != nil {
		s.t.Errorf("a sink got %.200q: %v", body, err)
	}
	webhook := r.Header.Get("Webhook-Id")
	h := fnv.New32a()
	_, _ = h.Write([]byte(webhook))
	number, status := h.Sum32(), http.StatusNoContent
	if number%s.fails == 0 && s.first(webhook) {
		status = http.StatusInternalServerError
	}
	s.ledger.Receive(Received{ID: e.ID, Sink: r.URL.Path, Webhook: webhook, Sum: Sum(body), Status: status, At: at})
	if number%s.slow == 1 {
		slow := time.NewTimer(slowAnswer)
		defer slow.Stop()
		select {
		case <-slow.C:
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(status)
}

// first reports whether a webhook comes for the first time.
func (s *Sink) first(webhook string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.failed[webhook]
	s.failed[webhook] = true
	return !known
}
