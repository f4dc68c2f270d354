package worker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/events"
)

// epoch is when the clocks of these tests begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestLedger(t *testing.T) {
	t.Parallel()
	p := pace{100 * time.Millisecond, 3}
	type take struct {
		at   int // ms
		n    int
		upto int   // ms
		want []int // ms
		next int   // ms, after it
	}
	for name, takes := range map[string][]take{
		"a burst is paid for": {
			{0, 5, 0, []int{0, 0, 0}, 300}, {299, 1, 299, nil, 300}, {300, 2, 300, []int{300}, 400}, {1000, 9, 1000, []int{1000, 1000, 1000}, 1300},
		},
		"ahead of time": {{0, 6, 500, []int{0, 0, 0, 300, 400, 500}, 600}, {450, 5, 650, []int{600}, 700}},
		"a short rest":  {{0, 3, 0, []int{0, 0, 0}, 300}, {450, 3, 450, []int{450, 450}, 650}},
		"what is left of a burst is lost when it is paid for": {{0, 1, 0, []int{0}, 0}, {50, 1, 50, []int{50}, 50}, {200, 3, 200, []int{200}, 300}},
	} {
		var l ledger
		for i, s := range takes {
			now := ms(s.at)
			var got []int
			for _, at := range l.give(p, s.n, now, ms(s.upto)) {
				got = append(got, int(at.Sub(epoch).Milliseconds()))
			}
			next := int(l.next(p, now).Sub(epoch).Milliseconds())
			if diff := cmp.Diff(s.want, got); diff != "" || next != s.next {
				t.Errorf("%s, %d: next %d, want %d; %s", name, i, next, s.next, diff)
			}
		}
	}
}

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

// However a sink is asked for, it gets no more than max(burst, 1+T/interval) within any T, and all that the pace allows
// when something waits all the time.
func TestLedgerKeepsItsBound(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := pace{time.Duration(1+r.IntN(200)) * time.Millisecond, 1 + r.IntN(20)}
		var l ledger
		var all []time.Time
		now := epoch
		busy := seed%3 == 0
		for range 300 {
			if !busy && r.IntN(10) == 0 {
				now = now.Add(time.Duration(r.IntN(40)) * p.interval)
			}
			now = now.Add(time.Duration(r.Int64N(int64(2 * p.interval))))
			n, ahead := r.IntN(4), time.Duration(r.Int64N(int64(3*p.interval)))
			if busy {
				n, ahead = 100, 3*p.interval
			}
			all = append(all, l.give(p, n, now, now.Add(ahead))...)
		}
		if !slices.IsSortedFunc(all, time.Time.Compare) {
			t.Fatalf("seed %d: permits are not in order", seed)
		}
		for i, from := range all {
			for j := i; j < min(i+3*p.burst+20, len(all)); j++ {
				took := all[j].Sub(from)
				if n, most := j-i+1, max(p.burst, 1+int(took/p.interval)); n > most {
					t.Fatalf("seed %d: %d permits within %v, at most %d: %+v", seed, n, took, most, p)
				}
			}
		}
		if want := int(now.Sub(epoch) / p.interval); busy && len(all) < want-1 {
			t.Errorf("seed %d: %d permits used of %d", seed, len(all), want)
		}
	}
}

// A change of pace neither forgets what is owed nor keeps it as the same time: a limit of one a minute that is lifted
// does not hold for another minute.
func TestLedgerChangesPace(t *testing.T) {
	t.Parallel()
	slow, fast := pace{time.Minute, 1}, pace{100 * time.Millisecond, 5}
	var l ledger
	l.give(slow, 1, epoch, epoch)
	if next := l.next(fast, ms(30_000)); next != ms(30_050) {
		t.Errorf("half a minute owed is %v of the faster pace", next.Sub(ms(30_000)))
	}
	l = ledger{}
	l.give(fast, 5, epoch, epoch)
	if next := l.next(slow, ms(0)); next != epoch.Add(5*time.Minute) {
		t.Errorf("five permits owed are %v of the slower pace", next.Sub(epoch))
	}
}

func TestPaceOf(t *testing.T) {
	t.Parallel()
	third := paceOf(&events.Rate{Permit: 3, Per: events.Duration(time.Second), Burst: 3})
	if took := 3 * third.interval; took < 1031*time.Millisecond || took > 1032*time.Millisecond {
		t.Errorf("three permits of a second take %v", took)
	}
	if day := paceOf(&events.Rate{Permit: 1, Per: events.Duration(24 * time.Hour), Burst: 1}); day.interval != 24*time.Hour+maxMargin {
		t.Errorf("one permit of a day takes %v", day.interval)
	}
	a, b := pace{time.Second, 5}, pace{time.Minute, 10}
	for _, tt := range []struct{ a, b, want pace }{
		{a, b, pace{time.Minute, 5}}, {b, a, pace{time.Minute, 5}}, {a, pace{}, a}, {pace{}, a, a}, {pace{}, pace{}, pace{}},
	} {
		if got := tt.a.and(tt.b); got != tt.want {
			t.Errorf("%v and %v is %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
