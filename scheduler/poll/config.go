package poll

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of a poller.
type Config struct {
	Heartbeat time.Duration // how often a process says that it lives
	TTL       time.Duration // after how long without a word its work is taken over

	Broker bool // this process runs the broker

	// Look is how often a poll that others have in hand is looked at.
	Look time.Duration
	// Drain is how long requests in flight may go on when the process ends.
	Drain time.Duration
	// Requests bounds the simultaneous requests of this process, of all sources together: 20 KiB and a connection each.
	Requests int
}

// DefaultConfig returns working values.
func DefaultConfig() Config {
	return Config{
		Heartbeat: time.Second,
		TTL:       5 * time.Second, // as workers
		Look:      time.Second,
		Drain:     5 * time.Second,
		Requests:  1024,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	if c.Heartbeat <= 0 || c.TTL < 3*c.Heartbeat || c.TTL < time.Second {
		errs = append(errs, fmt.Errorf("ttl of a poller: %s is under three heartbeats, or a second", c.TTL))
	}
	if c.Look <= 0 || c.Drain <= 0 {
		errs = append(errs, errors.New("look and drain must be positive"))
	}
	if c.Requests < 1 {
		errs = append(errs, errors.New("requests must be above 0"))
	}
	return errors.Join(errs...)
}
