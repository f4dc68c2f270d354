package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// operatorKey is shared by the processes of a split fleet.
const operatorKey = "hf_e2e_operator_key_that_is_long_enough_0123456789"

// split is a fleet whose roles are processes of their own: an API process with the broker, another API process, a
// scheduler, and workers.
type split struct {
	api, second, scheduler *fleettest.Server
	workers                []*fleettest.Server
}

func startSplit(t *testing.T, workers int) *split {
	t.Helper()
	f := &split{api: fleettest.Start(t, fleettest.Options{Roles: "api", Key: operatorKey})}
	with := func(roles string) *fleettest.Server {
		return fleettest.New(t, fleettest.Options{Roles: roles, Key: operatorKey, Broker: f.api.BrokerURL(operatorKey)})
	}
	f.second, f.scheduler = with("api"), with("scheduler")
	for range workers {
		f.workers = append(f.workers, with("worker"))
	}
	all := append([]*fleettest.Server{f.second, f.scheduler}, f.workers...)
	for _, s := range all {
		s.Launch(t)
	}
	for _, s := range all {
		s.AwaitReady(t)
	}
	return f
}

// stop ends all processes, each of which must be in order.
func (f *split) stop(t *testing.T) {
	t.Helper()
	for _, s := range append(slices.Clone(f.workers), f.second, f.scheduler, f.api) {
		s.MustStop(t)
	}
}

// awaitWorkers waits until the fleet knows so many live workers, by their heartbeats.
func (f *split) awaitWorkers(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	awaitBeats(t, js, "hookfleet_workers", n)
}

// TestRoles: the roles as processes of their own behave as one fleet.
func TestRoles(t *testing.T) {
	t.Parallel()
	f := startSplit(t, 2)
	_, js := connect(t, f.api.BrokerURL(operatorKey))
	f.awaitWorkers(t, js, 2)
	for _, s := range []*fleettest.Server{f.api, f.second} {
		s.Client().Must(t, http.StatusOK, http.MethodGet, "/readyz", nil, nil)
	}
	t.Run("read your writes", func(t *testing.T) { readYourWrites(t, f) })
	t.Run("concurrency", func(t *testing.T) { concurrency(t, f) })
	t.Run("killed worker", func(t *testing.T) { killedWorker(t, f, js) })
	f.workers[0].Start(t)
	f.awaitWorkers(t, js, 2)
	f.stop(t)
}

// rounds of read-your-writes, and how many of them are under way at a time.
const (
	rounds   = 200
	parallel = 8
)

// readYourWrites: a change applies to every event accepted after its answer, wherever it was made and wherever the event
// was accepted; a new subscription gets none accepted before.
func readYourWrites(t *testing.T, f *split) {
	sink := sinktest.New(t)
	nc, _ := connect(t, f.api.BrokerURL(operatorKey))
	w := &writes{t: t, sink: sink, nc: nc, clients: []*fleettest.Client{f.api.Client(), f.second.Client()}}
	turn := make(chan int)
	var running sync.WaitGroup
	for range parallel {
		running.Go(func() {
			for i := range turn {
				w.round(i)
			}
		})
	}
	for i := range rounds {
		turn <- i
	}
	close(turn)
	running.Wait()
	for _, sequence := range w.nobodys {
		fleettest.Eventually(t, fmt.Sprintf("event %d has no deliveries", sequence), func() (bool, any) {
			d := w.clients[0].DeliveriesOf(t, sequence)
			return len(d) == 0, d
		})
	}
	for i := range rounds {
		w.check(i)
	}
}

type writes struct {
	t       *testing.T
	sink    *sinktest.Sink
	nc      *nats.Conn
	clients []*fleettest.Client

	mu      sync.Mutex
	nobodys []uint64 // events that nobody is to get
}

// round makes, changes and deletes a subscription by one API process, and publishes by another or by NATS at once.
func (w *writes) round(i int) {
	c, typ := w.clients[i%2], fmt.Sprintf("rounds-%d", i)
	sub := func(path string) string {
		return fmt.Sprintf(`{"types":[%q],"sink":%q}`, typ, w.sink.URL(fmt.Sprintf("%s/%d", path, i)))
	}
	early := w.publish(i, 0)
	c.Subscribe(w.t, typ, sub("/first"))
	first := w.publish(i, 1)
	c.Subscribe(w.t, typ, sub("/second"))
	second := w.publish(i, 2)
	for _, sequence := range []uint64{first, second} {
		c.AwaitDelivery(w.t, sequence, "delivered")
	}
	c.Must(w.t, http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+typ, nil, nil)
	late := w.publish(i, 3)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nobodys = append(w.nobodys, early, late)
}

// check checks what came of a round. What waits goes to the sink as it is when it is sent, so the first event may have
// come to either path; the second was accepted after the change.
func (w *writes) check(i int) {
	var got []string
	for _, path := range []string{"/first", "/second"} {
		for _, r := range w.sink.Got(fmt.Sprintf("%s/%d", path, i)) {
			got = append(got, fmt.Sprint(path, " ", strings.TrimPrefix(eventID(r.Body), fmt.Sprintf("rounds-%d-", i))))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"/first 1", "/second 2"}) && !slices.Equal(got, []string{"/second 1", "/second 2"}) {
		w.t.Errorf("round %d: the sink got %v, want event 1 at either path and event 2 at the second", i, got)
	}
}

