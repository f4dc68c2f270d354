package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

func TestReplays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.publish("1", "acme", "order.status")
	last := b.publish("2", "acme", "order.status")
	r := b.post("/v1/replays", `{"id":"job","subscription":"s","from":"events","rate":7,"filters":[{"exact":{"subject":"order-1"}}]}`).want(http.StatusCreated)
	for _, want := range [][]string{
		{"id", "job"}, {"tenant", "acme"}, {"subscription", "s"}, {"from", "events"}, {"state", "running"}, {"matched", "0"}, {"sent", "0"},
		{"dryrun", "false"}, {"again", "false"}, {"since", ""}, {"endedat", ""}, {"rate", "permit", "7"}, {"rate", "per", "1s"}, {"rate", "burst", "7"},
	} {
		if got := r.at(want[:len(want)-1]...); got != want[len(want)-1] {
			t.Errorf("%v is %q", want, got)
		}
	}
	if !isMillis(r.at("createdat")) || r.at("until") != r.at("createdat") || r.header.Get("Location") != "/v1/replays/job" {
		t.Errorf("%s, Location %q", r.body, r.header.Get("Location"))
	}
	store := stream.NewReplays(b.js, b.writer)
	s, ok, err := store.Get(t.Context(), "job")
	if err != nil || !ok || s.Through != last || len(s.Filters) != 1 || s.Subscribed.IsZero() {
		t.Errorf("stored %+v, %v, %v", s, ok, err)
	}
	b.post("/v1/replays", `{"id":"job","subscription":"s","from":"events"}`).problem(http.StatusConflict, api.CodeIDTaken)
	if r := b.post("/v1/replays/job/pause", "").want(http.StatusOK); r.at("state") != "paused" {
		t.Errorf("%s", r.body)
	}
	if r := b.post("/v1/replays/job/resume", "").want(http.StatusOK); r.at("state") != "running" {
		t.Errorf("%s", r.body)
	}
	b.delete("/v1/replays/job").want(http.StatusNoContent)
	b.delete("/v1/replays/job").want(http.StatusNoContent)
	b.post("/v1/replays/job/resume", "").problem(http.StatusConflict, api.CodeEnded)
	if r := b.get("/v1/replays/job").want(http.StatusOK); r.at("state") != "cancelled" {
		t.Errorf("%s", r.body)
	}
}

func TestListReplays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("g", "globex")
	store := stream.NewReplays(b.js, b.writer)
	var ids []string
	for i := range 7 {
		id := fmt.Sprintf("r%d", i)
		b.post("/v1/replays", fmt.Sprintf(`{"id":%q,"subscription":%q,"from":"dead-letters"}`, id, []string{"s", "g"}[i%2])).want(http.StatusCreated)
		ids = append([]string{id}, ids...)
		if i == 2 {
			s, _, err := store.Get(t.Context(), id)
			must(t, err)
			s.Run = stream.ReplayRun{Number: 1, State: events.ReplayDone, EndedAt: time.Now(), Counts: events.ReplayCounts{Matched: 3, Sent: 2, Delivered: 2, Skipped: 1}}
			must(t, store.SaveRun(t.Context(), s))
		}
	}
	for query, want := range map[string][]string{
		"": ids, "subscription=g": {"r5", "r3", "r1"}, "tenant=acme": {"r6", "r4", "r2", "r0"}, "state=done": {"r2"}, "state=paused": nil, "tenant=nobody": nil,
	} {
		for _, limit := range []string{"", "&limit=2"} {
			got := b.pages("/v1/replays?" + strings.TrimPrefix(query+limit, "&"))
			if len(got) != len(want) {
				t.Errorf("%s%s: %v, want %v", query, limit, got, want)
			}
		}
	}
	if r := b.get("/v1/replays/r2").want(http.StatusOK); r.at("state") != "done" || r.at("matched") != "3" || r.at("skipped") != "1" || !isMillis(r.at("endedat")) {
		t.Errorf("%s", r.body)
	}
	b.get("/v1/replays?cursor=nonsense").problem(http.StatusBadRequest, api.CodeBadCursor)
}

func TestTooManyReplays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("g", "globex")
	for range 20 {
		b.post("/v1/replays", `{"subscription":"s","from":"events"}`).want(http.StatusCreated)
	}
	r := b.post("/v1/replays", `{"subscription":"s","from":"events"}`)
	r.problem(http.StatusTooManyRequests, api.CodeTooManyReplays)
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.post("/v1/replays", `{"subscription":"g","from":"events"}`).want(http.StatusCreated)
}
