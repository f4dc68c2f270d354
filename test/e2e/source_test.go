package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// desk is an internal system that is asked for the statuses of orders.
type desk struct {
	*httptest.Server
	mu       sync.Mutex
	statuses map[string]string // "" = it fails
	asked    map[string]int
	wants    string        // header Authorization
	block    chan struct{} // holds the answer about slowKey back; nil = nothing
}

const slowKey = "slow"

func newDesk(t *testing.T) *desk {
	d := &desk{statuses: map[string]string{}, asked: map[string]int{}}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.URL.Path, "/orders/")
		d.mu.Lock()
		status, block, denied := d.statuses[key], d.block, r.Header.Get("Authorization") != d.wants
		d.asked[key]++
		d.mu.Unlock()
		if block != nil && key == slowKey {
			<-block
		}
		switch {
		case denied:
			w.WriteHeader(http.StatusUnauthorized)
		case status == "":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, `{"data":{"status":%q}}`, status)
		}
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *desk) set(key, status string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.statuses[key] = status
}

// hold holds the answers about slowKey back until it is released.
func (d *desk) hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	block := make(chan struct{})
	d.block = block
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.block = nil
		close(block)
	}
}

func (d *desk) counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.asked)
}

// sourceView is the part of a source that tests look at.
type sourceView struct {
	Items    struct{ Open, Completed int }
	LastPoll struct {
		At, Ended                         time.Time
		Asked, Changed, Completed, Failed int
		Error                             string
	}
}

// orders is a source and a subscription of what it publishes.
type orders struct {
	*flow
	desk *desk
}

func newOrders(t *testing.T, s *fleettest.Server, every, credential string) *orders {
	t.Helper()
	o := &orders{newFlow(t, s, ""), newDesk(t)}
	o.define(every, credential)
	return o
}

func (o *orders) define(every, credential string) {
	o.t.Helper()
	body := fmt.Sprintf(`{"url":"%s/orders/${key}","type":%q,"every":%q,"status":"data.status","terminal":["Ended","Cancelled"],"timeout":"10s"%s}`,
		o.desk.URL, o.name, every, credential)
	if r := o.client.Do(o.t, http.MethodPut, "/v1/sources/"+o.name, body); r.Status/100 != 2 {
		o.t.Fatalf("PUT source: %d %s", r.Status, r.Body)
	}
}

func (o *orders) watch(keys ...string) {
	o.t.Helper()
	type item struct {
		Key string `json:"key"`
	}
	var items []item
	for _, key := range keys {
		items = append(items, item{key})
	}
	o.client.Must(o.t, http.StatusCreated, http.MethodPost, "/v1/sources/"+o.name+"/items", map[string]any{"items": items}, nil)
}

func (o *orders) view() (v sourceView) {
	o.t.Helper()
	o.client.Must(o.t, http.StatusOK, http.MethodGet, "/v1/sources/"+o.name, nil, &v)
	return v
}

// awaitPoll returns the next poll that begins after now, when it is through.
func (o *orders) awaitPoll() (v sourceView) {
	o.t.Helper()
	now := time.Now()
	fleettest.Eventually(o.t, "a poll", func() (bool, any) {
		v = o.view()
		return v.LastPoll.At.After(now) && !v.LastPoll.Ended.IsZero(), v
	})
	return v
}

// sent are the statuses that the partner got, in the order that they came in.
func sent(got []*sinktest.Request) (all []string) {
	for _, r := range got {
		var e struct {
			Subject string
			Data    struct{ Status string }
		}
		_ = json.Unmarshal(r.Body, &e)
		all = append(all, e.Subject+" "+e.Data.Status)
	}
	return all
}