// publish publishes event n of a round by the process that did not make the change, or by NATS.
func (w *writes) publish(round, n int) uint64 {
	typ := fmt.Sprintf("rounds-%d", round)
	text := event(fmt.Sprintf("%s-%d", typ, n), typ, "1")
	if round%3 != 0 {
		return w.clients[1-round%2].Publish(w.t, text).Sequence
	}
	js, err := jetstream.New(w.nc, jetstream.WithDefaultTimeout(fleettest.Patience))
	if err != nil {
		w.t.Fatal(err)
	}
	ack, err := js.PublishMsg(w.t.Context(), &nats.Msg{
		Subject: "hookfleet.publish.default." + typ, Header: nats.Header{"Content-Type": {fleettest.Structured}}, Data: []byte(text),
	})
	if err != nil {
		w.t.Errorf("round %d: %v", round, err)
		return 0
	}
	return ack.Sequence
}

// concurrency: a subscription's limit holds over all workers together, and all is delivered.
func concurrency(t *testing.T, f *split) {
	c := f.second.Client()
	for _, limit := range []int{1, 5} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			const n = 200
			sink, name := sinktest.New(t), unique("limit")
			sink.On("/", sinktest.Answer{After: 2 * time.Millisecond})
			c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"concurrency":%d}}`, name, sink.URL("/"), limit))
			var batch []string
			for range n {
				batch = append(batch, event(unique("event"), name, "1"))
			}
			c.PublishBatch(t, "["+strings.Join(batch, ",")+"]")
			seen := map[string]bool{}
			for _, r := range sink.WaitAnswered("/", n) {
				if seen[r.ID()] {
					t.Errorf("%s came twice", r.ID())
				}
				seen[r.ID()] = true
			}
			if peak := sink.Peak("/"); peak > limit {
				t.Errorf("%d requests at a time, over the limit of %d", peak, limit)
			}
		})
	}
}

// killedWorker: what a killed worker had in flight is sent again within 10 s, and it is not counted as alive.
func killedWorker(t *testing.T, f *split, js jetstream.JetStream) {
	const n, from = 40, "127.0.0.42"
	w := f.workers[0]
	w.AddArgs("--egress-source", from) // tells its requests from the other one's
	w.Restart(t)
	f.awaitWorkers(t, js, 2)
	c, sink, name := f.api.Client(), sinktest.New(t), unique("killed")
	answer := make(chan struct{})
	sink.On("/", sinktest.Answer{Until: answer})
	c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"timeout":"1m","concurrency":200}}`, name, sink.URL("/")))
	sent, lost := 0, map[string]bool{}
	for len(lost) == 0 { // whose request for events runs out just then gets none of a batch
		var batch []string
		for range n {
			batch = append(batch, event(unique("event"), name, "1"))
		}
		c.PublishBatch(t, "["+strings.Join(batch, ",")+"]")
		sent += n
		sink.WaitOpen("/", sent)
		for _, r := range sink.Got("/") {
			if r.From == from {
				lost[r.ID()] = true
			}
		}
	}
	w.Kill()
	killed := time.Now()
	again := sink.Wait("/", sent+len(lost))[sent:]
	t.Logf("%d of %d were in flight at the killed worker; the last came again after %v", len(lost), sent, again[len(again)-1].At.Sub(killed))
	for _, r := range again {
		if took := r.At.Sub(killed); took > 10*time.Second {
			t.Errorf("%s came again after %v", r.ID(), took)
		}
		if !lost[r.ID()] {
			t.Errorf("%s came again, and was not in flight at the killed worker", r.ID())
		}
		delete(lost, r.ID())
	}
	if len(lost) > 0 {
		t.Errorf("%d did not come again", len(lost))
	}
	close(answer)
	if got := sink.WaitAnswered("/", sent); len(got) != sent {
		t.Errorf("%d requests were answered, want %d", len(got), sent)
	}
	f.awaitWorkers(t, js, 1)
}

// TestBrokerAway: processes outlive the broker's restart, say that they are not ready meanwhile, and go on.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	f := startSplit(t, 1)
	fl := newFlow(t, f.second, "")
	fl.await(fl.publish(), "delivered")
	f.api.Kill()
	refused := func() bool {
		r, err := fl.client.Call(t.Context(), http.MethodPost, "/v1/events", structuredHeader, []byte(event(unique("away"), fl.name, "1")))
		return err == nil && r.Status == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != ""
	}
	fleettest.Eventually(t, "publishing is refused while the broker is away", func() (bool, any) { return refused(), nil })
	fleettest.Eventually(t, "it is not ready while the broker is away", func() (bool, any) {
		r, err := fl.client.Call(t.Context(), http.MethodGet, "/readyz", nil, nil)
		return err == nil && r.Status == http.StatusServiceUnavailable, fmt.Sprint(r, err)
	})
	f.api.Start(t)
	id, typ := unique("back"), fl.name
	var accepted fleettest.Receipt
	fleettest.Eventually(t, "publishing goes on", func() (bool, any) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r, err := fl.client.Call(ctx, http.MethodPost, "/v1/events", structuredHeader, []byte(event(id, typ, "1")))
		if err != nil || r.Status != http.StatusAccepted {
			return false, fmt.Sprint(r, err)
		}
		r.Must(t, http.StatusAccepted, &accepted)
		return true, nil
	})
	fl.await(accepted, "delivered")
	fleettest.Eventually(t, "it is ready again", func() (bool, any) {
		r, err := fl.client.Call(t.Context(), http.MethodGet, "/readyz", nil, nil)
		return err == nil && r.Status == http.StatusOK, fmt.Sprint(r, err)
	})
	f.stop(t)
}
