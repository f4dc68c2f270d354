package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// smallStore is what TestSmallStore lets EVENTS have. The server keeps events in files of 8 MiB, so this is a few of them.
const smallStore = 40 << 20

// filler publishes batches of large events of one flow.
type filler struct {
	*flow
	accepted []fleettest.Receipt
	refused  int // batches
}

const (
	fillBatch = 25
	fillSize  = 20_000
)

// fill publishes one batch. It reports false when there was no room for it.
func (f *filler) fill() bool {
	f.t.Helper()
	pad := strings.Repeat("x", fillSize)
	all := make([]string, fillBatch)
	for i := range all {
		all[i] = event(unique("event"), f.name, `"`+pad+`"`)
	}
	r := f.client.Send(f.t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Batch}}, "["+strings.Join(all, ",")+"]")
	if r.Status == http.StatusServiceUnavailable {
		r.Refused(f.t, http.StatusServiceUnavailable, "storage_full")
		if r.Header.Get("Retry-After") == "" {
			f.t.Error("503 without Retry-After")
		}
		f.refused++
		return false
	}
	var p fleettest.Page[fleettest.Receipt]
	r.Must(f.t, http.StatusAccepted, &p)
	f.accepted = append(f.accepted, p.Items...)
	return true
}

// kept is how many of the receipts' events are still stored.
func (f *filler) kept(rs []fleettest.Receipt) (n int) {
	f.t.Helper()
	for _, r := range rs {
		answer, err := f.client.Call(context.WithoutCancel(f.t.Context()), http.MethodGet, fmt.Sprint("/v1/events/", r.Sequence), nil, nil)
		if err == nil && answer.Status == http.StatusOK {
			n++
		}
	}
	return n
}

// TestSmallStore fills a small store twice over. What is settled makes room, long before its retention is over. What
// is not delivered stays, whether it is held or nobody has taken it yet: then events are refused, until there is room.
func TestSmallStore(t *testing.T) {
	t.Parallel()
	o := fleettest.Options{Args: []string{"--events-maxsize", fmt.Sprint(smallStore), "--events-retention", "72h"}}
	s := fleettest.Start(t, o)
	f := &filler{flow: newFlow(t, s, "")}
	paused := unique("paused")
	f.client.Subscribe(t, paused, fmt.Sprintf(`{"paused":true,"types":["held"],"sink":%q}`, f.sink.URL("/"+paused)))
	lane := unique("lane")
	f.client.Subscribe(t, lane, fmt.Sprintf(`{"paused":true,"types":["held"],"sink":%q,"config":{"ordering":{"key":"type"}}}`, f.sink.URL("/"+lane)))
	ticked := unique("ticked")
	tickedEvery := func(every string) {
		f.client.Subscribe(t, ticked, fmt.Sprintf(`{"types":["held"],"sink":%q,"config":{"ordering":{"key":"type"},"schedule":{"every":%q}}}`,
			f.sink.URL("/"+ticked), every))
	}
	tickedEvery("30d")
	var held []fleettest.Receipt
	for range 10 {
		held = append(held, f.client.Publish(t, event(unique("event"), "held", `"`+paused+`"`)))
	}
	f.client.AwaitAll(t, paused, held, "held")

	const rounds = 2*smallStore/(fillBatch*fillSize) + 1
	for len(f.accepted) < rounds*fillBatch {
		fleettest.Eventually(t, "there is room", func() (bool, any) { return f.fill(), len(f.accepted) })
	}
	t.Logf("%d MB accepted in a store of %d, %d batches refused meanwhile", len(f.accepted)*fillSize>>20, smallStore>>20, f.refused)
	first, last := append(held, f.accepted[:fillBatch]...), f.accepted[len(f.accepted)-fillBatch:]
	if n := f.kept(first); n != 0 {
		t.Errorf("%d of the first events are still there", n)
	}
	if n := f.kept(last); n != len(last) {
		t.Errorf("%d of the last %d events are there", n, len(last))
	}
	f.sink.WaitAnswered(f.path, len(f.accepted))
	f.once(len(f.accepted))
	f.client.AwaitAll(t, paused, held, "held")

	// Nobody takes events any more.
	s.MustStop(t)
	idle := o
	idle.Data, idle.Roles = s.Data, "api,scheduler"
	without := fleettest.Start(t, idle)
	f.client = without.Client()
	delivered := len(f.accepted)
	said := ""
	fleettest.Eventually(t, "events are refused", func() (bool, any) {
		for f.fill() {
		}
		// What came just now counts twice, for it may lie on the disk twice: a moment later there may be room again, for less than
		// a batch. And the scheduler goes on to delete what is settled, so that some more may be taken a while later.
		if _, why := storageFull(f); why != "" {
			said = why
		}
		return said != "" && f.kept(last) == 0, said
	})
	undelivered := f.accepted[delivered:]
	t.Logf("%d MB wait for a worker", len(undelivered)*fillSize>>20)
	if n := f.kept(undelivered); n != len(undelivered) {
		t.Errorf("%d of %d events are there that nobody has taken", n, len(undelivered))
	}
	without.MustStop(t)

	s.Start(t)
	f.client = s.Client()
	f.sink.WaitAnswered(f.path, len(f.accepted))
	f.once(len(f.accepted))
	fleettest.Eventually(t, "there is room again", func() (bool, any) { return f.fill(), f.refused })
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+paused+"/resume")
	for _, r := range f.sink.WaitAnswered("/"+paused, len(held)) {
		if !contains(string(r.Body), paused) {
			t.Errorf("delivered %.200s", r.Body)
		}
	}
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+lane+"/resume")
	tickedEvery("1s")
	for _, name := range []string{lane, ticked} {
		for i, r := range f.sink.WaitAnswered("/"+name, len(held)) {
			if eventID(r.Body) != held[i].ID {
				t.Errorf("delivery %d of %s is of %s, want %s", i, name, eventID(r.Body), held[i].ID)
			}
		}
	}
	s.MustStop(t)
}

// storageFull says whether the process is ready, and what it says of its storage.
func storageFull(f *filler) (ready bool, why string) {
	f.t.Helper()
	r := f.client.Do(f.t, http.MethodGet, "/readyz", nil)
	var answer struct {
		Ready    bool
		Problems []struct{ Name, Detail string }
	}
	if err := json.Unmarshal(r.Body, &answer); err != nil {
		f.t.Fatal(err)
	}
	for _, p := range answer.Problems {
		if p.Name == "storage" {
			why = p.Detail
		}
	}
	return answer.Ready, why
}
