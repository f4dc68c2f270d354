package events

import (
	"errors"
	"fmt"
	"time"
)

// Ticks are when the first attempts of a scheduled subscription go. The zero value has none: that is what a schedule by
// source has, whose ticks are those of its source. Ticks are the same in every process, so that an owner knows those of
// the owner before it. A value is immutable and safe for concurrent use.
type Ticks struct {
	every time.Duration // 0 = not by interval
	cron  *crontab      // nil = not by cron
}

var errNever = errors.New("names a time that never comes")

// Ticks prepares the schedule. The error completes "cron …" or "timezone …" for a schedule that was never checked.
func (s *Schedule) Ticks() (Ticks, error) {
	if s.Cron == "" {
		return Ticks{every: time.Duration(s.Every)}, nil
	}
	zone, err := loadZone(s.Timezone)
	if err != nil {
		return Ticks{}, fmt.Errorf("timezone %w", err)
	}
	cron, err := parseCron(s.Cron, zone)
	if err != nil {
		return Ticks{}, fmt.Errorf("cron %w", err)
	}
	return Ticks{cron: cron}, nil
}

// Next is the first tick after a time; the zero time when there is none.
func (t Ticks) Next(after time.Time) time.Time {
	switch {
	case t.cron != nil:
		return t.cron.next(after)
	case t.every > 0:
		return lastMultiple(after, t.every).Add(t.every)
	default:
		return time.Time{}
	}
}

// Last is the newest tick at or before a time; the zero time when there is none. A tick that came while nobody ran is
// fired once, late: when Last(now) is after the last one that was fired.
func (t Ticks) Last(at time.Time) time.Time {
	switch {
	case t.cron != nil:
		return t.cron.last(at)
	case t.every > 0:
		return lastMultiple(at, t.every)
	default:
		return time.Time{}
	}
}

// lastMultiple is the newest multiple of an interval since the epoch that is not after at.
func lastMultiple(at time.Time, every time.Duration) time.Time {
	since := at.UnixNano() % int64(every)
	if since < 0 {
		since += int64(every)
	}
	return time.Unix(0, at.UnixNano()-since).UTC()
}
