package events

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// day is the unit that the contract adds to Go's durations (API.md 1).
const day = 24 * time.Hour

// Duration is a time.Duration whose text form also knows days: 500ms, 15s, 26h, 3d.
type Duration time.Duration

// ParseDuration reads a Go duration, or a whole number of days followed by "d". Negative durations are refused.
func ParseDuration(s string) (Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 32)
		if err != nil || days > uint64(1<<63-1)/uint64(day) {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		return Duration(time.Duration(days) * day), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	return Duration(d), nil
}

// String is the shortest form that ParseDuration reads back: 15s, 5m, 26h, 500ms.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// MarshalJSON encodes the text form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON takes the text form as a JSON string.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is a string such as 15s")
	}
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}
