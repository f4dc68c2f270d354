package scheduler

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// indexAnswer bounds how long those who wait for the index keep those waiting who come after them.
	indexAnswer = 3 * time.Second
	// indexLook is how often it is looked whether what is waited for is still there.
	indexLook = 100 * time.Millisecond
	// maxAskers is how many may wait for the index; more are not answered.
	maxAskers = 4096
	// lastWord bounds telling the broker that no more questions are taken.
	lastWord = time.Second
	// fewMissing events are read at once for who waits, which takes less than waiting for the tap.
	fewMissing = 64
	// askerGrace is how long the tap has to bring more than that: what this process is storing at this moment, at full rate.
	askerGrace = 25 * time.Millisecond
)

// asker is one who waits until the index has all events so far.
type asker struct {
	stream.StatusQuestion
	msg   *nats.Msg    // nil = it is in this process
	reply chan<- reply // with room for one
}

// reply is the answer to an asker in this process.
type reply struct {
	behind bool                 // it waited in vain
	status *stream.StoredStatus // nil = the broker has to be asked
}

// newAsker is who has sent a message.
func newAsker(m *nats.Msg) *asker {
	a := &asker{msg: m}
	if json.Unmarshal(m.Data, &a.StatusQuestion) != nil {
		a.StatusQuestion = stream.StatusQuestion{} // all
	}
	return a
}

// answer answers; who is gone needs none.
func (a *asker) answer(r reply) {
	switch {
	case a.msg == nil:
		a.reply <- r
	case r.behind:
		_ = a.msg.Respond(stream.StillBehind)
	case r.status == nil || a.msg.RespondMsg(&nats.Msg{Header: r.status.Header, Data: r.status.Data}) != nil:
		_ = a.msg.Respond(nil)
	}
}

// answer answers those who wait until all events so far are in the index, many at a time.
func (x *indexer) answer(ctx context.Context, askers <-chan *nats.Msg, desk <-chan *asker) {
	for {
		var waiting []*asker
		select {
		case <-ctx.Done():
			return
		case m := <-askers:
			waiting = append(waiting, newAsker(m))
		case a := <-desk:
			waiting = append(waiting, a)
		}
		for more := true; more; {
			select {
			case m := <-askers:
				waiting = append(waiting, newAsker(m))
			case a := <-desk:
				waiting = append(waiting, a)
			default:
				more = false
			}
		}
		x.asked.Store(time.Now().UnixNano())
		behind := x.catchUp(ctx) != nil || x.storeAsked(ctx, waiting) != nil
		for _, a := range waiting {
			r := reply{behind: behind}
			if !behind && a.Take {
				r.status = x.give(a.StatusName)
			}
			a.answer(r)
		}
	}
}

// give returns a status that is at hand. While another may keep the index already, only the broker knows.
func (x *indexer) give(name stream.StatusName) *stream.StoredStatus {
	if l := x.lease.Load(); l != nil && !l.ours() {
		return nil
	}
	return x.copied.newest(name)
}

// refuse takes no more questions, and answers those that came before that was known, so that who asked tries again, at the next
// one who keeps the index.
func (x *indexer) refuse(sub *nats.Subscription, askers <-chan *nats.Msg) {
	_ = sub.Drain() // the connection may be closed already, or the broker away: then they are not answered
	_ = x.Index.Conn().FlushTimeout(lastWord)
	for {
		select {
		case m := <-askers:
			_ = m.Respond(stream.StillBehind)
		default:
			return
		}
	}
}

// storeAsked stores what is asked for. Who does not say what, of an earlier release, wants everything.
func (x *indexer) storeAsked(ctx context.Context, waiting []*asker) error {
	ctx, cancel := context.WithTimeout(ctx, indexAnswer)
	defer cancel()
	names := make([]stream.StatusName, len(waiting))
	for i, a := range waiting {
		if a.Subject == "" {
			return x.storeAll(ctx)
		}
		names[i] = a.StatusName
	}
	return x.storeOf(ctx, names)
}

func (x *indexer) storeAll(ctx context.Context) error {
	for x.backlog.waits() > 0 && ctx.Err() == nil {
		if _, err := x.drainNext(ctx, storeAtOnce); err != nil {
			return err
		}
	}
	last := x.intake.last()
	for ctx.Err() == nil {
		if more, err := x.storeNext(ctx, last); err != nil || !more {
			return err
		}
	}
	return context.Cause(ctx)
}

// catchUp returns when all events that are acknowledged by now were taken in.
func (x *indexer) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, indexAnswer)
	defer cancel()
	if ahead, err := x.events.Ahead(ctx, x.intake.done.now()); err != nil || ahead == 0 {
		return err
	}
	_, end, err := x.events.Bounds(ctx)
	if err != nil {
		return err
	}
	there := x.intake.done.await(end - 1)
	if !x.following.Load() {
		if err := x.hasten(ctx, there, end-1); err != nil {
			return err
		}
	}
	look := time.NewTicker(indexLook)
	defer look.Stop()
	for {
		select {
		case <-there:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C: // the last ones may have been removed, so that they never come
			if ahead, err := x.events.Ahead(ctx, x.intake.done.now()); err != nil || ahead == 0 || ahead >= end {
				return err
			}
		}
	}
}

// hasten reads what is missing up to a sequence, unless the tap brings it first.
func (x *indexer) hasten(ctx context.Context, there <-chan struct{}, through uint64) error {
	missing := uint64(0)
	for _, gap := range x.intake.missing(through) {
		missing += gap.to - gap.from
	}
	if missing > fewMissing {
		select {
		case <-there:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(askerGrace):
		}
	}
	few, err := x.fill(ctx, through)
	if !few {
		signal(x.lacking)
	}
	return err
}
