package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// TestRecent plays events in all orders against a map that forgets nothing.
func TestRecent(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(1, 2))
	r := newRecent(newestTimes{}, 0)
	r.most = 8
	stored := map[string]stream.Mark{}
	lookups := 0
	for i := range 20_000 {
		if i%5_000 == 4_999 { // another process takes over
			r = newRecent(r.times())
			r.most = 8
		}
		subject := fmt.Sprint("s", random.IntN(500))
		m := stream.Mark{At: began.Add(time.Duration(i) * time.Second), Sequence: uint64(i + 1)}
		if random.IntN(10) == 0 { // late, or at the same time as another
			m.At = m.At.Add(-time.Duration(random.IntN(1000)) * time.Second)
		}
		have, some := stored[subject]
		want := !some || m.After(have)
		newer, sure := r.judge(subject, m)
		if !sure {
			lookups++
			if newer = want; some {
				r.note(0, subject, have)
			}
		}
		if newer != want {
			t.Fatalf("%d: %s at %s is newer: %v, want %v; stored is %+v", i, subject, m.At, newer, want, have)
		}
		if newer {
			stored[subject] = m
			r.note(0, subject, m)
		}
	}
	if len(r.fresh) >= r.most || len(r.aging) > r.most {
		t.Errorf("it holds %d and %d", len(r.fresh), len(r.aging))
	}
	if lookups > 20_000/8 {
		t.Errorf("%d look-ups", lookups)
	}
}
