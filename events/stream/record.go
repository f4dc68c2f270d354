package stream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// RecordMessage is the message that stores a history record; a Writer may put several into one. It is written once per attempt, so the common members are
// appended by hand: an eighth of what encoding/json costs here. It has no headers: they would cost the broker as much as
// the rest of the message, and what readers ask for is found in the text without decoding it.
func RecordMessage(r *events.Record) *nats.Msg {
	return &nats.Msg{Subject: HistorySubject(r.Subscription, r.Event.Sequence), Data: AppendRecord(make([]byte, 0, 768), r)}
}

// ParseRecords reads the records of a message.
func ParseRecords(payload []byte) ([]*events.Record, error) {
	var all []*events.Record
	for text := range recordsOf(payload) {
		r, err := ParseRecord(text)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// ParseRecord reads a history record.
func ParseRecord(payload []byte) (*events.Record, error) {
	r := &events.Record{}
	if err := json.Unmarshal(payload, r); err != nil {
		return nil, fmt.Errorf("decode history record: %w", err)
	}
	return r, nil
}

// AppendRecord appends the JSON form of r, the same that encoding/json would give.
func AppendRecord(b []byte, r *events.Record) []byte {
	b = append(b, '{')
	b = appendDelivery(b, &r.Delivery)
	b = appendMember(b, "state", string(r.State))
	b = appendTime(b, "endedat", r.EndedAt)
	if r.First {
		b = append(b, `,"first":true`...)
	}
	if r.Attempt != nil {
		b = append(b, `,"attempt":`...)
		b = appendAttempt(b, r.Attempt)
	}
	return append(b, '}')
}

func appendDelivery(b []byte, d *events.Delivery) []byte {
	b = append(b, `"id":`...)
	b = appendString(b, d.ID)
	b = appendMember(b, "subscription", d.Subscription)
	b = appendMember(b, "tenant", d.Tenant)
	b = append(b, `,"event":{"sequence":`...)
	b = appendUint(b, d.Event.Sequence)
	b = appendMember(b, "id", d.Event.ID)
	b = appendMember(b, "source", d.Event.Source)
	b = appendMember(b, "type", d.Event.Type)
	if d.Event.Subject != "" {
		b = appendMember(b, "subject", d.Event.Subject)
	}
	b = append(b, `},"createdat":`...)
	b = appendTimeValue(b, d.CreatedAt)
	b = append(b, `,"attempts":`...)
	b = appendUint(b, uint64(d.Attempts))
	if d.Uncounted != 0 {
		b = append(b, `,"uncounted":`...)
		b = appendUint(b, uint64(d.Uncounted))
	}
	if d.Reason != "" {
		b = appendMember(b, "reason", string(d.Reason))
	}
	b = appendTime(b, "nextat", d.NextAt)
	if d.ReplayOf != "" {
		b = appendMember(b, "replayof", d.ReplayOf)
	}
	if d.Replay != "" {
		b = appendMember(b, "replay", d.Replay)
	}
	if d.Record != 0 {
		b = append(b, `,"record":`...)
		b = appendUint(b, d.Record)
	}
	if d.Batch != nil {
		b = append(b, `,"batch":{"id":`...)
		b = appendString(b, d.Batch.ID)
		b = append(b, `,"list":`...)
		b = appendUint(b, d.Batch.List)
		b = append(b, '}')
	}
	return b
}

func appendAttempt(b []byte, a *events.Attempt) []byte {
	b = append(b, `{"number":`...)
	b = appendUint(b, uint64(a.Number))
	b = append(b, `,"at":`...)
	b = appendTimeValue(b, a.At)
	b = append(b, `,"durationms":`...)
	b = appendFloat(b, a.DurationMS)
	b = appendMember(b, "outcome", string(a.Outcome))
	if a.Reason != "" {
		b = appendMember(b, "reason", string(a.Reason))
	}
	if a.Status != 0 {
		b = append(b, `,"status":`...)
		b = appendUint(b, uint64(a.Status))
	}
	b = appendMember(b, "url", a.URL)
	if a.Response != nil {
		b = append(b, `,"response":{`...)
		b = appendResponse(b, a.Response)
		b = append(b, '}')
	}
	b = appendTime(b, "nextat", a.NextAt)
	if a.WebhookID != "" {
		b = appendMember(b, "webhookid", a.WebhookID)
	}
	return append(b, '}')
}

func appendResponse(b []byte, r *events.Response) []byte {
	if len(r.Headers) > 0 {
		b = append(b, `"headers":{`...)
		first := true
		for k, v := range r.Headers {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = appendString(b, k)
			b = append(b, ':')
			b = appendString(b, v)
		}
		b = append(b, '}')
		if r.Body != "" {
			b = append(b, ',')
		}
	}
	if r.Body != "" {
		b = append(b, `"body":`...)
		b = appendString(b, r.Body)
	}
	return b
}

func appendMember(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendTimeValue(b, t)
}

func appendTimeValue(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendString appends s as a JSON string. Only plain ASCII takes the short way; all else is encoding/json's.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

func appendFloat(b []byte, f float64) []byte { return strconv.AppendFloat(b, f, 'f', -1, 64) }
