package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// status is the answer to a look-up.
type status struct {
	Subject, Type, Status string

	Time      time.Time
	Completed bool
	Event     json.RawMessage
}

// says publishes an event with a status.
func (f *flow) says(subject, more string) fleettest.Receipt {
	f.t.Helper()
	return f.client.Publish(f.t, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"subject":%q%s}`, unique("event"), f.name, subject, more))
}

func (f *flow) statusOf(subject string) (s status) {
	f.t.Helper()
	f.client.Must(f.t, http.StatusOK, http.MethodGet, "/v1/statuses/"+url.PathEscape(subject), nil, &s)
	return s
}

// testStatuses: a look-up right after a publish knows it, and the newest by time counts, whatever became of the deliveries.
func testStatuses(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"1h"}`, fails)
	subject := unique("orders/2026 é/")
	at := func(second int, value string) string {
		return fmt.Sprintf(`,"time":"2026-01-01T00:00:%02dZ","data":{"status":%q, "n": 1.0}`, second, value)
	}
	f.client.Do(t, http.MethodGet, "/v1/statuses/"+url.PathEscape(subject), nil).Refused(t, http.StatusNotFound, "not_found")
	f.says(subject, at(10, "Booked"))
	got := f.statusOf(subject)
	if got.Status != "Booked" || got.Subject != subject || got.Type != f.name || !got.Time.Equal(time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)) || got.Completed {
		t.Errorf("status %+v", got)
	}
	if !contains(string(got.Event), `"data":{"status":"Booked", "n": 1.0}`) {
		t.Errorf("event %s", got.Event)
	}
	f.says(subject, at(30, "Shipped"))
	f.says(subject, at(20, "Packed"))
	f.says(subject, `,"time":"2026-01-01T00:01:00Z","data":{"note":"no status"}`)
	if got := f.statusOf(subject); got.Status != "Shipped" {
		t.Errorf("status %s", got.Status)
	}
	var byQuery status
	f.client.Must(t, http.StatusOK, http.MethodGet, "/v1/statuses?type="+f.name+"&tenant=default&subject="+url.QueryEscape(subject), nil, &byQuery)
	if byQuery.Status != "Shipped" {
		t.Errorf("status by query %s", byQuery.Status)
	}
	for i := range 20 { // each look-up knows what was accepted before it
		f.says(subject, fmt.Sprintf(`,"data":{"status":"S%d"}`, i))
		if got, want := f.statusOf(subject).Status, fmt.Sprint("S", i); got != want {
			t.Errorf("status %s, want %s", got, want)
		}
	}
	f.server.CLI(t, "", "status", "get", subject).Says(t, 0, "status: S19", "specversion: \"1.0\"")
	f.server.CLI(t, "", "status", "get", subject, "--type", f.name, "-o", "json").Says(t, 0, `"status":"S19"`)
	if r := f.server.CLI(t, "", "status", "get", unique("nobody")); r.Code == 0 {
		t.Errorf("a subject that nobody knows: %+v", r)
	}
}

// TestStatusesStay: statuses outlive a kill and their events, and an older event that comes later changes nothing.
func TestStatusesStay(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{Args: []string{"--events-retention", "1s"}})
	f := newFlow(t, s, "")
	first := f.says("s", `,"time":"2026-01-01T00:00:10Z","data":{"status":"Newest"}`)
	for i := range 10 {
		f.says(fmt.Sprint("other-", i), `,"data":{"status":"Other"}`)
	}
	if got := f.statusOf("s").Status; got != "Newest" {
		t.Errorf("status %s", got)
	}
	s.Kill()
	s.Start(t)
	if got := f.statusOf("s").Status; got != "Newest" {
		t.Errorf("status after a kill %s", got)
	}
	f.says("s", `,"time":"2026-01-01T00:00:09Z","data":{"status":"Older"}`)
	if got := f.statusOf("s").Status; got != "Newest" {
		t.Errorf("status after an older event %s", got)
	}
	fleettest.Eventually(t, "the event is trimmed", func() (bool, any) {
		r := f.client.Do(t, http.MethodGet, fmt.Sprint("/v1/events/", first.Sequence), nil)
		return r.Status == http.StatusNotFound, r.Status
	})
	if got := f.statusOf("s"); got.Status != "Newest" || !contains(string(got.Event), `"status":"Newest"`) {
		t.Errorf("status without its event %+v", got)
	}
	s.Restart(t)
	if got := f.statusOf("s").Status; got != "Newest" {
		t.Errorf("status after a restart %s", got)
	}
	s.MustStop(t)
}

// TestCopyOfStatusesStaysWithoutScheduler: what the scheduler keeps of statuses beneath the data stayed for ever when its role was taken from
// the process. With the role it is made anew.
func TestCopyOfStatusesStaysWithoutScheduler(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, "")
	subject := unique("order")
	f.says(subject, `,"data":{"status":"Booked"}`)
	dir := filepath.Join(s.Data, "statuses")
	there := func() bool {
		_, err := os.Stat(dir)
		return err == nil
	}
	fleettest.Eventually(t, "a copy of the statuses is there", func() (bool, any) { return there(), dir })
	s.MustStop(t)
	if !there() {
		t.Error("the copy did not outlive a stop")
	}
	s.SetRoles("api,worker")
	s.Start(t)
	if there() {
		t.Error("the copy stays, and nobody uses it")
	}
	s.MustStop(t)
	s.SetRoles("api,worker,scheduler")
	s.Start(t)
	if got := f.statusOf(subject); got.Status != "Booked" {
		t.Errorf("status %q after the role came back", got.Status)
	}
	fleettest.Eventually(t, "it is made anew", func() (bool, any) { return there(), dir })
	s.MustStop(t)
}
