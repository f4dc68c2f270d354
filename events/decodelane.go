package events

import (
	"time"
)

// Bounds of ordering, schedule and lifecycle.
const (
	minTickEvery = Duration(100 * time.Millisecond) // a tick looks at all that waits
	maxTickBatch = 1_000_000                        // beyond what waits for one partner
)

// What orders, and what the status is, in settings that do not say (API.md 3).
const (
	defaultKey    = "subject"
	defaultStatus = "data.status"
)

// DefaultLifecycle is what a lifecycle says that leaves everything out. It has no terminal status.
func DefaultLifecycle() Lifecycle {
	return Lifecycle{Key: defaultKey, Status: defaultStatus, Dedupe: true}
}

func (d *subscriptionReader) ordering(v *jsonValue, at string) {
	o := &Ordering{Key: defaultKey}
	d.s.Config.Ordering = o
	d.object(v, at, map[string]reader{"key": d.text(&o.Key, wrongReference)})
}

// ticks reads config.schedule; schedule is that of the retry policy.
func (d *subscriptionReader) ticks(v *jsonValue, at string) {
	s := &Schedule{}
	d.s.Config.Schedule = s
	before := len(d.faults)
	d.object(v, at, map[string]reader{
		"every":    d.duration(&s.Every, minTickEvery, maxDelay),
		"cron":     d.text(&s.Cron, wrongCron),
		"timezone": d.text(&s.Timezone, wrongZone),
		"source":   d.text(&s.Source, wrongID),
		"batch":    d.integer(&s.Batch, 1, maxTickBatch),
	})
	if v.kind != jsonObject {
		return
	}
	given := 0
	for _, name := range []string{"every", "cron", "source"} {
		if v.member(name) != nil {
			given++
		}
	}
	// A member that is not known was probably meant to be one of them, and is faulted already.
	if given > 1 || given == 0 && len(d.faults) == before {
		d.fault(at, "must have exactly one of every, cron and source")
	}
	if v.member("timezone") != nil && v.member("cron") == nil && !d.faulted(at+"/timezone") {
		d.fault(at+"/timezone", "is that of cron, which is not there")
	}
}

func wrongCron(s string) string {
	if _, err := parseCron(s, time.UTC); err != nil {
		return err.Error()
	}
	return ""
}

func wrongZone(s string) string {
	if s == "" {
		return "must not be empty; leave it out for UTC"
	}
	if _, err := loadZone(s); err != nil {
		return err.Error()
	}
	return ""
}

func (d *subscriptionReader) lifecycle(v *jsonValue, at string) {
	l := DefaultLifecycle()
	d.s.Config.Lifecycle = &l
	d.object(v, at, map[string]reader{
		"key":        d.text(&l.Key, wrongReference),
		"status":     d.text(&l.Status, wrongReference),
		"terminal":   d.statuses(&l.Terminal),
		"dedupe":     d.boolean(&l.Dedupe),
		"latestonly": d.boolean(&l.LatestOnly),
	})
}

// checkLane faults what asks for order where there can be none, and for two orders at once. It follows the reading of all
// members.
func (d *subscriptionReader) checkLane() {
	const batch = "cannot be with contentmode batch: a batch has events of many keys, and one attempt"
	c := d.s.Config
	if d.s.ProtocolSettings.ContentMode == ModeBatch {
		if c.Ordering != nil {
			d.fault("/config/ordering", "%s", batch)
		}
		if c.Lifecycle != nil {
			d.fault("/config/lifecycle", "%s", batch)
		}
	}
	const key = "/config/ordering/key"
	if c.Ordering != nil && c.Lifecycle != nil && c.Ordering.Key != c.Lifecycle.Key && !d.faulted(key) && !d.faulted("/config/lifecycle/key") {
		d.fault(key, "must be that of lifecycle, which keeps the order of its keys")
	}
}