// testSource follows orders through a source: the initial status is not sent, each change is, once; an error waits for
// the next tick; a terminal status completes.
func testSource(t *testing.T, s *fleettest.Server) {
	o := newOrders(t, s, "500ms", "")
	for _, key := range []string{"a", "b", "c"} {
		o.desk.set(key, "Booked")
	}
	o.watch("a", "b", "c")
	o.desk.set("c", "")
	if v := o.awaitPoll(); v.LastPoll.Asked != 3 || v.LastPoll.Failed != 1 || !strings.Contains(v.LastPoll.Error, "503") || v.Items.Open != 3 {
		t.Errorf("first poll %+v", v)
	}
	o.desk.set("a", "Shipped")
	o.desk.set("b", "Cancelled")
	if got := sent(o.sink.Wait(o.path, 2)); !slices.Contains(got, "a Shipped") || !slices.Contains(got, "b Cancelled") {
		t.Errorf("sent %v", got)
	}
	o.desk.set("c", "Shipped")
	if got := sent(o.sink.Wait(o.path, 3)); got[2] != "c Shipped" {
		t.Errorf("sent %v", got)
	}
	asked := o.desk.counts()["b"]
	v := o.awaitPoll()
	if v.Items.Open != 2 || v.Items.Completed != 1 || v.LastPoll.Failed != 0 || v.LastPoll.Error != "" || o.desk.counts()["b"] != asked {
		t.Errorf("later: %+v", v)
	}
	o.once(3)
	var page struct {
		Items []struct{ Key, State, Status string }
	}
	o.client.Must(t, http.StatusOK, http.MethodGet, "/v1/sources/"+o.name+"/items?state=completed", nil, &page)
	if len(page.Items) != 1 || page.Items[0].Key != "b" || page.Items[0].Status != "Cancelled" {
		t.Errorf("completed: %+v", page)
	}
	o.client.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/sources/"+o.name, nil, nil)
}

// testSourceCredential: a source is asked with its credential, which no answer shows.
func testSourceCredential(t *testing.T, s *fleettest.Server) {
	o := newOrders(t, s, "500ms", `,"credential":{"credentialtype":"BEARER","accesstoken":"`+canary+`-wrong"}`)
	o.desk.mu.Lock()
	o.desk.wants = "Bearer " + canary
	o.desk.mu.Unlock()
	o.desk.set("a", "Shipped")
	o.watch("a")
	if v := o.awaitPoll(); v.LastPoll.Failed != 1 || !strings.Contains(v.LastPoll.Error, "401") {
		t.Errorf("with a wrong token: %+v", v)
	}
	o.define("500ms", `,"credential":{"credentialtype":"BEARER","accesstoken":"`+canary+`"}`)
	if got := sent(o.sink.Wait(o.path, 1)); got[0] != "a Shipped" {
		t.Errorf("sent %v", got)
	}
	for _, path := range []string{"/v1/sources/" + o.name, "/v1/sources", "/v1/sources/" + o.name + "/items", "/metrics"} {
		if r := o.client.Do(t, http.MethodGet, path, nil); strings.Contains(string(r.Body), canary) {
			t.Errorf("%s shows the token: %s", path, r.Body)
		}
	}
	if strings.Contains(s.Log(), canary) {
		t.Error("the token is in the log")
	}
	o.client.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/sources/"+o.name, nil, nil)
}

