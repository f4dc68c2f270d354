package scheduler

import (
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// replayBurst is what a replay without a rate may make up for at once: a tenth of a second.
const replayBurst = replayRate / 10

// rate is the time between two deliveries of the replay, and how many it may be behind. One that says no rate takes its
// part of the common one, and at most half of what the subscription's own rate allows.
func (r *replay) rate(entry *registry.Entry) (interval time.Duration, burst int) {
	if own := r.job.Rate; own != nil {
		return intervalOf(own), own.Burst
	}
	interval = time.Second * time.Duration(r.share(r, true)) / replayRate
	if sink := entry.Subscription.Config.Rate; sink != nil {
		interval = max(interval, 2*intervalOf(sink))
	}
	return interval, replayBurst
}

func intervalOf(r *events.Rate) time.Duration {
	return max(time.Duration(r.Per)/time.Duration(r.Permit), 1)
}

// freshLimit is how many deliveries of a replay may be on their first attempt: half of what the sink takes at a time, so
// that the other half is for live traffic. Those of batches and ticks wait for each other.
func freshLimit(s *events.Subscription) int {
	n := max(s.Config.Concurrency/2, 1)
	switch {
	case s.Config.Schedule != nil:
		n = maxFresh
	case s.ProtocolSettings.Batch != nil:
		n *= s.ProtocolSettings.Batch.MaxEvents
	}
	return min(n, maxFresh)
}

// replayReach is how far ahead of their time deliveries are made: written, and handed to a worker, together, which costs a
// part of what it does one by one. When each begins is in its message, so it is no burst.
const replayReach = 200 * time.Millisecond

// reachOf is the reach of a subscription's replay: what is made ahead counts among the limit that may be on their first
// attempt, and is to take a quarter of that. What goes by a lane begins when it comes.
func reachOf(s *events.Subscription, interval time.Duration, limit int) time.Duration {
	if s.Laned() {
		return 0
	}
	return min(replayReach, interval*time.Duration(limit)/4)
}

// replayPace spreads deliveries evenly. It begins with one; burst is how many may be made up for after a stall.
type replayPace struct {
	paid time.Time // until when the rate is used up; zero = it has not begun
}

// allowed is how many deliveries may be made at now whose time comes within reach.
func (p *replayPace) allowed(now time.Time, reach, interval time.Duration, burst int) int {
	if p.paid.IsZero() {
		p.paid = now.Add(-interval)
	}
	if behind := now.Sub(p.paid); behind/interval > time.Duration(burst) {
		p.paid = now.Add(-interval * time.Duration(burst))
	}
	return int(now.Add(reach).Sub(p.paid) / interval)
}

// spread takes the next times for what is made at now.
func (p *replayPace) spread(made []*candidate, now time.Time, interval time.Duration) {
	for _, c := range made {
		p.paid = p.paid.Add(interval)
		c.waiting.After = p.paid.Sub(now)
	}
}
