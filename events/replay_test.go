package events

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeReplay(t *testing.T) {
	t.Parallel()
	got, err := DecodeReplay([]byte(`{"id":"r","subscription":"s","from":"dead-letters","since":"2026-01-01T00:00:00Z","until":"2026-01-02T01:00:00+01:00",
		"filters":[{"prefix":{"type":"order."}}],"rate":{"permit":10,"per":"1m"},"dryrun":true,"again":true}`), SinkPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := &Replay{
		ID: "r", Subscription: "s", From: ReplayDeadLetters, Since: day, Until: day.AddDate(0, 0, 1), DryRun: true, Again: true, Wish: ReplayRunning,
		Filters: []Filter{{Prefix: Conditions{{"type", "order."}}}}, Rate: &Rate{Permit: 10, Per: Duration(time.Minute), Burst: 10},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = DecodeReplay([]byte(`{"subscription":"s","from":"events","rate":50,"since":null}`), SinkPolicy{})
	if err != nil || got.Rate == nil || *got.Rate != (Rate{50, Duration(time.Second), 50}) || !got.Since.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDecodeReplayFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`{`:  nil,
		`[]`: {""},
		`{}`: {"/from", "/subscription"},
		`{"subscription":"s","from":"events","tenant":"x","dry_run":true}`:                                   {"/dry_run", "/tenant"},
		`{"subscription":"S!","from":"letters","rate":1.5,"again":1}`:                                        {"/again", "/from", "/rate", "/subscription"},
		`{"subscription":"s","from":"events","rate":{"permit":0,"per":"x"}}`:                                 {"/rate/per", "/rate/permit"},
		`{"subscription":"s","from":"events","filters":[{"exact":{}},{"sql":"x"}]}`:                          {"/filters/0/exact", "/filters/1/sql"},
		`{"subscription":"s","from":"events","since":"2026-01-01T00:00:00Z","until":"2026-01-01T00:00:00Z"}`: {"/until"},
	} {
		_, err := DecodeReplay([]byte(text), SinkPolicy{})
		invalid, ok := errors.AsType[*Invalid](err)
		if !ok {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if want == nil {
			if invalid.Status != 400 {
				t.Errorf("%s: %+v", text, invalid)
			}
			continue
		}
		var got []string
		for _, f := range invalid.Faults {
			got = append(got, f.Pointer)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || invalid.Code != "invalid_replay" {
			t.Errorf("%s: %s at %v, want %v", text, invalid.Code, got, want)
		}
	}
}

// The ids of a job's deliveries never meet those of replays one by one.
func TestReplayIDs(t *testing.T) {
	t.Parallel()
	id := DeliveryID(1295, "s", JobReplay(1))
	if id != "zzR10000-s" {
		t.Errorf("id %s", id)
	}
	next, ok := NextReplay(id)
	if !ok || next != "zzR10001-s" {
		t.Errorf("next %s, %v", next, ok)
	}
	if first, ok := NextReplay(DeliveryID(7, "s", 0)); !ok || first != "7R1-s" {
		t.Errorf("next %s, %v", first, ok)
	}
	if _, ok := NextReplay("nonsense"); ok {
		t.Error("nonsense has a replay")
	}
}
