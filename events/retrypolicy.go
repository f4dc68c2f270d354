package events

import (
	"math"
	"time"
)

// The retry policies (API.md 3).
const (
	PolicyExponential = "exponential"
	PolicyFixed       = "fixed"
	PolicySchedule    = "schedule"
)

// RetryPolicy says when a failed delivery is tried again, and when it is given up.
type RetryPolicy struct {
	Policy        string     `json:"policy"`
	Initial       Duration   `json:"initial"`
	Factor        float64    `json:"factor"`
	Max           Duration   `json:"max"`
	Schedule      []Duration `json:"schedule,omitempty"` // its last entry repeats
	Jitter        float64    `json:"jitter"`             // delay × (1 ± jitter)
	MaxAttempts   int        `json:"maxattempts"`        // first attempt included
	MaxAge        Duration   `json:"maxage"`             // no attempt after this, counted from acceptance; 0 = none
	MaxRetryAfter Duration   `json:"maxretryafter"`      // caps Retry-After
}

// DefaultRetryPolicy is the policy of API.md 3: 5 s, 15 s, 45 s, … up to 10 h, 12 attempts within 72 h.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{
		Policy: PolicyExponential, Initial: Duration(5 * time.Second), Factor: 3, Max: Duration(10 * time.Hour),
		Jitter: 0.1, MaxAttempts: 12, MaxAge: Duration(72 * time.Hour), MaxRetryAfter: Duration(6 * time.Hour),
	}
}

// DefaultSchedule is what the policy schedule follows when none is given (API.md 3).
func DefaultSchedule() []Duration {
	return []Duration{
		Duration(5 * time.Second), Duration(5 * time.Minute), Duration(30 * time.Minute), Duration(2 * time.Hour),
	}
}

// Delay is how long to wait after the attempt with this number (from 1) failed. random is uniform in [0, 1) and places
// the delay within the jitter; 0.5 is the middle. It never overflows.
func (p *RetryPolicy) Delay(attempt int, random float64) time.Duration {
	d := p.base(max(attempt, 1)) * (1 + p.Jitter*(2*random-1))
	if d > float64(math.MaxInt64/4) {
		d = float64(math.MaxInt64 / 4)
	}
	return time.Duration(d)
}

func (p *RetryPolicy) base(attempt int) float64 {
	switch {
	case p.Policy == PolicySchedule && len(p.Schedule) > 0:
		return float64(p.Schedule[min(attempt, len(p.Schedule))-1])
	case p.Policy == PolicyFixed:
		return float64(p.Initial)
	default:
		return min(float64(p.Initial)*math.Pow(p.Factor, float64(attempt-1)), float64(p.Max))
	}
}
