package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// SubjectAnchor holds one message of RETRIES that nobody takes. When the last message of a work queue is acknowledged, the
// broker begins another file for the next one, and once a second it goes over the files that are left: with few deliveries
// there at a time that is a file, its sync and its removal for each of them, which everything else on the disk waits for.
// Beside a message that stays, they share files of 4 MiB.
const SubjectAnchor = "hookfleet.anchor"

// anchor lays the message down where it is missing.
func (t *Topology) anchor(ctx context.Context) error {
	msg := &nats.Msg{Subject: SubjectAnchor, Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {"0"}}}
	_, err := t.js.PublishMsg(ctx, msg)
	if e, ok := errors.AsType[*jetstream.APIError](err); ok && e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil // it is there
	}
	if err != nil {
		return fmt.Errorf("lay the anchor of %s: %w", Retries, err)
	}
	return nil
}
