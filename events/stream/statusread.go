package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// StoredStatus is a message of the stream of statuses, as it lies there.
type StoredStatus struct {
	Subject  string
	Sequence uint64 // in the stream of statuses
	At       time.Time
	Header   nats.Header
	Data     []byte
}

// Mark says which event it is of.
func (s *StoredStatus) Mark() (Mark, error) { return parseMark(s.Header) }

// Status is what is stored, if it is one of the name: another may have the same hash. Else, and of what cannot be read, it is nil.
func (s *StoredStatus) Status(name StatusName) *Status {
	status, err := parseStatus(&stored{Header: s.Header, Data: s.Data}, name.Tenant)
	if err != nil || !status.is(name) {
		return nil
	}
	return status
}

// StatusExtent is what is in the stream of statuses.
type StatusExtent struct {
	First, Last     uint64 // sequences
	Messages, Bytes uint64
	Keep            time.Duration // after which a message is gone; 0 = never
	Created         time.Time     // when the stream was
}

// Extent asks the stream's leader.
func (s *Statuses) Extent(ctx context.Context) (StatusExtent, error) {
	var answer struct {
		Created time.Time `json:"created"`
		Config  struct {
			MaxAge time.Duration `json:"max_age"`
		} `json:"config"`
		State struct {
			streamState
			Bytes uint64 `json:"bytes"`
		} `json:"state"`
	}
	if err := s.call(ctx, "STREAM.INFO."+StatusesName, struct{}{}, &answer); err != nil {
		return StatusExtent{}, fmt.Errorf("state of stream %s: %w", StatusesName, err)
	}
	state := answer.State
	return StatusExtent{state.First, state.Last, state.Messages, state.Bytes, answer.Config.MaxAge, answer.Created}, nil
}

// Stored calls fn for all statuses from one sequence of their stream up to another, in order, until it returns false.
func (s *Statuses) Stored(ctx context.Context, from, to uint64, fn func(*StoredStatus) bool) error {
	var wrong error
	err := s.read(ctx, scan{stream: StatusesName, from: from, to: to}, func(sequence uint64, msg *nats.Msg) bool {
		var at time.Time
		at, wrong = storedAt(msg)
		return wrong == nil && fn(&StoredStatus{msg.Subject, sequence, at, msg.Header, msg.Data})
	})
	if err == nil {
		err = wrong
	}
	return err
}
