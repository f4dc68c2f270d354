package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestKeepFrom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                string
		first, floor, young uint64
		ratio               float64
		want                uint64
	}{
		{"nothing settled", 1, 0, 100, 0, 1},
		{"nothing settled, full", 1, 0, 100, 1, 1},
		{"all old", 1, 50, 100, 0, 51},
		{"some young", 1, 50, 20, 0, 20},
		{"all young", 1, 50, 1, 0, 1},
		{"young and tight: half", 1, 100, 1, 0.8, 51},
		{"old and tight", 1, 100, 90, 0.8, 90},
		{"the last one, tight", 100, 100, 1, 0.8, 101},
		{"young and very tight", 1, 100, 1, 0.9, 101},
		{"trimmed beyond the floor's consumer", 60, 50, 100, 0.9, 60},
		{"empty stream", 101, 100, 101, 0.9, 101},
	} {
		if got := keepFrom(c.first, c.floor, c.young, c.ratio); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// acks makes a durable consumer of EVENTS and acknowledges the first n of what it gets.
func (f *fixture) acks(name, filter string, n int) {
	f.Helper()
	c, err := f.js.CreateOrUpdateConsumer(f.Context(), stream.Events, jetstream.ConsumerConfig{
		Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy,
	})
	must(f, err)
	if n == 0 {
		return
	}
	batch, err := c.Fetch(n)
	must(f, err)
	for m := range batch.Messages() {
		must(f, m.DoubleAck(f.Context()))
	}
	must(f, batch.Error())
}

func (f *fixture) firstEvent() uint64 {
	f.Helper()
	first, _, err := f.events.Bounds(f.Context())
	must(f, err)
	return first
}

func TestTrim(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Retention = time.Nanosecond
	for i := range 100 {
		_, err := f.js.Publish(t.Context(), stream.EventSubject("acme", fmt.Sprintf("t%d", i%2)), []byte("{}"))
		must(t, err)
	}
	trimmed := func(name string, want uint64) {
		t.Helper()
		must(t, f.trim(t.Context()))
		if got := f.firstEvent(); got != want {
			t.Errorf("%s: first event is %d, want %d", name, got, want)
		}
	}
	trimmed("no consumer", 1)
	f.acks("lane-of-others", stream.SubjectEvents+"other.>", 0)
	trimmed("only another consumer", 1)
	f.acks(stream.ConsumerDispatch, "", 60)
	f.cfg.Retention = time.Hour
	trimmed("young", 1)
	f.cfg.Retention = time.Nanosecond
	trimmed("dispatch at 60, an idle lane", 61)
	f.acks("lane-behind", stream.EventSubject("acme", "t1"), 3)
	f.acks(stream.ConsumerDispatch, "", 30)
	trimmed("a lane that is behind", 67) // 62, 64 and 66 are acked
	f.acks("lane-behind", stream.EventSubject("acme", "t1"), 17)
	trimmed("dispatch at 90", 91)
	f.acks(stream.ConsumerDispatch, "", 10)
	natstest.Eventually(t, patience, func() bool {
		must(t, f.trim(t.Context()))
		return f.firstEvent() == 101
	})
}

// TestTrimWhileNothingComes: the consumers are not listed while there is nothing to trim, and what has become old meanwhile goes all the same.
func TestTrimWhileNothingComes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Retention, f.cfg.Trim = time.Hour, time.Nanosecond
	for range 10 {
		_, err := f.js.Publish(t.Context(), stream.EventSubject("acme", "t"), []byte("{}"))
		must(t, err)
	}
	f.acks(stream.ConsumerDispatch, "", 10)
	trim := &trimmer{s: f.Scheduler}
	must(t, trim.step(t.Context()))
	before := trim.last
	must(t, trim.step(t.Context()))
	if !trim.last.Equal(before) {
		t.Error("trimmed again, with nothing new and nothing old")
	}
	f.cfg.Retention = time.Nanosecond
	natstest.Eventually(t, patience, func() bool {
		must(t, trim.step(t.Context()))
		return f.firstEvent() == 11
	})
	f.cfg.Retention = time.Hour
	must(t, trim.step(t.Context())) // there is nothing left
	before = trim.last
	_, err := f.js.Publish(t.Context(), stream.EventSubject("acme", "t"), []byte("{}"))
	must(t, err)
	must(t, trim.step(t.Context()))
	if trim.last.Equal(before) {
		t.Error("not looked at what has come")
	}
}
