package api

import "time"

// timeFormat is RFC 3339 UTC with milliseconds (API.md 1).
const timeFormat = "2006-01-02T15:04:05.000Z"

// Time is a moment in an answer.
type Time time.Time

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, len(timeFormat)+2)
	b = append(b, '"')
	b = time.Time(t).UTC().AppendFormat(b, timeFormat)
	return append(b, '"'), nil
}

// IsZero makes omitzero leave out a time that is not there.
func (t Time) IsZero() bool { return time.Time(t).IsZero() }
