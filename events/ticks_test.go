package events

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func ticksOf(t testing.TB, s Schedule) Ticks {
	t.Helper()
	ticks, err := s.Ticks()
	if err != nil {
		t.Fatal(err)
	}
	return ticks
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	tm, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

// Each row is a time and the ticks that follow it, one after the other; going back from each finds the one before.
func TestTicks(t *testing.T) {
	t.Parallel()
	every := func(d time.Duration) Schedule { return Schedule{Every: Duration(d)} }
	cron := func(text, zone string) Schedule { return Schedule{Cron: text, Timezone: zone} }
	tests := []struct {
		name     string
		schedule Schedule
		after    string
		want     []string
	}{
		{"every", every(5 * time.Minute), "2026-03-01T10:03:00Z", []string{"2026-03-01T10:05:00Z", "2026-03-01T10:10:00Z"}},
		{"every, strictly after", every(5 * time.Minute), "2026-03-01T10:05:00Z", []string{"2026-03-01T10:10:00Z"}},
		{"every, a nanosecond before", every(5 * time.Minute), "2026-03-01T10:04:59.999999999Z", []string{"2026-03-01T10:05:00Z"}},
		{"every, aligned to the epoch", every(7 * 24 * time.Hour), "2026-03-01T00:00:00Z", []string{"2026-03-05T00:00:00Z"}}, // a Thursday
		{"every, short", every(100 * time.Millisecond), "2026-03-01T10:00:00.05Z", []string{"2026-03-01T10:00:00.1Z", "2026-03-01T10:00:00.2Z"}},
		{"every, before the epoch", every(time.Hour), "1969-12-31T22:30:00Z", []string{"1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z"}},
		{"cron", cron("*/20 9-10 * * *", ""), "2026-03-01T09:50:00Z",
			[]string{"2026-03-01T10:00:00Z", "2026-03-01T10:20:00Z", "2026-03-01T10:40:00Z", "2026-03-02T09:00:00Z"}},
		{"cron, strictly after", cron("0 9 * * *", ""), "2026-03-01T09:00:00Z", []string{"2026-03-02T09:00:00Z"}},
		{"cron, within a minute", cron("0 9 * * *", ""), "2026-03-01T09:00:00.5Z", []string{"2026-03-02T09:00:00Z"}},
		{"cron, weekdays by name", cron("30 8 * * mon-fri", ""), "2026-02-27T08:30:00Z", []string{"2026-03-02T08:30:00Z"}},
		{"cron, Sunday is 7", cron("0 0 * * 7", ""), "2026-03-02T00:00:00Z", []string{"2026-03-08T00:00:00Z"}},
		{"cron, Sunday is 0", cron("0 0 * * 0", ""), "2026-03-02T00:00:00Z", []string{"2026-03-08T00:00:00Z"}},
		{"cron, either kind of day", cron("0 0 13 * fri", ""), "2026-03-07T00:00:00Z",
			[]string{"2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z", "2026-03-27T00:00:00Z", "2026-04-03T00:00:00Z", "2026-04-10T00:00:00Z", "2026-04-13T00:00:00Z"}},
		{"cron, the 31st", cron("0 0 31 * *", ""), "2026-03-31T00:00:00Z", []string{"2026-05-31T00:00:00Z", "2026-07-31T00:00:00Z"}},
		{"cron, leap day", cron("0 0 29 2 *", ""), "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"cron, leap day after a century", cron("0 0 29 2 *", ""), "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"cron, end of year", cron("59 23 31 12 *", "Asia/Tokyo"), "2026-12-31T15:00:00Z", []string{"2027-12-31T14:59:00Z"}},
		{"cron, half an hour off", cron("0 9 * * *", "Asia/Kolkata"), "2026-03-01T00:00:00Z", []string{"2026-03-01T03:30:00Z"}},

		// Berlin: 2026-03-29 02:00 becomes 03:00 (01:00Z); 2026-10-25 03:00 becomes 02:00 (01:00Z).
		{"put forward: left out ticks at once", cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T02:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"put forward: several of them tick once", cron("*/10 2 * * *", "Europe/Berlin"), "2026-03-28T23:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		{"put forward: every half hour goes on", cron("*/30 * * * *", "Europe/Berlin"), "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
		{"put forward: same hour by the wall", cron("0 9 * * *", "Europe/Berlin"), "2026-03-28T07:00:00Z",
			[]string{"2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"}},
		{"put back: once", cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"put back: a restart in the second hour does not repeat", cron("30 2 * * *", "Europe/Berlin"), "2026-10-25T01:10:00Z",
			[]string{"2026-10-26T01:30:00Z"}},
		{"put back: every half hour goes on", cron("*/30 * * * *", "Europe/Berlin"), "2026-10-25T00:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}},
		{"put forward over midnight", cron("30 0 * * *", "Africa/Cairo"), "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:30:00Z"}},
		{"half an hour forward", cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"a day that was left out", cron("0 9 30 12 *", "Pacific/Apia"), "2011-12-01T00:00:00Z", []string{"2011-12-30T10:00:00Z", "2012-12-29T19:00:00Z"}},
		{"put back over midnight", cron("30 * * * *", "America/St_Johns"), "2006-10-29T02:00:00Z",
			[]string{"2006-10-29T03:00:00Z", "2006-10-29T04:00:00Z"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ticks := ticksOf(t, test.schedule)
			from := at(t, test.after)
			for _, want := range test.want {
				next := ticks.Next(from)
				if !next.Equal(at(t, want)) {
					t.Fatalf("after %s: %s, want %s", from, next, want)
				}
				if last := ticks.Last(next); !last.Equal(next) {
					t.Errorf("last at %s: %s", next, last)
				}
				if last := ticks.Last(next.Add(-1)); last.After(from) {
					t.Errorf("last before %s: %s", next, last)
				}
				from = next
			}
		})
	}
}

func TestTicksNone(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, ticks := range []Ticks{{}, ticksOf(t, Schedule{Source: "orders"})} {
		if next, last := ticks.Next(now), ticks.Last(now); !next.IsZero() || !last.IsZero() {
			t.Errorf("%s, %s", next, last)
		}
	}
	for _, s := range []Schedule{{Cron: "x"}, {Cron: "0 0 30 2 *"}, {Cron: "* * * * *", Timezone: "Mars"}} {
		if _, err := s.Ticks(); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}

// Whatever the schedule and the time, Next and Last agree, and minute by minute nothing is left out or added.
func TestTicksAgree(t *testing.T) {
	t.Parallel()
	field := func(low, high int) *rapid.Generator[string] {
		number := rapid.Custom(func(t *rapid.T) string { return strconv.Itoa(rapid.IntRange(low, high).Draw(t, "number")) })
		return rapid.OneOf(rapid.Just("*"), rapid.Just("*"), number, rapid.Custom(func(t *rapid.T) string {
			return "*/" + strconv.Itoa(rapid.IntRange(1, high-low).Draw(t, "step"))
		}), rapid.Custom(func(t *rapid.T) string {
			return number.Draw(t, "one") + "," + number.Draw(t, "two")
		}))
	}
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo",
		"Africa/Casablanca", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Chatham", "America/Havana", "Antarctica/Troll"}
	rapid.Check(t, func(r *rapid.T) {
		s := Schedule{
			Cron: field(0, 59).Draw(r, "minute") + " " + field(0, 23).Draw(r, "hour") + " " + field(1, 28).Draw(r, "day") + " " +
				field(1, 12).Draw(r, "month") + " " + field(0, 7).Draw(r, "weekday"),
			Timezone: rapid.SampledFrom(zones).Draw(r, "zone"),
		}
		ticks := ticksOf(t, s)
		from := time.Unix(rapid.Int64Range(at(t, "2000-01-01T00:00:00Z").Unix(), at(t, "2100-01-01T00:00:00Z").Unix()).Draw(r, "from"), 0)
		next := ticks.Next(from)
		if !next.After(from) {
			r.Fatalf("next after %s is %s", from, next)
		}
		if last := ticks.Last(next); !last.Equal(next) {
			r.Fatalf("last at %s is %s", next, last)
		}
		if last := ticks.Last(next.Add(-1)); last.After(from) {
			r.Fatalf("%s is between %s and %s", last, from, next)
		}
		zone, err := time.LoadLocation(s.Timezone)
		if err != nil {
			r.Fatal(err)
		}
		// No minute in between is named by the fields, but those that come the second time.
		for m := from.Truncate(time.Minute).Add(time.Minute); m.Before(next) && m.Before(from.Add(48*time.Hour)); m = m.Add(time.Minute) {
			if named(ticks.cron, m.In(zone)) && !repeated(m, zone) {
				r.Fatalf("%s is left out, next is %s", m.In(zone), next)
			}
		}
	})
}

// named reports whether the fields name what the clock shows.
func named(c *crontab, wall time.Time) bool {
	y, m, d := wall.Date()
	return c.hasDay(time.Date(y, m, d, 0, 0, 0, 0, time.UTC)) && c.hour>>wall.Hour()&1 == 1 && c.minute>>wall.Minute()&1 == 1
}

// repeated reports whether the clock showed the same some time before.
func repeated(at time.Time, zone *time.Location) bool {
	const shown = "2006-01-02T15:04"
	for back := 30 * time.Minute; back <= 3*time.Hour; back += 30 * time.Minute {
		if at.Add(-back).In(zone).Format(shown) == at.In(zone).Format(shown) {
			return true
		}
	}
	return false
}

// No expression panics, or is taken and never comes.
func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "*/5 0,12 1-15/2 jan,7 7", "0 0 30 2 *", "TZ=UTC * * * *", "@every 1s", "22-2 * * * fri-mon", "? ? ? ? ?"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ticks, err := (&Schedule{Cron: text, Timezone: "Europe/Berlin"}).Ticks()
		if err != nil || text == "" {
			return
		}
		now := time.Unix(1_800_000_000, 0)
		if next := ticks.Next(now); !next.After(now) {
			t.Errorf("%q: %s", text, next)
		}
	})
}

func BenchmarkTicksNext(b *testing.B) {
	for name, s := range map[string]Schedule{
		"every": {Every: Duration(time.Minute)}, "minutely": {Cron: "* * * * *", Timezone: "Europe/Berlin"},
		"weekly": {Cron: "0 9 * * 1", Timezone: "Europe/Berlin"}, "leap": {Cron: "0 0 29 2 *"},
	} {
		b.Run(name, func(b *testing.B) {
			ticks, now := ticksOf(b, s), time.Unix(1_800_000_000, 0)
			for b.Loop() {
				now = ticks.Next(now)
				if now.Year() > 2090 {
					now = time.Unix(1_800_000_000, 0)
				}
			}
		})
	}
}
