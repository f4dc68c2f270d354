package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

func TestFreshSeesWhatOthersWrote(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	writer, reader := start(t, js), start(t, js)
	for i := range 200 {
		id := fmt.Sprint("s", i%10)
		if i%30 < 10 || i%30 >= 20 {
			put(t, writer, toType(t, id, "order"))
		} else if err := writer.Delete(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
		want, there := writer.Lookup(id)
		if err := reader.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, found := reader.Lookup(id)
		if there != found || there && got.Revision != want.Revision {
			t.Fatalf("%d: got %v, want %v", i, got, want)
		}
		if i%50 == 0 {
			accept(t, js)
		}
	}
}

func TestBothWaysOfReadingSeeTheSame(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	writer, reader := start(t, js), start(t, js)
	h := reader.subscriptions.kv.Load()
	if !h.direct {
		t.Error("a single server is not read directly")
	}
	for i := range 100 {
		reader.subscriptions.kv.Store(&handle{KeyValue: h.KeyValue, direct: i%2 == 0})
		e := put(t, writer, toType(t, "a", "order"))
		if err := reader.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, ok := reader.Lookup("a"); !ok || got.Revision != e.Revision {
			t.Fatalf("%d: got %v, want %v", i, got, e)
		}
	}
}

func TestFreshSharesReads(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	seen := make(chan struct{}, 10000)
	sub, err := js.Conn().Subscribe("$JS.API.DIRECT.GET.KV_"+stream.BucketSubscriptions, func(*nats.Msg) { seen <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	const callers = 500
	r.fresh.turn <- struct{}{} // somebody reads, and they pile up
	errs := make(chan error, callers)
	var calling sync.WaitGroup
	for range callers {
		calling.Add(1)
		go func() {
			calling.Done()
			errs <- r.Fresh(t.Context())
		}()
	}
	calling.Wait()
	<-r.fresh.turn
	for range callers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if n := len(seen); n > callers/10 {
		t.Errorf("%d reads for %d callers", n, callers)
	}
}

func TestFreshEndsWithItsContext(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	r.fresh.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Fresh(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// The one that leads and gives up does not fail the others.
	rd := r.fresh.join()
	r.lead(ctx, rd)
	if !rd.lost {
		t.Error("not lost")
	}
	<-r.fresh.turn
	if err := r.Fresh(t.Context()); err != nil {
		t.Error(err)
	}
}
