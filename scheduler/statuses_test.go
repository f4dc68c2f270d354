package scheduler

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// emit publishes an event in structured mode, with more members of JSON.
func (f *fixture) emit(typ, subject, more string) uint64 {
	f.Helper()
	text := fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":%q,"tenant":"acme","subject":%q%s}`,
		fmt.Sprint(time.Now().UnixNano()), typ, subject, more)
	e, err := events.ParseStructured(text)
	must(f, err)
	return f.emitEvent(e)
}

func (f *fixture) emitEvent(e *events.Event) uint64 {
	f.Helper()
	return f.publish(stored(e), nil)
}

func stored(e *events.Event) *nats.Msg {
	header, payload := e.Message()
	return &nats.Msg{Subject: stream.EventSubject(e.Tenant(), e.Type()), Header: header, Data: payload}
}

// indexing runs the index until the test, or stop, ends it.
func (f *fixture) indexing() (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	var running sync.WaitGroup
	running.Go(func() { f.runIndex(ctx) })
	stop = func() { cancel(); running.Wait() }
	f.Cleanup(stop)
	return stop
}

// newest waits until the index has all events, and looks a status up, in the broker and as the API does.
func (f *fixture) newest(subject, typ string) *stream.Status {
	f.Helper()
	return f.lookUp(stream.StatusName{Tenant: "acme", Subject: subject, Type: typ})
}

// lookUp asks as the API does, and compares what it gets with what the broker has.
func (f *fixture) lookUp(name stream.StatusName) *stream.Status {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	given, err := f.statuses.Ask(ctx, name)
	must(f, err)
	s, err := f.statuses.Newest(f.Context(), name.Tenant, name.Subject, name.Type)
	must(f, err)
	for _, given := range []*stream.Status{given, f.atDesk(ctx, name)} {
		switch {
		case given == nil:
		case s == nil:
			f.Errorf("given a status of %+v, and the broker has none", name)
		case !bytes.Equal(given.Event.AppendStructured(nil), s.Event.AppendStructured(nil)) || given.Mark != s.Mark:
			f.Errorf("given %+v of %+v, and the broker has %+v", given.Mark, name, s.Mark)
		}
	}
	return s
}

// atDesk is what is said in this process.
func (f *fixture) atDesk(ctx context.Context, name stream.StatusName) *stream.Status {
	f.Helper()
	if f.Desk == nil {
		return nil
	}
	s, ok := f.Desk.Ask(ctx, name)
	if !ok && f.Desk.to.Load() != nil {
		f.Errorf("nothing is known of %+v in this process", name)
	}
	return s
}

func (f *fixture) says(subject, typ, want string) {
	f.Helper()
	s, got := f.newest(subject, typ), ""
	if s != nil {
		got = s.Value()
	}
	if got != want {
		f.Errorf("status of %q, type %q: %q, want %q", subject, typ, got, want)
	}
}

const (
	status = `,"time":"2026-01-01T00:00:%02dZ","data":{"status":%q}`
	odd    = "a/b c%\u00e9*.>"
)

func TestIndex(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.emit("order.status", "before", fmt.Sprintf(status, 1, "Old"))
	stop := f.indexing()
	f.says("before", "", "Old")
	f.says("nobody", "", "")

	f.emit("order.status", "o1", fmt.Sprintf(status, 1, "Booked"))
	last := f.emit("order.status", "o1", fmt.Sprintf(status, 5, "Shipped"))
	f.emit("order.status", "o1", fmt.Sprintf(status, 3, "Packed")) // late
	f.says("o1", "", "Shipped")
	if s := f.newest("o1", "order.status"); s.Sequence != last || !s.At.Equal(time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC)) {
		t.Errorf("mark %+v", s.Mark)
	}
	f.emit("order.status", "o1", fmt.Sprintf(status, 5, "Shipped again")) // at the same time: the later one counts
	f.says("o1", "", "Shipped again")

	// What has no status changes nothing.
	for _, more := range []string{"", `,"data":{"state":1}`, `,"data":{"status":null}`, `,"datacontenttype":"text/plain","data":"\"status\""`} {
		f.emit("order.status", "o1", `,"time":"2026-01-02T00:00:00Z"`+more)
	}
	f.says("o1", "", "Shipped again")

	// Types are apart, and of all the newest counts.
	f.emit("invoice.status", "o1", fmt.Sprintf(status, 2, "Sent"))
	f.says("o1", "", "Shipped again")
	f.says("o1", "invoice.status", "Sent")
	f.says("o1", "order.status", "Shipped again")
	f.emit("invoice.status", "o1", fmt.Sprintf(status, 9, "Paid"))
	f.says("o1", "", "Paid")
	f.says("o1", "other", "")

	// Without a time acceptance counts, which is now.
	f.emit("order.status", "o1", `,"data":{"status":"Now"}`)
	f.says("o1", "", "Now")

	// Any subject, in either mode.
	f.emit("order.status", odd, `,"data":{"status":7}`)
	f.says(odd, "", "7")
	binary, err := events.ParseNATS(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"b"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-tenant": {"acme"}, "ce-subject": {"bin%20ary"},
		"Content-Type": {"application/json"},
	}, []byte(`{"status":"Binary"}`))
	must(t, err)
	f.emitEvent(binary)
	f.says("bin ary", "", "Binary")
	if got, _ := f.newest("bin ary", "").Event.Data(); string(got) != `{"status":"Binary"}` {
		t.Errorf("data is %s", got)
	}
	stop()
	if saved := f.index.saved.Load(); saved != f.lastEvent() {
		t.Errorf("saved is %d of %d", saved, f.lastEvent())
	}
}

