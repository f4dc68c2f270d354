package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pinEvery is how many messages RETRIES may get before its pin is put behind them: files are of 4 MB, and where more comes
// between two looks than that, it is hardly ever empty.
const pinEvery = 64

// Pin is a message that stays in RETRIES, so that the file which is written to is never empty. The broker (v2.15.2) makes
// an empty one anew and removes the old one, with each ack where deliveries are due one by one: that is a fifth of what such
// a delivery costs in all, and what the file system then has to write down, the next sync of an event may wait for.
//
// It is not safe for concurrent use.
type Pin struct {
	reader
	writer  *Writer
	storage *Storage
	at      uint64 // its sequence, when it is known
}

// NewPin reads through js and writes by writer, while storage is not exhausted: where the pin was is purged.
func NewPin(js jetstream.JetStream, writer *Writer, storage *Storage) *Pin {
	return &Pin{reader: newReader(js), writer: writer, storage: storage}
}

// Renew moves the pin to the end when RETRIES has got something since.
func (p *Pin) Renew(ctx context.Context) error {
	if p.storage.Exhausted() {
		return nil
	}
	s, err := p.state(ctx, Retries)
	if err != nil {
		return err
	}
	if s.Last < p.at+pinEvery {
		return nil
	}
	msg := &nats.Msg{Subject: subjectPin, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
	ack, err := p.writer.Write(ctx, msg, "") // not synced: what it is for ends with the broker
	if err != nil {
		return fmt.Errorf("pin %s: %w", Retries, err)
	}
	p.at = ack.Sequence
	return nil
}
