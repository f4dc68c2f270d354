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

	"github.com/hookfleet/hookfleet/events/stream"
)

// indexAgain is the pause before a step of the index that failed is tried again.
const indexAgain = time.Second

// indexer puts the newest event with a status of each subject and type into the stream of statuses. It takes all events in,
// those that this process stores from its Tap and the others from the broker, keeps the newest statuses in memory for some
// seconds, and stores them when Config.SaveIndex is over, when there are many, or when somebody asks for them. How far it has
// come is saved after all statuses up to there are durable. What it does twice comes out the same, so that after a kill the
// events of some seconds are read again, and nothing else is lost or done.
type indexer struct {
	*Scheduler
	intake    *intake
	recent    *recent
	storing   sync.Mutex    // held by who stores statuses
	following atomic.Bool   // all events are being read from the broker
	asked     atomic.Int64  // when somebody last waited for the index, in nanoseconds since 1970
	lacking   chan struct{} // more is missing than an asker can read by itself
	copied    *statusCopy
	copying   copying
	backlog   *backlog
	reached   uint64        // all statuses up to this event are stored, of what waited on the disk
	savedAt   time.Time     // when that was last saved
	parkAgain time.Time     // nothing is moved to the disk before
	settled   atomic.Bool   // what was taken in is stored and saved; until more is
	saved     atomic.Uint64 // how far the index is known to be durable
	loaded    atomic.Bool   // saved says something
	revision  uint64        // of what was saved; 0 = nothing yet
}

func newIndexer(s *Scheduler) *indexer {
	return &indexer{Scheduler: s, copied: newStatusCopy(s.cfg.CopyDir, false), backlog: newBacklog(s.cfg.CopyDir, false)}
}

// progress is what is stored of the index.
type progress struct {
	Sequence uint64      `json:"sequence"` // all events up to here are in it
	Newest   newestTimes `json:"newest"`   // of what is stored up to Written
	Written  uint64      `json:"written"`  // a sequence of the stream of statuses
}

// runIndex keeps the index until ctx ends. What goes wrong begins anew where it was saved.
func (s *Scheduler) runIndex(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.index.run(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn().Err(err).Msg("index of statuses interrupted; beginning anew")
			pause(ctx)
		}
	}
}

// pause waits before a step that failed is tried again.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(indexAgain):
	}
}

func (x *indexer) run(ctx context.Context) error {
	if err := x.load(ctx); err != nil {
		return err
	}
	x.doubtCopy()
	askers := make(chan *nats.Msg, maxAskers)
	sub, err := x.Index.Conn().ChanSubscribe(stream.SubjectIndexed, askers)
	if err != nil {
		return fmt.Errorf("answer who waits for the index: %w", err)
	}
	defer x.refuse(sub, askers)
	var atDesk <-chan *asker // nil = nobody comes
	if x.Desk != nil {
		var shut func()
		atDesk, shut = x.Desk.open()
		defer shut()
	}
	if x.Tap != nil {
		x.Tap.to.Store(x.intake)
		defer x.Tap.to.Store(nil)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	parts.Go(func() { x.read(ctx) })
	parts.Go(func() { x.answer(ctx, askers, atDesk) })
	parts.Go(func() { x.keepCopy(ctx) })
	parts.Go(func() {
		x.settled.Store(false)
		err := x.write(ctx)
		if err != nil && ctx.Err() != nil {
			x.Log.Warn().Err(err).Msg("index of statuses not saved at its end; what came last is read again")
		}
		stop(err)
	})
	parts.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		x.backlog.forget() // it is read again
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
	first, end, err := x.events.Bounds(ctx)
	if err != nil {
		return err
	}
	waiting, err := x.resume(ctx, p.Sequence, end)
	if err != nil {
		return err
	}
	x.reached = 0
	x.intake, x.recent, x.lacking = newIntake(max(p.Sequence, first-1, waiting)), newRecent(p.Newest, p.Written), make(chan struct{}, 1)
	// What was stored after that was saved may be newer than what is read again now, and must not be written over by it.
	if err := x.statuses.Marks(ctx, p.Written, x.recent.note); err != nil {
		return fmt.Errorf("load the newest statuses: %w", err)
	}
	x.saved.Store(p.Sequence)
	x.loaded.Store(true)
	return nil
}

// save says that all statuses up to an event are stored, once they are durable. It fails when another has said something
// since.
func (x *indexer) save(ctx context.Context, through uint64) error {
	p := progress{Sequence: through}
	p.Newest, p.Written = x.recent.times()
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
