package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Paces keeps how far the rates of sinks are used up, one record a subscription, written only over the revision that was
// read. A record is not synced: what a power cut takes is as much of a rate as the last second used.
type Paces struct {
	nc     *nats.Conn
	writer *Writer
}

// NewPaces keeps records by writer, which should not sync.
func NewPaces(nc *nats.Conn, writer *Writer) *Paces { return &Paces{nc: nc, writer: writer} }

// minTTL is the shortest life of a record: the broker counts in whole seconds.
const minTTL = 2 * time.Second

// Write stores a record over the one of this revision (0 = there is none), to be forgotten after ttl, and returns its
// own. ErrMoved when it was written over, or forgotten, meanwhile.
func (p *Paces) Write(ctx context.Context, subscription string, record []byte, revision uint64, ttl time.Duration) (uint64, error) {
	ttl = (max(ttl, minTTL) + time.Second - 1).Truncate(time.Second)
	ack, err := p.writer.Write(ctx, &nats.Msg{
		Subject: paceSubject(subscription),
		Header: nats.Header{
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)}, jetstream.MsgTTLHeader: {ttl.String()},
		},
		Data: record,
	}, "")
	if err != nil {
		return 0, fmt.Errorf("store pace of %s: %w", subscription, err)
	}
	return ack.Sequence, nil
}

// Read returns the record of a subscription as the broker's leader has it, nil when it is forgotten, and its revision.
func (p *Paces) Read(ctx context.Context, subscription string) (record []byte, revision uint64, err error) {
	ask, err := json.Marshal(map[string]string{"last_by_subj": paceSubject(subscription)})
	if err != nil {
		return nil, 0, err
	}
	msg, err := p.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+BucketPaces, ask)
	if err != nil {
		return nil, 0, fmt.Errorf("read pace of %s: %w", subscription, err)
	}
	var answer struct {
		Message struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"` // none: the marker of what is forgotten
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return nil, 0, fmt.Errorf("read pace of %s: %w", subscription, err)
	}
	if answer.Error != nil && answer.Error.ErrorCode != jetstream.JSErrCodeMessageNotFound {
		return nil, 0, fmt.Errorf("read pace of %s: %w", subscription, answer.Error)
	}
	return answer.Message.Data, answer.Message.Sequence, nil
}

func paceSubject(subscription string) string { return "$KV." + BucketPaces + "." + subscription }