// testSourceSchedule: what a source finds goes out when its poll is through, and not before.
func testSourceSchedule(t *testing.T, s *fleettest.Server) {
	o := newOrders(t, s, "24h", "") // a poll that began while the items are added would ask for the quick one alone
	o.client.Subscribe(t, o.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"schedule":{"source":%q},"lifecycle":{"terminal":["Ended"]}}}`,
		o.name, o.sink.URL(o.path), o.name))
	release := o.desk.hold()
	o.desk.set("quick", "Shipped")
	o.desk.set(slowKey, "Shipped")
	o.watch("quick", slowKey)
	o.define("1s", "")
	fleettest.Eventually(t, "a change is published", func() (bool, any) {
		var page struct{ Items []struct{ Subject string } }
		o.client.Must(t, http.StatusOK, http.MethodGet, "/v1/events?type="+o.name, nil, &page)
		return len(page.Items) == 1, page
	})
	fleettest.Eventually(t, "the slow one is asked", func() (bool, any) { return o.desk.counts()[slowKey] == 1, nil })
	if got := o.sink.Got(o.path); len(got) != 0 {
		t.Errorf("sent before the poll was through: %v", sent(got))
	}
	released := time.Now()
	release()
	got := o.sink.Wait(o.path, 2)
	if all := sent(got); !slices.Contains(all, "quick Shipped") || !slices.Contains(all, "slow Shipped") {
		t.Errorf("sent %v", all)
	}
	for _, r := range got {
		if r.At.Before(released) {
			t.Errorf("%v before the poll was through", r.At)
		}
	}
	o.desk.set("quick", "Ended")
	o.sink.Wait(o.path, 3)
	o.client.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/sources/"+o.name, nil, nil)
}

// TestSourceKilled: a process is killed in the middle of polls, and nothing is sent twice or forgotten.
func TestSourceKilled(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	o := newOrders(t, s, "500ms", "")
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprintf("order-%d", i))
		o.desk.set(keys[i], "Booked")
	}
	o.watch(keys...)
	want := map[string]bool{}
	for _, status := range []string{"Packed", "Shipped", "Ended"} {
		before := o.desk.counts()
		for _, key := range keys {
			o.desk.set(key, status)
			want[key+" "+status] = true
		}
		fleettest.Eventually(t, "a poll under way", func() (bool, any) { return !maps.Equal(before, o.desk.counts()), nil })
		s.Kill()
		s.Start(t)
		o.client = s.Client()
		fleettest.Eventually(t, "all are sent", func() (bool, any) {
			got := map[string]bool{} // what was in flight when it was killed may come twice
			for _, what := range sent(o.sink.Got(o.path)) {
				got[what] = true
			}
			return len(got) == len(want), len(got)
		})
	}
	seen := map[string]string{}
	for i, what := range sent(o.sink.Got(o.path)) {
		id := o.sink.Got(o.path)[i].ID()
		if other, twice := seen[what]; twice && other != id {
			t.Errorf("%s was published twice", what)
		}
		seen[what] = id
	}
	for what := range want {
		if seen[what] == "" {
			t.Errorf("%s was not sent", what)
		}
	}
	fleettest.Eventually(t, "all are completed", func() (bool, any) { v := o.view(); return v.Items.Completed == len(keys) && v.Items.Open == 0, v })
	s.MustStop(t)
}

// TestSourceShared: two schedulers share a tick, one of them is killed in the middle of it, and nothing is asked for twice
// at a tick. What it had in hand is asked for at the next one.
func TestSourceShared(t *testing.T) {
	t.Parallel()
	api := fleettest.Start(t, fleettest.Options{Roles: "api", Key: operatorKey})
	var schedulers []*fleettest.Server
	for range 2 {
		schedulers = append(schedulers, fleettest.Start(t, fleettest.Options{Roles: "scheduler", Key: operatorKey, Broker: api.BrokerURL(operatorKey)}))
	}
	o := &orders{&flow{t: t, server: api, client: api.Client(), name: unique("shared")}, newDesk(t)}
	const n, rarely, settings = 600, "30d", `,"concurrency":8`
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("order-%d", i))
		o.desk.set(keys[i], "Booked")
	}
	o.desk.set(slowKey, "Booked")
	release := o.desk.hold()
	// A tick asks for what was there when it began: none may begin before all is there, nor the next while we look at one.
	o.define(rarely, settings)
	o.watch(append([]string{slowKey}, keys...)...)
	o.define("1s", settings)
	fleettest.Eventually(t, "a poll under way", func() (bool, any) { return len(o.desk.counts()) > 8, nil })
	o.define(rarely, settings) // the slow one keeps the poll from ending
	schedulers[0].Kill()
	release()
	var first sourceView
	fleettest.Eventually(t, "the poll is through", func() (bool, any) {
		first = o.view()
		return first.LastPoll.Asked > 0 && !first.LastPoll.Ended.IsZero(), first
	})
	asked := o.desk.counts()
	for key, times := range asked {
		if times != 1 {
			t.Errorf("%s was asked for %d times at one tick", key, times)
		}
	}
	// What it had claimed and not asked for, and what of its requests had not arrived.
	if lost := n + 1 - len(asked); lost > 8+3 {
		t.Errorf("%d were not asked for", lost)
	}
	release = o.desk.hold()
	o.define("1s", settings)
	fleettest.Eventually(t, "the next poll is under way", func() (bool, any) { return o.view().LastPoll.At.After(first.LastPoll.At), nil })
	o.define(rarely, settings)
	release()
	var second sourceView
	fleettest.Eventually(t, "the next poll is through", func() (bool, any) {
		second = o.view()
		return !second.LastPoll.Ended.IsZero(), second
	})
	if second.LastPoll.Asked != n+1 {
		t.Errorf("the next poll: %+v", second)
	}
	for key, times := range o.desk.counts() {
		if times != asked[key]+1 {
			t.Errorf("%s was asked for %d times, and %d before", key, times, asked[key])
		}
	}
	schedulers[1].MustStop(t)
	api.MustStop(t)
}
