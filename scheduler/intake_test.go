package scheduler

import (
	"math/rand/v2"
	"testing"
)

// TestIntakeCovers plays stretches in all orders against a plain set.
func TestIntakeCovers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	const end = 400
	for round := range 200 {
		in, has := newIntake(10), [end + 1]bool{}
		for i := range 11 {
			has[i] = true
		}
		for range 60 {
			from := uint64(1 + random.IntN(end))
			to := min(from+uint64(random.IntN(20)), end+1)
			in.cover(from, to)
			for i := from; i < to; i++ {
				has[i] = true
			}
			compare(t, in, has[:])
		}
		through := uint64(1 + random.IntN(end))
		for i, gaps := uint64(0), in.missing(through); i <= end; i++ {
			inGap := false
			for _, g := range gaps {
				inGap = inGap || g.from <= i && i < g.to
			}
			if i <= through && !has[i] && !inGap || i > through && inGap {
				t.Fatalf("round %d: %d is missing: %v, of %+v through %d", round, i, inGap, gaps, through)
			}
		}
		in.cover(1, end+1)
		if in.next() != end+1 || len(in.ahead) != 0 {
			t.Fatalf("at the end: %d, %+v", in.next(), in.ahead)
		}
	}
}

func compare(t *testing.T, in *intake, has []bool) {
	t.Helper()
	next := 0
	for next < len(has) && has[next] {
		next++
	}
	if in.next() != uint64(next) {
		t.Fatalf("next is %d, want %d", in.next(), next)
	}
	for i, want := range has {
		if in.covers(uint64(i)) != want {
			t.Fatalf("it has %d: %v; %+v", i, !want, in.ahead)
		}
	}
}

func TestIntakeIsBounded(t *testing.T) {
	t.Parallel()
	in := newIntake(0)
	for i := range uint64(3 * maxStretches) {
		in.cover(2*i+2, 2*i+3)
	}
	if len(in.ahead) != maxStretches {
		t.Errorf("it knows of %d stretches", len(in.ahead))
	}
	in.cover(1, 2)
	in.cover(3, 4)
	if in.next() != 5 {
		t.Errorf("next is %d", in.next())
	}
}
