package scheduler

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of a scheduler.
type Config struct {
	Retention time.Duration // of settled events (events.retention)

	Sweep     time.Duration // how often timers are looked through
	SweepPage int           // timers that one sweep reads at most, 20 µs of the broker each
	// StuckAfter is how long past its time a timer must be to be set again: a fire takes 250 ms at most, a storm of
	// 100,000 some seconds.
	StuckAfter time.Duration
	Trim       time.Duration // how often settled events are deleted; every second while the store is tight
	Audit      time.Duration // how often held deliveries are looked through
	AuditPage  int           // held deliveries that one audit reads at most
	Expire     time.Duration // how often what is held is looked at for what has expired
	Index      bool          // whether there is an index of statuses
	SaveIndex  time.Duration // how often statuses are stored, and it is saved how far the index of them has come

	CopyDir  string        // where a copy of the statuses is kept while the process runs, unless Deps.Left says so; "" = the system's directory for such
	CopyLook time.Duration // how often it is compared with what the broker has
	CopyRest time.Duration // how long there is none after one that was given up

	LeaseRenew  time.Duration // how often the one that acts says so
	LeaseExpiry time.Duration // after how long without a word another takes over
	Broker      bool          // this process runs the broker, alone with its store
}

// DefaultConfig returns settings that cost a fiftieth of a core with a million timers, and find a dropped one within a minute
// of its time among 20,000.
func DefaultConfig() Config {
	return Config{
		Retention: 72 * time.Hour,
		Sweep:     30 * time.Second,
		SweepPage: 20_000, StuckAfter: 30 * time.Second,
		Trim:      10 * time.Second,
		Audit:     time.Minute,
		AuditPage: 20_000,
		Expire:    time.Second,
		Index:     true,
		SaveIndex: 10 * time.Second, // as much and half of it again is read again after a kill
		CopyLook:  time.Second,      // what somebody deletes in the stream by hand is answered for so long
		CopyRest:  time.Minute,      // making one of a million takes some seconds of a core
		// A take-over takes LeaseExpiry and at most LeaseRenew twice: 10 s.
		LeaseRenew:  2 * time.Second,
		LeaseExpiry: 6 * time.Second,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"events.retention", c.Retention}, {"sweep", c.Sweep}, {"stuck after", c.StuckAfter}, {"trim", c.Trim}, {"audit", c.Audit}, {"expiry", c.Expire}, {"saving of the index", c.SaveIndex}, {"look at the copy of statuses", c.CopyLook}, {"rest of the copy of statuses", c.CopyRest}, {"lease renewal", c.LeaseRenew},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s: %s is not positive", d.name, d.value))
		}
	}
	if c.SweepPage <= 0 || c.AuditPage <= 0 {
		errs = append(errs, errors.New("sweep and audit must read something"))
	}
	if c.LeaseExpiry < 3*c.LeaseRenew {
		errs = append(errs, fmt.Errorf("lease expiry: %s is under three renewals", c.LeaseExpiry))
	}
	return errors.Join(errs...)
}