func (f *fixture) lastEvent() uint64 {
	f.Helper()
	_, end, err := f.events.Bounds(f.Context())
	must(f, err)
	return end - 1
}

// TestIndexGoesOn: another one goes on where the last one saved, reads some events again, and lets no old one over a new one.
func TestIndexGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.indexing()
	f.emit("t", "s", fmt.Sprintf(status, 1, "First"))
	f.says("s", "", "First")
	stop()
	saved := f.index.saved.Load()
	again := newIndexer(f.Scheduler)
	must(t, again.load(t.Context()))
	if saved == 0 || again.saved.Load() != saved {
		t.Fatalf("%d was saved, %d is loaded", saved, again.saved.Load())
	}
	stop = f.indexing()
	f.emit("t", "s", fmt.Sprintf(status, 7, "Newest"))
	f.emit("t", "s", fmt.Sprintf(status, 4, "Older"))
	f.emit("t", "u", fmt.Sprintf(status, 4, "Other"))
	f.says("s", "", "Newest")
	// It is killed: what was saved is older than what is stored. The next one knows nothing of it.
	stop()
	kv, err := f.js.KeyValue(t.Context(), stream.BucketFleet)
	must(t, err)
	_, err = kv.Put(t.Context(), stream.KeyStatuses, fmt.Appendf(nil, `{"sequence":%d}`, saved))
	must(t, err)
	f.indexing()
	f.emit("t", "s", fmt.Sprintf(status, 5, "Late"))
	f.emit("t", "u", fmt.Sprintf(status, 2, "Late"))
	f.says("s", "", "Newest")
	f.says("u", "", "Other")
	f.says("s", "t", "Newest")
}

// TestIndexHoldsTrimming: what is not in the index yet stays.
func TestIndexHoldsTrimming(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Retention = time.Nanosecond
	f.index.loaded.Store(false)
	for i := range 10 {
		f.emit("t", fmt.Sprint(i), fmt.Sprintf(status, i, "x"))
	}
	f.acks(stream.ConsumerDispatch, "", 10)
	must(t, f.trim(t.Context()))
	if first := f.firstEvent(); first != 1 {
		t.Errorf("trimmed below %d, when nothing is known of the index", first)
	}
	stop := f.indexing()
	f.says("9", "", "x")
	stop()
	natstest.Eventually(t, patience, func() bool {
		must(t, f.trim(t.Context()))
		return f.firstEvent() == 11
	})
	f.indexing()
	f.emit("t", "9", fmt.Sprintf(status, 30, "y"))
	f.says("9", "", "y")
	f.says("1", "", "x")
}

// TestIndexMany: more than waits at a time, of few subjects, all at once.
func TestIndexMany(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.indexing()
	const many, subjects = 12_300, 100 // three times what may wait
	for i := range many {
		e, err := events.ParseStructured(fmt.Appendf(nil,
			`{"specversion":"1.0","id":"%d","source":"/s","type":"t","tenant":"acme","subject":"s%d","data":{"status":%d}}`, i, i%subjects, i))
		must(t, err)
		_, err = f.js.PublishMsgAsync(stored(e), jetstream.WithStallWait(time.Minute))
		must(t, err)
		if i%1000 == 999 {
			<-f.js.PublishAsyncComplete()
		}
	}
	<-f.js.PublishAsyncComplete()
	for i := range subjects {
		f.says(fmt.Sprint("s", i), "", fmt.Sprint(many-subjects+i))
	}
}
