package events

import (
	"errors"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// crontab is a cron expression of five fields in a time zone: which minutes of the wall clock are ticks. Where clocks are
// put forward, what was left out ticks once, at the moment they are; where they are put back, a time that comes twice
// ticks the first time only, unless every hour of the day is meant.
type crontab struct {
	minute, hour, dom, month, dow uint64 // bit n: the number n
	zone                          *time.Location
}

// Bounds of a cron expression.
const (
	maxCronBytes = 256                      // far beyond what people write
	cronSearch   = 9 * 366                  // days: February 29 comes after 8 years at most
	minZone      = -14 * 60 * 60            // seconds: no zone is further west
	maxZone      = 15 * 60 * 60             // nor further east
	dayLength    = int64(24 * 60 * 60)      // of the wall clock
	allHours     = uint64(1)<<24 - 1        // bits 0 to 23
	allDays      = (uint64(1)<<31 - 1) << 1 // bits 1 to 31
	allWeekdays  = uint64(1)<<7 - 1         // bits 0 to 6
)

// cronFields reads the fields alone: no seconds, no @every, no extensions.
var cronFields = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// parseCron reads an expression. The error completes "cron …".
func parseCron(text string, zone *time.Location) (*crontab, error) {
	const wrong = "must be five fields: minute, hour, day of the month, month and day of the week, such as 0 9 * * mon-fri"
	if len(text) > maxCronBytes || strings.ContainsAny(text, "=@") || len(strings.Fields(text)) != 5 {
		return nil, errors.New(wrong)
	}
	parsed, err := cronFields.Parse(text)
	if err != nil {
		return nil, errors.New(wrong + ": " + err.Error())
	}
	s, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New(wrong)
	}
	c := &crontab{minute: s.Minute, hour: s.Hour & allHours, dom: s.Dom & allDays, month: s.Month, dow: s.Dow & allWeekdays, zone: zone}
	if c.next(time.Unix(0, 0)).IsZero() {
		return nil, errNever
	}
	return c, nil
}

// loadZone finds a time zone by its IANA name; "" is UTC. The error completes "timezone …".
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || strings.EqualFold(name, "local") {
		return nil, errors.New("must be the name of a time zone, such as Europe/Berlin")
	}
	return zone, nil
}

// hasDay reports whether a day of the calendar has ticks. Where both kinds of day are given, either will do, as in every
// crontab.
func (c *crontab) hasDay(day time.Time) bool {
	if c.month>>uint(day.Month())&1 == 0 {
		return false
	}
	dom, dow := c.dom>>uint(day.Day())&1 == 1, c.dow>>uint(day.Weekday())&1 == 1
	if c.dom != allDays && c.dow != allWeekdays {
		return dom || dow
	}
	return dom && dow
}

// dayOf is the day of the wall clock at t, as midnight UTC of that date.
func (c *crontab) dayOf(t time.Time) time.Time {
	y, m, d := t.In(c.zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// next is the first tick after a time. It looks from the day before on, as clocks may be put back over midnight, and at
// the day behind the one it finds, for the same reason.
func (c *crontab) next(after time.Time) time.Time {
	found, late := int64(0), after.Unix()
	day, none := c.dayOf(after).AddDate(0, 0, -1), true
	for range cronSearch {
		had := !none
		c.on(day, late+1, 1<<62, func(tick int64) (more bool) {
			if none || tick < found {
				found, none = tick, false
			}
			return false
		})
		if had {
			break
		}
		day = day.AddDate(0, 0, 1)
	}
	return moment(found, none)
}

// last is the newest tick that is not after at.
func (c *crontab) last(at time.Time) time.Time {
	found, none := int64(0), true
	day := c.dayOf(at).AddDate(0, 0, 1)
	for range cronSearch {
		had := !none
		c.on(day, -1<<62, at.Unix(), func(tick int64) (more bool) {
			if none || tick > found {
				found, none = tick, false
			}
			return true
		})
		if had {
			break
		}
		day = day.AddDate(0, 0, -1)
	}
	return moment(found, none)
}

func moment(unix int64, none bool) time.Time {
	if none {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// on gives the ticks of a day of the wall clock from one second to another, those that were moved out of the day by clocks
// put forward included. They come in their order, and as long as the taker wants more, unless the clocks are changed.
func (c *crontab) on(day time.Time, from, until int64, take func(int64) (more bool)) {
	if !c.hasDay(day) {
		return
	}
	midnight := day.Unix()
	clock := c.clock(midnight)
	for hour := range 24 {
		start := midnight + int64(hour)*3600
		if c.hour>>hour&1 == 0 || clock.steady() && (start+3600-clock.before <= from || start-clock.before > until) {
			continue
		}
		for minute := range 60 {
			if c.minute>>minute&1 == 0 {
				continue
			}
			first, second := clock.at(start + int64(minute)*60)
			more := first < from || first > until || take(first)
			if second != 0 && c.hour == allHours && second >= from && second <= until {
				more = take(second) && more
			}
			if !more && clock.steady() {
				return
			}
		}
	}
}

// wallClock is how far the clocks of a zone are ahead of UTC, around one day, in seconds.
type wallClock struct {
	changed       int64 // when they are changed; later than everything = they are not
	before, since int64
}

// steady reports whether the clocks are not changed.
func (w wallClock) steady() bool { return w.before == w.since }

// clock returns the wall clock around a day, whose midnight is given as if it were UTC. Clocks are not changed twice within
// two days anywhere. time.Time.ZoneBounds would say when they are, but is wrong on the last day of leap years to come.
func (c *crontab) clock(midnight int64) wallClock {
	low, high := midnight-maxZone, midnight+dayLength-minZone
	w := wallClock{changed: 1 << 62, before: c.ahead(low), since: c.ahead(high)}
	if w.steady() {
		return w
	}
	for high-low > 1 {
		if middle := low + (high-low)/2; c.ahead(middle) == w.before {
			low = middle
		} else {
			high = middle
		}
	}
	w.changed = high
	return w
}

func (c *crontab) ahead(unix int64) int64 {
	_, ahead := time.Unix(unix, 0).In(c.zone).Zone()
	return int64(ahead)
}

// at is when the clocks show a time, which is given as if it were UTC: first, and second where they are put back over it
// (0 = they are not). A time that is left out is when the clocks are put forward.
func (w wallClock) at(wall int64) (first, second int64) {
	early, late := wall-w.before, wall-w.since
	switch isEarly, isLate := early < w.changed, late >= w.changed; {
	case isEarly && isLate:
		return early, late
	case isEarly:
		return early, 0
	case isLate:
		return late, 0
	default:
		return w.changed, 0
	}
}
