package faults

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// beside is what live events took in one window.
type beside struct{ accepted, delivered []time.Duration }

// comparison is pairs of windows that followed each other: with the replay, and without.
type comparison [][2]struct {
	beside
	workOf
}

// resamples is how often a comparison is drawn anew from its pairs, to tell how far it can be trusted.
const resamples = 400

// all is what the events of one side took.
func (c comparison) all(which int, of func(beside) []time.Duration) []time.Duration {
	var took []time.Duration
	for i := range c {
		took = append(took, of(c[i][which].beside)...)
	}
	return took
}

func accepted(b beside) []time.Duration  { return b.accepted }
func delivered(b beside) []time.Duration { return b.delivered }

// ratio is the p99 of deliveries beside the replay, of all windows together, in that without.
func (c comparison) ratio() float64 {
	return float64(quantile(c.all(0, delivered), 0.99)) / float64(quantile(c.all(1, delivered), 0.99))
}

// median is that of the pairs' ratios.
func (c comparison) median() float64 {
	ratios := make([]float64, len(c))
	for i := range c {
		ratios[i] = c[i : i+1].ratio()
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// more is what the process did more beside the replay.
func (c comparison) more() (w workOf) {
	for _, pair := range c {
		w = w.plus(pair[0].minus(pair[1].workOf))
	}
	return w
}

// quiet is the ratio of the p99 where each side is left the half of its windows that has the lower one: without the moments
// in which the machine was slow by itself.
func (c comparison) quiet() float64 {
	var p99 [2]time.Duration
	for which := range p99 {
		windows := make([][]time.Duration, len(c))
		for i := range c {
			windows[i] = c[i][which].delivered
		}
		slices.SortFunc(windows, func(a, b []time.Duration) int { return cmp.Compare(quantile(a, 0.99), quantile(b, 0.99)) })
		p99[which] = quantile(slices.Concat(windows[:(len(c)+1)/2]...), 0.99)
	}
	return float64(p99[0]) / float64(p99[1])
}

// cost is the processor time of a replayed delivery.
func (c comparison) cost() time.Duration {
	w := c.more()
	return w.used / time.Duration(max(w.sent, 1))
}

// interval is where of would be in 95 of 100 repetitions, by drawing the pairs anew.
func interval[T float64 | time.Duration](c comparison, of func(comparison) T) (low, high T) {
	random := rand.New(rand.NewPCG(1, 2))
	drawn, found := make(comparison, len(c)), make([]T, resamples)
	for i := range found {
		for j := range drawn {
			drawn[j] = c[random.IntN(len(c))]
		}
		found[i] = of(drawn)
	}
	slices.Sort(found)
	return found[resamples*25/1000], found[resamples*975/1000]
}

func (c comparison) log(t *testing.T, what string) {
	t.Helper()
	if len(c) == 0 {
		return
	}
	for which, name := range []string{"replay", "paused"} {
		took, answered := c.all(which, delivered), c.all(which, accepted)
		var each []time.Duration
		for i := range c {
			each = append(each, quantile(c[i][which].delivered, 0.99))
		}
		slices.Sort(each)
		t.Logf("%s, %s: p99 of the windows %v, %v, %v, %v, %v", what, name, each[0], each[len(each)/4], each[len(each)/2], each[len(each)*3/4], each[len(each)-1])
		t.Logf("%s, %s: 202 p50 %v p99 %v, delivered p50 %v p99 %v p99.9 %v of %d", what, name, quantile(answered, 0.5), quantile(answered, 0.99),
			quantile(took, 0.5), quantile(took, 0.99), quantile(took, 0.999), len(took))
	}
	low, high := interval(c, comparison.ratio)
	medianLow, medianHigh := interval(c, comparison.median)
	quietLow, quietHigh := interval(c, comparison.quiet)
	t.Logf("%s: ratio of p99 in %d pairs, all together: %.2f (95%%: %.2f to %.2f); median of the pairs %.2f (%.2f to %.2f); the quieter half of each side's windows %.2f (%.2f to %.2f)", what, len(c),
		c.ratio(), low, high, c.median(), medianLow, medianHigh, c.quiet(), quietLow, quietHigh)
	if c.more().sent < len(c) {
		return // it rested in both
	}
	least, most := interval(c, comparison.cost)
	t.Logf("%s: %v of processor time a replayed delivery (95%%: %v to %v)", what, c.cost().Round(time.Microsecond), least.Round(time.Microsecond), most.Round(time.Microsecond))
}
