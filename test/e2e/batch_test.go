package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// newBatchFlow is newFlow for a subscription that takes signed batches with these bounds, as members of batch.
func newBatchFlow(t *testing.T, s *fleettest.Server, bounds, settings string, answers ...sinktest.Answer) *flow {
	t.Helper()
	f := newFlow(t, s, "")
	if len(answers) > 0 {
		f.sink.On(f.path, answers...)
	}
	f.subscribeBatch(bounds, settings)
	return f
}

func (f *flow) subscribeBatch(bounds, settings string) {
	f.t.Helper()
	f.client.Subscribe(f.t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{%s},"protocolsettings":{"contentmode":"batch","batch":{%s},
		"signing":{"secret":%q}}}`, f.name, f.sink.URL(f.path), settings, bounds, testSecret))
}

// members are the texts of a batch's events.
func members(t *testing.T, r *sinktest.Request) (texts []string) {
	t.Helper()
	var all []json.RawMessage
	if err := json.Unmarshal(r.Body, &all); err != nil {
		t.Fatalf("body %.300s: %v", r.Body, err)
	}
	for _, text := range all {
		texts = append(texts, string(text))
	}
	return texts
}

// sameBatches checks that requests with the same webhook-id are the same batch, and that no event came under two ids.
// It returns how often each event came.
func (f *flow) sameBatches(got []*sinktest.Request) map[string]int {
	f.t.Helper()
	bodies, ids, times := map[string]string{}, map[string]string{}, map[string]int{}
	for _, r := range got {
		if body, ok := bodies[r.ID()]; ok && body != string(r.Body) {
			f.t.Errorf("batch %s came as %s\nand as %s", r.ID(), body, r.Body)
		}
		bodies[r.ID()] = string(r.Body)
		for _, text := range members(f.t, r) {
			id := eventID([]byte(text))
			if before, ok := ids[id]; ok && before != r.ID() {
				f.t.Errorf("event %s came in batch %s and in batch %s", id, before, r.ID())
			}
			ids[id] = r.ID()
			times[id]++
		}
	}
	return times
}

// allCame checks that each event of these receipts came, and once if it says so.
func (f *flow) allCame(rs []fleettest.Receipt, times map[string]int, once bool) {
	f.t.Helper()
	for _, r := range rs {
		if n := times[r.ID]; n == 0 || once && n > 1 {
			f.t.Errorf("event %s came %d times", r.ID, n)
		}
	}
	if len(times) != len(rs) {
		f.t.Errorf("%d events came, want %d", len(times), len(rs))
	}
}

// testBatch: a batch is its events byte for byte, signed, and each delivery shows the one request.
func testBatch(t *testing.T, s *fleettest.Server) {
	f := newBatchFlow(t, s, `"maxevents":3,"linger":"5m"`, "")
	verifier, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	a := fmt.Sprintf(`{ "specversion":"1.0","id":%q,"type":%q,"source":"/e2e", "data":{"n":1.0, "b":[ ]},"tenant":"default"}`, unique("a"), f.name)
	b := fmt.Sprintf(`{"id":%q,"specversion":"1.0","type":%q,"source":"/é","data_base64":"AAEC"}`, unique("b"), f.name)
	b = strings.Replace(b, "/é", "/e%C3%A9", 1)
	bin := unique("c")
	sequences := []uint64{f.client.Publish(t, a).Sequence, f.client.Publish(t, b).Sequence}
	var r fleettest.Receipt
	f.client.Send(t, http.MethodPost, "/v1/events", binary(bin, f.name, "text/plain"), "a \"b\"").Must(t, http.StatusAccepted, &r)
	sequences = append(sequences, r.Sequence)
	got := f.sink.Wait(f.path, 1)[0]
	c := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"datacontenttype":"text/plain","data":"a \"b\""}`, bin, f.name)
	texts := members(t, got)
	for _, want := range []string{a, b} {
		if !slices.Contains(texts, want) {
			t.Errorf("%s is not in %s", want, got.Body)
		}
	}
	if i := slices.IndexFunc(texts, func(text string) bool { return eventID([]byte(text)) == bin }); i < 0 || !sameJSON(t, texts[i], c) {
		t.Errorf("%s is not in %s", c, got.Body)
	}
	if want := "[" + strings.Join(texts, ",") + "]"; string(got.Body) != want {
		t.Errorf("body %s", got.Body)
	}
	h := got.Header
	if h.Get("Content-Type") != fleettest.Batch || !strings.HasPrefix(got.ID(), "msg_") || strings.Contains(got.ID(), ".") || len(h["Webhook-Id"]) != 1 {
		t.Errorf("header %v", h)
	}
	if err := verifier.Verify(got.Body, h); err != nil {
		t.Errorf("signature: %v", err)
	}
	for _, sequence := range sequences {
		d := f.client.AwaitDelivery(t, sequence, "delivered")
		if d.AttemptCount != 1 || len(d.Attempts) != 1 || d.Attempts[0].WebhookID != got.ID() || d.Attempts[0].Status != http.StatusNoContent {
			t.Errorf("delivery %+v", d)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y map[string]any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// testBatchBounds: a batch goes when it has maxevents, when it would be larger than maxbytes, and after its linger.
func testBatchBounds(t *testing.T, s *fleettest.Server) {
	t.Run("maxevents", func(t *testing.T) {
		t.Parallel()
		f := newBatchFlow(t, s, `"maxevents":20,"linger":"5m"`, "")
		rs := f.publishMany(100)
		got := f.sink.WaitAnswered(f.path, 5)
		f.allCame(rs, f.sameBatches(got), true)
		for _, r := range got {
			if n := len(members(t, r)); n != 20 {
				t.Errorf("a batch of %d", n)
			}
		}
		f.awaitAll(rs, "delivered")
	})
	t.Run("maxbytes", func(t *testing.T) {
		t.Parallel()
		f := newBatchFlow(t, s, `"maxbytes":1000,"linger":"1s"`, "")
		rs := f.publishMany(40)
		rs = append(rs, f.client.Publish(t, event(unique("large"), f.name, `"`+strings.Repeat("x", 2000)+`"`)))
		f.awaitAll(rs, "delivered")
		got := f.sink.Got(f.path)
		f.allCame(rs, f.sameBatches(got), true)
		for _, r := range got {
			if n := len(members(t, r)); len(r.Body) > 1000 && n != 1 || n == 1 && len(r.Body) < 500 {
				t.Errorf("a batch of %d events in %d bytes", n, len(r.Body))
			}
		}
	})
	t.Run("linger", func(t *testing.T) {
		t.Parallel()
		f := newBatchFlow(t, s, `"linger":"2s"`, "")
		published := time.Now()
		rs := f.publishMany(5)
		got := f.sink.WaitAnswered(f.path, 1)
		f.allCame(rs, f.sameBatches(got), true)
		if gap := got[0].At.Sub(published); gap < 2*time.Second || gap > 2*time.Second+soon {
			t.Errorf("it came after %v", gap)
		}
	})
	t.Run("defaults", func(t *testing.T) {
		t.Parallel()
		f := newFlow(t, s, "")
		f.client.Subscribe(t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"contentmode":"batch"}}`, f.name, f.sink.URL(f.path)))
		var shown struct {
			ProtocolSettings struct {
				Batch struct {
					MaxEvents, MaxBytes int
					Linger              string
				}
			}
		}
		f.client.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+f.name, nil, &shown)
		if b := shown.ProtocolSettings.Batch; b.MaxEvents != 100 || b.MaxBytes != 262144 || b.Linger != "1s" {
			t.Errorf("shown as %+v", b)
		}
		f.allCame(f.publishMany(100), f.sameBatches(f.sink.WaitAnswered(f.path, 1)), true)
	})
}

// testBatchRetries: a batch that failed comes again as it was, when the policy says.
func testBatchRetries(t *testing.T, s *fleettest.Server) {
	f := newBatchFlow(t, s, `"maxevents":10,"linger":"1s"`, `"retry":{"policy":"fixed","initial":"500ms","jitter":0}`, statuses(500, 409, 500, 409, 200)...)
	rs := f.publishMany(20)
	all := f.awaitAll(rs, "delivered")
	got := f.sink.Got(f.path)
	if n := len(got); n != 6 { // the fifth answer and all after it are good, and there are two batches
		t.Errorf("%d requests", n)
	}
	times := f.sameBatches(got)
	for _, d := range all {
		if d.AttemptCount != times[d.Event.ID] {
			t.Errorf("delivery %+v, its event came %d times", d, times[d.Event.ID])
		}
	}
	last := map[string]time.Time{}
	for _, r := range got {
		if before, ok := last[r.ID()]; ok && r.At.Sub(before) < 500*time.Millisecond {
			t.Errorf("batch %s came again after %v", r.ID(), r.At.Sub(before))
		}
		last[r.ID()] = r.Answered
	}
	f.client.AwaitSubscription(t, f.name, "has nothing waiting", func(s *fleettest.Subscription) bool { return s.Status.Waiting == 0 })
}

// testBatchEnds: 410 ends all deliveries of a batch; a dead letter of it is replayed by itself.
func testBatchEnds(t *testing.T, s *fleettest.Server) {
	f := newBatchFlow(t, s, `"maxevents":5,"linger":"5m"`, "", statuses(410, 200)...)
	rs := f.publishMany(5)
	for _, d := range f.awaitAll(rs, "dead") {
		if d.Reason != "gone" || d.AttemptCount != 1 {
			t.Errorf("delivery %+v", d)
		}
	}
	f.client.AwaitState(t, f.name, "disabled")
	letters := f.client.DeadLetters(t, f.name)
	if len(letters) != 5 {
		t.Fatalf("%d dead letters", len(letters))
	}
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	var again fleettest.Delivery
	f.client.Must(t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+letters[2].ID+"/replay", nil, &again)
	got := f.sink.Wait(f.path, 2)[1]
	if texts := members(t, got); len(texts) != 1 || texts[0] != string(letters[2].Event) {
		t.Errorf("the replay is %s", got.Body)
	}
	fleettest.Eventually(t, "the replay is delivered", func() (bool, any) {
		d := f.client.Delivery(t, again.ID)
		return d.State == "delivered", d
	})
}

// testBatchHeld: a paused subscription sends nothing, also not what lingers, and what is held goes in batches.
func testBatchHeld(t *testing.T, s *fleettest.Server) {
	f := newBatchFlow(t, s, `"maxevents":40,"linger":"6s"`, "")
	rs := f.publishMany(30)
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/pause")
	rs = append(rs, f.publishMany(50)...)
	f.awaitAll(rs, "held")
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	f.awaitAll(rs, "delivered")
	got := f.sink.Got(f.path)
	f.allCame(rs, f.sameBatches(got), true)
	if len(got) > 4 {
		t.Errorf("%d batches of 80 events, of 40 each at most", len(got))
	}
	// A batch that failed and is then held comes again as it was.
	g := newBatchFlow(t, s, `"maxevents":10,"linger":"5m"`, `"retry":{"policy":"fixed","initial":"6s"}`, statuses(500, 200)...)
	rs = g.publishMany(10)
	g.sink.WaitAnswered(g.path, 1)
	g.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+g.name+"/pause")
	fleettest.Eventually(t, "the batch is held", func() (bool, any) {
		held := fleettest.List[fleettest.Delivery](t, g.client, "/v1/deliveries?state=held&subscription="+g.name)
		return len(held) > 0, held
	})
	g.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+g.name+"/resume")
	g.awaitAll(rs, "delivered")
	if times := g.sameBatches(g.sink.Got(g.path)); len(times) != 10 {
		t.Errorf("%v", times)
	}
}

// testBatchBesideOthers: one event goes to a subscription that takes batches and to one that does not, each in its way.
func testBatchBesideOthers(t *testing.T, s *fleettest.Server) {
	f := newBatchFlow(t, s, `"maxevents":50,"linger":"5m"`, "")
	single := sinktest.New(t)
	other := unique("single")
	f.client.Subscribe(t, other, fmt.Sprintf(`{"types":[%q],"sink":%q}`, f.name, single.URL("/")))
	rs := f.publishMany(49)
	single.WaitAnswered("/", 49) // and not after the batch
	if n := len(f.sink.Got(f.path)); n != 0 {
		t.Errorf("%d batches", n)
	}
	rs = append(rs, f.publish())
	f.allCame(rs, f.sameBatches(f.sink.WaitAnswered(f.path, 1)), true)
	single.WaitAnswered("/", 50)
	for _, id := range []string{f.name, other} {
		f.client.AwaitAll(t, id, rs, "delivered")
	}
}

// testBatchSettings: each setting is refused with its pointer when it is wrong.
func testBatchSettings(t *testing.T, s *fleettest.Server) {
	c := s.Client()
	p := c.Do(t, http.MethodPost, "/v1/subscriptions", `{"sink":"http://127.0.0.1:1/","protocolsettings":{"contentmode":"batch","method":"GET",
		"batch":{"maxevents":1001,"maxbytes":0,"linger":"6m","x":1}},"config":{"responses":[{"status":"7xx","action":"ack"}]}}`).
		Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
	pointers := map[string]bool{}
	for _, e := range p.Errors {
		pointers[e.Pointer] = true
	}
	for _, want := range []string{
		"/protocolsettings/method", "/protocolsettings/batch/maxevents", "/protocolsettings/batch/maxbytes", "/protocolsettings/batch/linger",
		"/protocolsettings/batch/x", "/config/responses/0/status",
	} {
		if !pointers[want] {
			t.Errorf("%s is not named in %+v", want, p.Errors)
		}
	}
}

// TestBatchTerminated: SIGTERM while a batch lingers and another one is being answered: an orderly end, and each event
// comes once.
func TestBatchTerminated(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newBatchFlow(t, s, `"maxevents":20,"linger":"5m"`, "")
	f.sink.On(f.path, sinktest.Answer{After: 2 * time.Second})
	rs := f.publishMany(20)
	f.sink.WaitOpen(f.path, 1)
	rs = append(rs, f.publishMany(7)...)
	begun := time.Now()
	s.MustStop(t)
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if got := f.sink.WaitAnswered(f.path, 1); len(got) != 1 {
		t.Errorf("%d batches", len(got))
	}
	s.Start(t)
	rs = append(rs, f.publishMany(13)...)
	all := f.awaitAll(rs, "delivered")
	f.allCame(rs, f.sameBatches(f.sink.Got(f.path)), true)
	for _, d := range all {
		if d.AttemptCount != 1 {
			t.Errorf("delivery %+v", d)
		}
	}
	s.MustStop(t)
}

// TestBatchKilledLingering: SIGKILL while a batch lingers loses nothing and repeats nothing.
func TestBatchKilledLingering(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newBatchFlow(t, s, `"maxevents":20,"linger":"5m"`, "")
	rs := f.publishMany(12)
	s.Kill()
	s.Start(t)
	rs = append(rs, f.publishMany(8)...)
	f.awaitAll(rs, "delivered")
	f.allCame(rs, f.sameBatches(f.sink.Got(f.path)), true)
	s.MustStop(t)
}

// TestBatchKilledInFlight: SIGKILL while a batch is being answered, first attempt or not: it comes again as it was,
// whatever else is there by then.
func TestBatchKilledInFlight(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newBatchFlow(t, s, `"maxevents":10,"linger":"1s"`, `"retry":{"policy":"fixed","initial":"1s"}`)
	hang := sinktest.Answer{Until: make(chan struct{})}
	f.sink.On(f.path, hang)
	rs := f.publishMany(10)
	f.sink.Wait(f.path, 1)
	s.Kill()
	f.sink.On(f.path, sinktest.Answer{Status: http.StatusBadGateway}, hang)
	s.Start(t)
	others := f.publishMany(3)
	id := f.sink.Got(f.path)[0].ID()
	fleettest.Eventually(t, "the batch came again, and again", func() (bool, any) {
		n := 0
		for _, r := range f.sink.Got(f.path) {
			if r.ID() == id {
				n++
			}
		}
		return n >= 3, n
	})
	s.Kill()
	f.sink.On(f.path, sinktest.Answer{})
	s.Start(t)
	rs = append(rs, others...)
	f.awaitAll(rs, "delivered")
	f.allCame(rs, f.sameBatches(f.sink.Got(f.path)), false)
	f.client.AwaitSubscription(t, f.name, "has nothing waiting", func(s *fleettest.Subscription) bool { return s.Status.Waiting == 0 })
	s.MustStop(t)
}

// TestBatchKilledUnderLoad: whatever a process is doing with batches when it is killed, each accepted event comes, and
// what comes twice comes as the same batch.
func TestBatchKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{Args: []string{"--log-level", "warn"}})
	f := newBatchFlow(t, s, `"maxevents":7,"linger":"300ms"`, `"retry":{"policy":"fixed","initial":"200ms","maxattempts":1000}`)
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	f.sink.OnFunc(f.path, func(r *sinktest.Request) sinktest.Answer {
		switch r.Number % 5 {
		case 0:
			return sinktest.Answer{Status: http.StatusBadGateway}
		case 1:
			return sinktest.Answer{After: 200 * time.Millisecond}
		default:
			return sinktest.Answer{}
		}
	})
	var rs []fleettest.Receipt
	publish := func() {
		texts := make([]string, 1+random.IntN(20))
		for i := range texts {
			texts[i] = event(unique("event"), f.name, `{"n":1}`)
		}
		rs = append(rs, f.client.PublishBatch(t, "["+strings.Join(texts, ",")+"]")...)
	}
	for range 6 {
		for range 8 {
			publish()
			f.sink.Wait(f.path, 1)
		}
		moment := time.NewTimer(time.Duration(random.IntN(500)) * time.Millisecond)
		<-moment.C
		s.Kill()
		s.Start(t)
	}
	f.awaitAll(rs, "delivered")
	times := f.sameBatches(f.sink.Got(f.path))
	f.allCame(rs, times, false)
	f.client.AwaitSubscription(t, f.name, "has nothing waiting", func(s *fleettest.Subscription) bool { return s.Status.Waiting == 0 })
	again := 0
	for _, n := range times {
		again += n - 1
	}
	t.Logf("%d events in %d batches, %d of them came again", len(rs), len(f.sink.Got(f.path)), again)
	s.MustStop(t)
}
