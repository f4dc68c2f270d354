package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of following.
const (
	// followBatch and followBytes bound what is on its way to a follower, and so in its memory, at a time.
	followBatch = 1024
	followBytes = 4 << 20
	// followWait is how long a pull waits for new events; followBeat is how often the broker says meanwhile that it is
	// there. A follower that hears nothing for two of them begins anew.
	followWait = 30 * time.Second
	followBeat = 5 * time.Second
)

// errFollow says that the broker's answers have a gap, or have ended. Whoever follows begins anew behind what it has.
var errFollow = errors.New("the broker has lost our place")

// errBack: the connection was lost, and is back.
var errBack = errors.New("the connection was lost")

// wholeLook is between two looks whether a batch is whole: one takes some milliseconds to be stored.
const wholeLook = 5 * time.Millisecond

// Follow calls fn for every event from the sequence on, in order, those of the future included, until ctx ends (nil) or
// something goes wrong, or until fn returns false; it is told how many events are behind the one it gets. Follow acknowledges
// nothing: where it stands is known to its caller alone, who begins anew there. fn runs while what comes next waits, so what
// it does is all that limits the memory.
func (l *EventLog) Follow(ctx context.Context, from uint64, fn func(e *StoredEvent, behind uint64) bool) error {
	back := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(back)
	for {
		err := l.followFrom(ctx, from, back, func(e *StoredEvent, behind uint64) bool {
			from = e.Sequence + 1
			return fn(e, behind)
		})
		if !errors.Is(err, errBack) {
			return err
		}
	}
}

// followFrom is Follow by one consumer, which is in memory, and so lost when the broker is started anew or reads its store anew. Our connection breaks off
// then; when it is back the error is errBack.
func (l *EventLog) followFrom(ctx context.Context, from uint64, back <-chan nats.Status, fn func(e *StoredEvent, behind uint64) bool) error {
	c, err := l.js.CreateConsumer(ctx, Events, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1), AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * followWait,
	})
	if err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	name := c.CachedInfo().Name
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		_ = l.js.DeleteConsumer(ctx, Events, name) // else it ends by itself
	}()
	if err := l.followWith(ctx, name, back, fn); err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow events: %w", err)
	}
	return nil
}

func (l *EventLog) followWith(ctx context.Context, consumer string, back <-chan nats.Status, fn func(*StoredEvent, uint64) bool) error {
	messages := make(chan *nats.Msg, followBatch+16) // a pull, and its status messages
	inbox := l.nc.NewInbox()
	sub, err := l.nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	pull := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, followBatch, followBytes, followWait, followBeat)
	silence := time.NewTimer(2 * followBeat)
	defer silence.Stop()
	left, last := 0, uint64(0)
	for {
		if left == 0 {
			left = followBatch
			if err := l.nc.PublishRequest(l.api+"CONSUMER.MSG.NEXT."+Events+"."+consumer, inbox, pull); err != nil {
				return err
			}
		}
		var msg *nats.Msg
		select {
		case <-ctx.Done():
			return nil
		case <-back:
			return errBack
		case <-silence.C:
			return fmt.Errorf("%w: it says nothing", errFollow)
		case msg = <-messages:
			silence.Reset(2 * followBeat)
		}
		if msg.Reply == "" || len(msg.Data) == 0 && msg.Header.Get("Status") != "" {
			ended, err := followStatus(msg)
			if err != nil {
				return err
			}
			if ended {
				left = 0
			}
			continue
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != last+1 {
			return fmt.Errorf("%w: message %d follows %d", errFollow, meta.Sequence.Consumer, last)
		}
		last = meta.Sequence.Consumer
		e := &StoredEvent{meta.Sequence.Stream, subjectTenant(msg.Subject), meta.Timestamp, msg.Header, msg.Data}
		left--
		there, err := l.awaitWhole(ctx, e, meta.NumPending)
		if err != nil {
			return err
		}
		if there && !fn(e, meta.NumPending) {
			return nil
		}
	}
}

// awaitWhole waits while e belongs to a batch that is being stored as plain messages, and may be removed again; behind is how many
// events there were behind it. there is false when it was.
func (l *EventLog) awaitWhole(ctx context.Context, e *StoredEvent, behind uint64) (there bool, err error) {
	mark, marked := togetherOf(e.header)
	if !marked || e.Sequence+behind >= mark.last() {
		return true, nil
	}
	for look := time.NewTimer(0); ; look.Reset(wholeLook) {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-look.C:
		}
		state, err := l.state(ctx, Events)
		if err != nil {
			return false, err
		}
		newest, err := l.leader(ctx, Events, getRequest{Sequence: max(state.Last, 1)})
		if err != nil {
			return false, err
		}
		if newest != nil && state.Last < mark.last() {
			if m, _ := togetherOf(newest.Header); m == mark {
				continue
			}
		}
		m, err := l.leader(ctx, Events, getRequest{Sequence: e.Sequence}) // a part is removed before others store anything
		return m != nil, err
	}
}

// isWhole is awaitWhole of an event that may have been stored long ago: then the end of its batch is there.
func (l *EventLog) isWhole(ctx context.Context, e *StoredEvent, mark together) (there bool, err error) {
	end, err := l.direct(ctx, Events, getRequest{Sequence: mark.last()})
	if err != nil {
		return false, err
	}
	if end != nil {
		if m, _ := togetherOf(end.Header); m == mark {
			return true, nil
		}
	}
	return l.awaitWhole(ctx, e, 0)
}

// followStatus reads what the broker says beside messages: whether the pull has ended.
func followStatus(msg *nats.Msg) (ended bool, err error) {
	switch status := msg.Header.Get("Status"); status {
	case "100": // a heartbeat
		return false, nil
	case "404", "408": // nothing more came in time
		return true, nil
	case "409":
		switch msg.Header.Get("Description") {
		case "Batch Completed": // which the number of messages has told
			return false, nil
		case "Message Size Exceeds MaxBytes":
			return true, nil
		}
		fallthrough
	default:
		return false, fmt.Errorf("%w: %s %s", errFollow, status, msg.Header.Get("Description"))
	}
}
