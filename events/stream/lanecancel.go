package stream

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// A delivery that waits in the event stream for its lane, perhaps for days, is cancelled by a mark that lies beside the
// lane's lease until the lane has come to it.
const (
	laneCancelWanted = "wanted" // the lane cancels it when it comes to it
	laneCancelEnded  = "ended"  // it is recorded as cancelled: the lane passes over it
)

// laneCancels matches the marks of a delivery; delivery "*" = of all in the subscription's lane, "*" twice = of all.
func laneCancels(subscription, delivery string) string {
	return "$KV." + BucketLanes + "." + subscription + "." + delivery + ".*"
}

// LaneCancelMessage is the mark on a delivery that waits in the event stream for its lane. ended says that its end is
// recorded.
func LaneCancelMessage(subscription, delivery string, ended bool) *nats.Msg {
	mark := laneCancelWanted
	if ended {
		mark = laneCancelEnded
	}
	return &nats.Msg{Subject: strings.TrimSuffix(laneCancels(subscription, delivery), "*") + mark, Data: []byte(`{}`)}
}

// laneCancelled reads the marks of a lane, or of all ("*"): by delivery, whether its end is recorded.
func (r reader) laneCancelled(ctx context.Context, subscription string) (map[string]bool, error) {
	names, err := r.subjects(ctx, "KV_"+BucketLanes, laneCancels(subscription, "*"))
	if err != nil {
		return nil, err
	}
	marks := map[string]bool{}
	for _, name := range names {
		tokens := strings.Split(name, ".")
		id := tokens[len(tokens)-2]
		marks[id] = marks[id] || tokens[len(tokens)-1] == laneCancelEnded
	}
	return marks, nil
}

// Cancelled reads which deliveries of a lane are to be cancelled when the lane comes to them, and of which that is
// recorded already.
func (l *Lanes) Cancelled(ctx context.Context, subscription string) (map[string]bool, error) {
	marks, err := l.laneCancelled(ctx, subscription)
	if err != nil {
		return nil, fmt.Errorf("read cancels of lane %s: %w", subscription, err)
	}
	return marks, nil
}

// Uncancel removes the marks of a delivery that the lane has come to.
func (l *Lanes) Uncancel(ctx context.Context, subscription, delivery string) error {
	return l.purge(ctx, laneCancels(subscription, delivery))
}

func (l *Lanes) purge(ctx context.Context, subject string) error {
	req := struct {
		Filter string `json:"filter"`
	}{subject}
	if err := l.call(ctx, "STREAM.PURGE.KV_"+BucketLanes, req, &struct{}{}); err != nil {
		return fmt.Errorf("remove marks %s: %w", subject, err)
	}
	return nil
}
