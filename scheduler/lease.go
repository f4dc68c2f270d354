package scheduler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// lease makes one process of the fleet the scheduler. Its holder writes its key again and again; who sees the same
// revision for as long as LeaseExpiry, by its own clock, takes it by writing over just that revision. So it needs
// neither equal clocks nor a TTL.
//
// Who runs the broker itself says so in what it writes. A store has one broker at a time, which is locked to its process: who
// runs it now knows that another who said so has ended, killed or not, and need not wait.
type lease struct {
	js  jetstream.JetStream
	cfg Config
	log zerolog.Logger
	id  string // tells people who holds it

	renewed atomic.Int64 // when it was last known to be ours, in nanoseconds since began; 0 = it is not
	began   time.Time
}

// brokersLease begins the id of who runs the broker that has the lease. No host is called so.
const brokersLease = "broker:"

func newLease(js jetstream.JetStream, cfg Config, log zerolog.Logger) *lease {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	id := fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:8])
	if cfg.Broker {
		id = brokersLease + id
	}
	return &lease{js: js, cfg: cfg, log: log, id: id, began: time.Now()}
}

// run calls act whenever the lease is ours, with a context that ends when it may not be any more, with cause errLost, until
// ctx ends.
func (l *lease) run(ctx context.Context, act func(context.Context)) error {
	for ctx.Err() == nil {
		kv, revision, ok := l.acquire(ctx)
		if !ok {
			break
		}
		l.log.Info().Str("lease", l.id).Msg("scheduler acts")
		held, lose := context.WithCancelCause(ctx)
		var acting sync.WaitGroup
		acting.Go(func() { act(held) })
		revision = l.keep(held, kv, revision)
		lose(errLost) // or ctx has ended, which then is the cause
		acting.Wait()
		l.release(ctx, kv, revision)
	}
	return nil
}

// acquire returns when the lease is ours; ok is false when ctx ended before.
func (l *lease) acquire(ctx context.Context) (kv jetstream.KeyValue, revision uint64, ok bool) {
	tick := time.NewTicker(l.cfg.LeaseRenew / 2)
	defer tick.Stop()
	var seen uint64
	var since time.Time
	for {
		kv, found, holder, err := l.look(ctx)
		switch {
		case err != nil: // the broker is away, which others tell
		case found == 0:
			revision, err = l.create(ctx, kv)
		case holder == l.id, // the answer to our writing it was lost
			l.cfg.Broker && strings.HasPrefix(holder, brokersLease):
			revision, err = l.write(ctx, kv, found)
		case found != seen:
			seen, since = found, time.Now()
			err = errHeld
		case time.Since(since) < l.cfg.LeaseExpiry:
			err = errHeld
		default:
			revision, err = l.write(ctx, kv, found)
		}
		if err == nil {
			return kv, revision, true
		}
		select {
		case <-ctx.Done():
			return nil, 0, false
		case <-tick.C:
		}
	}
}

var (
	// errHeld says that another holds the lease.
	errHeld = errors.New("another holds the lease")
	// errLost is the cause of an end after which another may act already.
	errLost = errors.New("the lease is lost")
)

// look returns the lease's revision, 0 = nobody has it, and who wrote it.
func (l *lease) look(ctx context.Context) (kv jetstream.KeyValue, revision uint64, holder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.LeaseRenew)
	defer cancel()
	kv, err = l.js.KeyValue(ctx, stream.BucketFleet)
	if err != nil {
		return nil, 0, "", err
	}
	entry, err := kv.Get(ctx, stream.KeyScheduler)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return kv, 0, "", nil
	}
	if err != nil {
		return nil, 0, "", err
	}
	return kv, entry.Revision(), string(entry.Value()), nil
}

func (l *lease) create(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.LeaseRenew)
	defer cancel()
	return kv.Create(ctx, stream.KeyScheduler, []byte(l.id))
}

func (l *lease) write(ctx context.Context, kv jetstream.KeyValue, over uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.LeaseRenew)
	defer cancel()
	return kv.Update(ctx, stream.KeyScheduler, []byte(l.id), over)
}

// keep renews the lease until ctx ends or it may be another's, and returns its last revision.
func (l *lease) keep(ctx context.Context, kv jetstream.KeyValue, revision uint64) uint64 {
	tick := time.NewTicker(l.cfg.LeaseRenew)
	defer tick.Stop()
	renewed := time.Now()
	l.renewed.Store(int64(renewed.Sub(l.began)))
	defer l.renewed.Store(0)
	for {
		select {
		case <-ctx.Done():
			return revision
		case <-tick.C:
		}
		began := time.Now()
		// Not cut short by the end: an answer that is lost is a revision that release does not know.
		next, err := l.renew(context.WithoutCancel(ctx), kv, revision)
		if err == nil {
			revision, renewed = next, began
			l.renewed.Store(int64(renewed.Sub(l.began)))
			continue
		}
		// Another may act once it is expired, so we must have stopped by then: there is time for one more try, or none.
		if errors.Is(err, errHeld) || time.Since(renewed) > l.lasts() {
			if ctx.Err() == nil {
				l.log.Warn().Err(err).Str("lease", l.id).Msg("scheduler lost its lease")
			}
			return revision
		}
	}
}

// lasts is how long after a renewal nobody else can have taken the lease, nor will while a request is answered.
func (l *lease) lasts() time.Duration { return l.cfg.LeaseExpiry - 3*l.cfg.LeaseRenew/2 }

// ours reports whether the lease is certainly ours, also when this process has stood still for a while.
func (l *lease) ours() bool {
	renewed := l.renewed.Load()
	return renewed > 0 && time.Since(l.began)-time.Duration(renewed) < l.lasts()
}

// renew writes the lease again over its revision, or finds that an earlier renewal did whose answer was lost.
func (l *lease) renew(ctx context.Context, kv jetstream.KeyValue, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.LeaseRenew)
	defer cancel()
	next, err := l.write(ctx, kv, revision)
	if wasTaken(err) {
		return l.own(ctx, kv)
	}
	return next, err
}

// own returns the lease's revision while it is ours.
func (l *lease) own(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
	entry, err := kv.Get(ctx, stream.KeyScheduler)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return 0, errHeld
	case err != nil:
		return 0, err
	case string(entry.Value()) != l.id:
		return 0, errHeld
	}
	return entry.Revision(), nil
}

// wasTaken says whether the revision is another's, or our own of an answer that was lost.
func wasTaken(err error) bool {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
	}
	return errors.Is(err, jetstream.ErrKeyExists)
}

// releaseTimeout bounds the last word to the broker; without it the next one waits for the expiry.
const releaseTimeout = 2 * time.Second

// release gives the lease up, if it is still ours, so that the next one need not wait. A renewal whose answer was lost
// has moved the revision on, now or in a moment.
func (l *lease) release(ctx context.Context, kv jetstream.KeyValue, revision uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	err := kv.Delete(ctx, stream.KeyScheduler, jetstream.LastRevision(revision))
	for wasTaken(err) { // again only when a lost renewal came in between
		if revision, err = l.own(ctx, kv); err == nil {
			err = kv.Delete(ctx, stream.KeyScheduler, jetstream.LastRevision(revision))
		}
	}
	if err != nil && !errors.Is(err, errHeld) {
		l.log.Warn().Err(err).Str("lease", l.id).Msg("lease not released; it expires")
	}
}
