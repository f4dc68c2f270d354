package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// several makes a direct get whose answer is more than one message, but at most limit, and returns them; none when there
// are none. As with direct, any replica answers.
//
// The channel is ours because the client's own would be of half a megabyte, for each read anew.
func (r reader) several(ctx context.Context, stream string, request []byte, limit int) (found []*stored, err error) {
	answers := make(chan *nats.Msg, limit+1) // and the end
	sub, err := r.nc.ChanSubscribe(r.nc.NewInbox(), answers)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	if err := r.nc.PublishRequest(r.api+"DIRECT.GET."+stream, sub.Subject, request); err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for {
		var msg *nats.Msg
		select {
		case msg = <-answers:
		case <-ctx.Done():
			return nil, fmt.Errorf("read stream %s: %w", stream, ctx.Err())
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
			m, err := parseDirect(msg)
			if err != nil {
				return nil, err
			}
			found = append(found, m)
		case "204", "404":
			return found, nil
		default:
			return nil, fmt.Errorf("read stream %s: %s %s", stream, status, msg.Header.Get("Description"))
		}
	}
}
