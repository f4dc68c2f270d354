package scheduler

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hookfleet/hookfleet/events/stream"
)

// TestDesk: who asks in the process is given what the broker would say, many at a time; once the index has ended, nothing is known, and
// nobody is kept waiting.
func TestDesk(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	name := func(i int) stream.StatusName {
		return stream.StatusName{Tenant: "acme", Subject: fmt.Sprint("s", i)}
	}
	if _, ok := f.Desk.Ask(t.Context(), name(1)); ok {
		t.Error("somebody answers, and nothing runs")
	}
	stop := f.indexing()
	f.relying()
	f.copies()
	for i := range 40 {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, fmt.Sprint(i))))
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if s, ok := f.Desk.Ask(t.Context(), name(i)); !ok || s == nil || s.Value() != fmt.Sprint(i) {
				t.Errorf("%d: %+v, %v", i, s, ok)
			}
		})
	}
	all.Wait()
	if s, ok := f.Desk.Ask(t.Context(), name(41)); !ok || s != nil {
		t.Errorf("of nobody: %+v, %v", s, ok)
	}
	desk := f.Desk.to.Load()
	stop()
	f.Desk.to.Store(desk) // as one sees it who came just before
	if _, ok := f.Desk.Ask(t.Context(), name(1)); ok {
		t.Error("it has ended, and yet it answers")
	}
}
