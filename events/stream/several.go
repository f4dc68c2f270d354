package stream

import (
	"context"
	"encoding/json"
	"fmt"
)

// several makes a direct get whose answer is more than one message, and returns them; none when there are none. As with
// direct, any replica answers.
func (r reader) several(ctx context.Context, stream string, request []byte) (found []*stored, err error) {
	sub, err := r.nc.SubscribeSync(r.nc.NewInbox())
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
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", stream, err)
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

// lastOf returns the last message of each subject that matches filter. It must match few: the server refuses more than
// 1,024, and looks for all of them under the stream's lock.
func (r reader) lastOf(ctx context.Context, stream, filter string) ([]*stored, error) {
	request, err := json.Marshal(struct {
		Last []string `json:"multi_last"`
	}{[]string{filter}})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return r.several(ctx, stream, request)
}
