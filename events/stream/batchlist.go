package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// BatchList names the deliveries that are sent in one batch, in the order of its body. It is written into the history
// before the batch is sent for the first time: whatever happens after that, the batch is put together again as it was.
type BatchList struct {
	ID           string // the batch's webhook-id
	Subscription string
	Members      []string // ids of deliveries

	Sequence uint64    // in ATTEMPTS; 0 = not written yet
	Stored   time.Time // zero = not written yet
}

// batchText is a list as it is stored. Members of one subscription differ in the first part of their ids only: 1,000 of
// them are 7 KB.
type batchText struct {
	ID           string   `json:"id"`
	Subscription string   `json:"subscription"`
	Places       []string `json:"places"`
}

// Message is the message that stores the list.
func (l *BatchList) Message() (*nats.Msg, error) {
	text := batchText{ID: l.ID, Subscription: l.Subscription, Places: make([]string, len(l.Members))}
	for i, id := range l.Members {
		text.Places[i] = events.BatchPlace(id)
	}
	data, err := json.Marshal(text)
	if err != nil {
		return nil, fmt.Errorf("encode the list of batch %s: %w", l.ID, err)
	}
	return &nats.Msg{
		Subject: SubjectBatches + strconv.Itoa(int(subscriptionBucket(l.Subscription))),
		Header:  nats.Header{HeaderBatch: []string{l.ID}}, Data: data,
	}, nil
}

// isBatchList tells the lists among the records of the history.
func isBatchList(h nats.Header) bool { return headerValue(h, HeaderBatch) != "" }

func parseBatchList(data []byte, sequence uint64, stored time.Time) (*BatchList, error) {
	var text batchText
	if err := json.Unmarshal(data, &text); err != nil {
		return nil, fmt.Errorf("decode the list of a batch: %w", err)
	}
	l := &BatchList{ID: text.ID, Subscription: text.Subscription, Members: text.Places, Sequence: sequence, Stored: stored}
	for i, place := range l.Members {
		l.Members[i] = place + "-" + l.Subscription
	}
	return l, nil
}

// BatchList returns the list at a sequence of the history, or nil when it is not there any more.
func (h *History) BatchList(ctx context.Context, sequence uint64) (*BatchList, error) {
	m, err := h.leader(ctx, Attempts, getRequest{Sequence: sequence})
	if m == nil || err != nil || !isBatchList(m.Header) {
		return nil, err
	}
	return parseBatchList(m.Data, m.Sequence, m.Time)
}
