package worker

import (
	"math"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// pace is how fast a sink may be sent to: one request each interval, and burst at once after a rest. Whatever happens, no
// more than max(burst, 1 + T/interval) requests begin within any time T: a burst is paid for before anything else goes.
// A token bucket would let burst + T/interval through, so that a partner who wants 100 a second would get 200 in the
// first one.
type pace struct {
	interval time.Duration // 0 = as fast as it can be
	burst    int
}

// A rate is used a little less than it may be, because a receiver counts what arrives: of two requests the first may take
// longer. So much of the time that a rate is per is left for that.
const (
	marginPart = 32 // of per
	maxMargin  = 100 * time.Millisecond
)

func paceOf(r *events.Rate) pace {
	per, permits := time.Duration(r.Per), time.Duration(r.Permit)
	per += min(per/marginPart, maxMargin)
	return pace{interval: (per + permits - 1) / permits, burst: r.Burst} // rounded up: a permit must not be early
}

// and is the pace that keeps both.
func (p pace) and(q pace) pace {
	switch {
	case p.interval == 0:
		return q
	case q.interval == 0:
		return p
	default:
		return pace{max(p.interval, q.interval), min(p.burst, q.burst)}
	}
}

// ledger is what the fleet has sent to one sink, as it is stored. The zero value is a sink that has rested for long.
type ledger struct {
	Paid   time.Time     `json:"paid"`           // until when the permits given take up the pace
	Credit int           `json:"credit"`         // left of the present burst
	Every  time.Duration `json:"every,omitzero"` // the interval that it was written at
}

// settleTo makes the ledger one of pace p, from now on. When the pace has changed, what is owed stays as many permits.
func (l *ledger) settleTo(p pace, now time.Time) {
	if owed := l.Paid.Sub(now); l.Every > 0 && l.Every != p.interval && owed > 0 {
		l.Paid = now.Add(time.Duration(min(float64(owed)*float64(p.interval)/float64(l.Every), math.MaxInt64/4)))
	}
	l.Every = p.interval
	l.Credit = min(l.Credit, p.burst)
	if !now.Before(l.Paid) {
		rest := now.Sub(l.Paid) / p.interval
		l.Credit = int(min(rest, time.Duration(p.burst-1))) + 1
	}
}

// next is when the next permit may be had.
func (l *ledger) next(p pace, now time.Time) time.Time {
	is := *l
	if is.settleTo(p, now); is.Credit > 0 {
		return now
	}
	return is.Paid
}

// give gives at most n permits that may be used by upto, and returns from when on each may be: in order, none before now.
func (l *ledger) give(p pace, n int, now, upto time.Time) (permits []time.Time) {
	l.settleTo(p, now)
	for range n {
		at := now
		if l.Credit == 0 {
			at = l.Paid // by then one interval has passed since the last
		}
		if at.After(upto) {
			break
		}
		l.Credit = max(l.Credit-1, 0)
		if l.Paid.Before(at) {
			l.Paid = at
		}
		l.Paid = l.Paid.Add(p.interval)
		permits = append(permits, at)
	}
	return permits
}

// rested is when the ledger will be as good as none: a whole burst may go.
func (l *ledger) rested(p pace) time.Time {
	return l.Paid.Add(time.Duration(p.burst-1) * p.interval)
}
