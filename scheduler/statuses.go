package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// indexAgain is the pause before a step of the index that failed is tried again.
	indexAgain = time.Second
	// indexAnswer bounds how long those who wait for the index keep those waiting who come after them.
	indexAnswer = 3 * time.Second
	// indexLook is how often it is looked whether what is waited for is still there.
	indexLook = 100 * time.Millisecond
	// maxAskers is how many may wait for the index; more are not answered.
	maxAskers = 4096
	// lastSave bounds the last word on how far the index has come; without it some seconds are read again.
	lastSave = 2 * time.Second
)

// indexer puts the newest event with a status of each subject and type into the stream of statuses. It reads all events,
// in order, from where it left off; how far it has come is saved every Config.SaveIndex, after the statuses are durable.
// What it does twice comes out the same, so that a take-over begins a few seconds back.
type indexer struct {
	*Scheduler
	intake   *intake
	recent   *recent
	saved    atomic.Uint64 // how far the index is known to be durable
	loaded   atomic.Bool   // saved says something
	revision uint64        // of what was saved; 0 = nothing yet
}

// progress is what is stored of the index.
type progress struct {
	Sequence uint64      `json:"sequence"` // all events up to here are in it
	Newest   newestTimes `json:"newest"`
}

// runIndex keeps the index until ctx ends. What goes wrong begins anew where it was saved.
func (s *Scheduler) runIndex(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.index.run(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn().Err(err).Msg("index of statuses interrupted; beginning anew")
			pause(ctx, indexAgain)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (x *indexer) run(ctx context.Context) error {
	if err := x.load(ctx); err != nil {
		return err
	}
	askers := make(chan *nats.Msg, maxAskers)
	sub, err := x.Index.Conn().ChanSubscribe(stream.SubjectIndexed, askers)
	if err != nil {
		return fmt.Errorf("answer who waits for the index: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	parts.Go(func() { x.follow(ctx) })
	parts.Go(func() { x.write(ctx) })
	parts.Go(func() { x.answer(ctx, askers) })
	parts.Go(func() {
		if err := x.keepSaving(ctx); err != nil {
			stop(err)
		}
	})
	parts.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// load reads how far the index has come.
func (x *indexer) load(ctx context.Context) error {
	kv, err := x.JS.KeyValue(ctx, stream.BucketFleet)
	if err != nil {
		return fmt.Errorf("load the index's progress: %w", err)
	}
	var p progress
	entry, err := kv.Get(ctx, stream.KeyStatuses)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		x.revision = 0
	case err != nil:
		return fmt.Errorf("load the index's progress: %w", err)
	default:
		if err := json.Unmarshal(entry.Value(), &p); err != nil {
			return fmt.Errorf("load the index's progress: %w", err)
		}
		x.revision = entry.Revision()
	}
	first, _, err := x.events.Bounds(ctx)
	if err != nil {
		return err
	}
	x.intake, x.recent = newIntake(max(p.Sequence, first-1)), newRecent(p.Newest)
	x.saved.Store(p.Sequence)
	x.loaded.Store(true)
	return nil
}

// follow reads all events.
func (x *indexer) follow(ctx context.Context) {
	log := stream.NewEventLog(x.Index)
	for ctx.Err() == nil {
		err := log.Follow(ctx, x.intake.next(), func(e *stream.StoredEvent) { x.intake.put(ctx, e) })
		if err != nil && ctx.Err() == nil {
			x.Log.Warn().Err(err).Msg("events not read for the index of statuses; trying again")
			pause(ctx, indexAgain)
		}
	}
}

// write puts what was found into the index.
func (x *indexer) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.intake.wake:
		}
		found, read := x.intake.take()
		for {
			err := errRoom
			if !x.Storage.Exhausted() {
				err = x.put(ctx, found)
			}
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			x.Log.Warn().Err(err).Int("events", len(found)).Msg("statuses not stored; trying again")
			pause(ctx, indexAgain)
		}
		x.intake.settled(read)
	}
}

var errRoom = errors.New("there is no room")

// put stores the newest status of each subject and type among found, unless a newer one is there already.
func (x *indexer) put(ctx context.Context, found []*stream.StoredEvent) error {
	newest := map[string]*stream.Status{}
	for _, e := range found {
		s := statusOf(e)
		if s == nil {
			continue
		}
		subject := s.Subject()
		if have := newest[subject]; have == nil || s.After(have.Mark) {
			newest[subject] = s
		}
	}
	for subject, s := range newest {
		newer, err := x.isNewer(ctx, subject, s.Mark)
		if err != nil {
			return err
		}
		if !newer {
			delete(newest, subject)
		}
	}
	return x.store(newest)
}

// statusOf is the status that an event has; nil when it has none.
func statusOf(stored *stream.StoredEvent) *stream.Status {
	e, err := stored.Event()
	if err != nil || e.Type() == events.TypeTest {
		return nil // a worker makes a dead letter of what is no event
	}
	if _, ok := e.Status(); !ok {
		return nil
	}
	at := e.Time()
	if at.IsZero() {
		at = stored.At
	}
	return &stream.Status{Mark: stream.Mark{At: at.UTC(), Sequence: stored.Sequence}, Event: e}
}

func (x *indexer) isNewer(ctx context.Context, subject string, m stream.Mark) (bool, error) {
	if newer, sure := x.recent.judge(subject, m); sure {
		return newer, nil
	}
	have, ok, err := x.statuses.Mark(ctx, subject)
	if err != nil || !ok {
		return err == nil, err
	}
	x.recent.note(subject, have)
	return m.After(have), nil
}

// store stores statuses side by side. Those that the broker will never take are given up, with a word in the log: else
// they would stop the index.
func (x *indexer) store(statuses map[string]*stream.Status) error {
	var mu sync.Mutex // of failed
	var failed []error
	var all sync.WaitGroup
	for subject, s := range statuses {
		msg, err := s.Message()
		if err != nil {
			return err
		}
		all.Add(1)
		err = x.IndexWriter.Submit(msg, "", func(_ stream.Ack, err error) {
			defer all.Done()
			switch {
			case err == nil:
				x.recent.note(subject, s.Mark)
			case errors.Is(err, stream.ErrUnknown), errors.Is(err, stream.ErrBusy), errors.Is(err, stream.ErrRefusedFull):
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
			default:
				x.Log.Error().Err(err).Uint64("sequence", s.Sequence).Msg("status of an event refused by the broker; left out")
			}
		})
		if err != nil {
			all.Done()
			all.Wait()
			return err
		}
	}
	all.Wait()
	return errors.Join(failed...)
}

// answer answers those who wait until all events so far are in the index, many at a time.
func (x *indexer) answer(ctx context.Context, askers <-chan *nats.Msg) {
	for {
		var waiting []*nats.Msg
		select {
		case <-ctx.Done():
			return
		case m := <-askers:
			waiting = append(waiting, m)
		}
		for more := true; more; {
			select {
			case m := <-askers:
				waiting = append(waiting, m)
			default:
				more = false
			}
		}
		var answer []byte
		if err := x.catchUp(ctx); err != nil {
			answer = stream.StillBehind
		}
		for _, m := range waiting {
			_ = m.Respond(answer) // who is gone needs none
		}
	}
}

// catchUp returns when all events that are acknowledged by now are in the index.
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
	look := time.NewTicker(indexLook)
	defer look.Stop()
	for there := x.intake.done.await(end - 1); ; {
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

// keepSaving saves how far the index has come until ctx ends, and then once more.
func (x *indexer) keepSaving(ctx context.Context) error {
	tick := time.NewTicker(x.cfg.SaveIndex)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
			defer cancel()
			return x.save(ctx)
		}
		if err := x.save(ctx); err != nil {
			return err
		}
	}
}

// save makes the statuses durable, and then says so. It fails when another has said something since.
func (x *indexer) save(ctx context.Context) error {
	p := progress{Sequence: x.intake.done.now(), Newest: x.recent.times()}
	if p.Sequence == x.saved.Load() {
		return nil
	}
	if x.Sync != nil {
		if err := x.Sync(stream.StatusesName); err != nil {
			return fmt.Errorf("save the index's progress: %w", err)
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("save the index's progress: %w", err)
	}
	kv, err := x.JS.KeyValue(ctx, stream.BucketFleet)
	if err != nil {
		return fmt.Errorf("save the index's progress: %w", err)
	}
	if x.revision == 0 {
		x.revision, err = kv.Create(ctx, stream.KeyStatuses, text)
	} else {
		x.revision, err = kv.Update(ctx, stream.KeyStatuses, text, x.revision)
	}
	if err != nil {
		return fmt.Errorf("save the index's progress: %w", err)
	}
	x.saved.Store(p.Sequence)
	return nil
}
