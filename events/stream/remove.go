package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// The server's answers to deleting a message that is gone.
const (
	codeSequenceNotFound = 10043
	codeDeleteFailed     = 10057
	messageGone          = "no message found"
	messageDeleted       = "deleted message"
)

// Remove takes p out of where it waits. It returns false when p is not there any more: it fired, was replaced, or a
// worker settled it.
func (w *Waitlist) Remove(ctx context.Context, p *Parked) (bool, error) {
	in := Retries
	if p.Place == PlaceHeld {
		in = HeldName
	}
	req := struct {
		Sequence uint64 `json:"seq"`
		NoErase  bool   `json:"no_erase"` // the event is no secret that must be overwritten
	}{p.Sequence, true}
	var answer struct{}
	err := w.call(ctx, "STREAM.MSG.DELETE."+in, req, &answer)
	if e, ok := errors.AsType[*jetstream.APIError](err); ok && isGone(e) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove delivery %s: %w", p.Delivery.ID, err)
	}
	return true, nil
}

func isGone(e *jetstream.APIError) bool {
	switch e.ErrorCode {
	case codeSequenceNotFound, jetstream.JSErrCodeMessageNotFound:
		return true
	case codeDeleteFailed:
		return e.Description == messageGone || e.Description == messageDeleted
	default:
		return false
	}
}

// IfStill is the condition under which a timer replaces p: that p is still the one that is set. Write answers ErrMoved
// otherwise.
func IfStill(p *Parked) map[string]string {
	return map[string]string{"Nats-Expected-Last-Subject-Sequence": strconv.FormatUint(p.Sequence, 10)}
}
