package stream

import (
	"context"
	"fmt"
	"time"
)

const (
	// warmStatuses bounds how many sequences of the newest statuses are warmed: the broker's lists take 137 bytes a status, and a
	// pass 20 to 50 µs a thousand. Further back most are gone where there are a million, and lists of few are quickly made.
	warmStatuses = 8 << 20
	// statusStep is less than the statuses of a block, of up to 4 KB each. A list of fewer is made in half a millisecond.
	statusStep = 1024
	// madeList is more than an answer takes for which no list was made.
	madeList = time.Millisecond
	// warmMessage bounds the message that the broker sends with each answer of a pass.
	warmMessage = 16 << 10
)

// Warm has the broker make the list of subjects of each block of the newest statuses, where it has none. Without one the
// first look-up in a block takes 4 to 8 ms instead of the 1 to 3 of reading it. The broker forgets a list two minutes after
// it last looked into it.
//
// It asks, from places that are in all blocks, for the next status of a subject that has it in the last block: the broker
// looks into the list of the block, does not find it there, knows by itself where to find it, and lets go of the block if it
// had to read that, so that only the list stays in memory.
func (s *Statuses) Warm(ctx context.Context) error {
	state, err := s.state(ctx, StatusesName)
	if err != nil || state.Messages == 0 {
		return err
	}
	last, err := s.newest(ctx, StatusesName, ">")
	if err != nil || last == nil {
		return err
	}
	subject := last.Subject
	if len(last.Data) > warmMessage {
		subject = nobodysStatus // then the broker keeps what it reads for some seconds
	}
	from := state.First + 1 // of what comes before the second the broker knows without a look
	if last.Sequence > warmStatuses {
		from = max(from, last.Sequence-warmStatuses)
	}
	for at := from; at <= last.Sequence; at += statusStep {
		began := time.Now()
		if _, err := s.certain(ctx, StatusesName, getRequest{Sequence: at, Next: subject}); err != nil {
			return fmt.Errorf("warm the statuses: %w", err)
		}
		if took := time.Since(began); took > madeList {
			rest(ctx, took)
		}
	}
	return nil
}

// rest leaves the broker to others for a while: nobody can store a status while it makes a list.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
