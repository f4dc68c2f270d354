package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// What is written over stays in the broker's files, byte for byte: it compacts none that is half full, and never the newest,
// which is all that most buckets have. So a secret that was stored in the clear, or with a key that was lost to somebody,
// would still be there after its record was stored anew.
//
// scrub fills the newest file up until the broker begins another, and then stores all records anew: files that have none
// left are removed. It fills with markers of keys that never were, which every watch of any release takes for deleted.
const (
	scrubKeys  = "_scrub.*" // no subscription has such an id
	scrubFirst = "_scrub.first"
	scrubFill  = "_scrub.fill"
	scrubBytes = 900 << 10
	scrubFills = 11 // one more than what is above 8 MiB, the largest file of the broker

	operation = "KV-Operation" // the header by which a message of a bucket is a marker
)

// askToScrub has Run scrub, once more if it is about to end.
func (r *Registry) askToScrub() {
	select {
	case r.scrubs <- struct{}{}:
	default:
	}
}

// scrubWhenAsked scrubs until ctx ends. It is no part of the call that asks, because a hundred thousand records take longer
// than a call may.
func (r *Registry) scrubWhenAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.scrubs:
		}
		switch err := r.scrub(ctx); {
		case err == nil && r.nc.ConnectedClusterName() != "": // their logs hold what was written, and are not ours to compact
			r.log.Warn().Msg("the buckets' files have nothing of the secrets that were stored before; the logs of the cluster's servers may, until these compact them")
		case err == nil:
			r.log.Info().Msg("the store's files have nothing of the secrets that were stored before")
		case ctx.Err() == nil:
			r.log.Warn().Err(err).Msg("secrets of before may be left in the store's files: run hookfleet key rotate-secrets again")
		}
	}
}

// scrub leaves nothing in the store of what the records of subscriptions and sources were before.
func (r *Registry) scrub(ctx context.Context) error {
	buckets := []*bucket{r.subscriptions, r.sourceBucket}
	filled := make(map[*bucket]uint64, len(buckets))
	for _, b := range buckets {
		var err error
		if filled[b], err = r.fill(ctx, b); err != nil {
			return fmt.Errorf("scrub bucket %s: %w", b.name, err)
		}
	}
	if err := r.storeAgain(ctx); err != nil {
		return err
	}
	if err := r.isScrubbed(ctx, filled[r.subscriptions], filled[r.sourceBucket]); err != nil {
		return err
	}
	for _, b := range buckets {
		if err := r.empty(ctx, b); err != nil {
			return fmt.Errorf("scrub bucket %s: %w", b.name, err)
		}
	}
	return nil
}

// fill makes the broker begin another file, and returns the sequence of the last marker. The first one keeps the file before
// until all that was in it is durable in another.
func (r *Registry) fill(ctx context.Context, b *bucket) (last uint64, err error) {
	body := make([]byte, scrubBytes)
	for i := range scrubFills {
		msg := &nats.Msg{Subject: b.subject(scrubFill), Header: nats.Header{operation: {"DEL"}}, Data: body}
		if i == 0 {
			msg.Subject, msg.Data = b.subject(scrubFirst), nil
		}
		if err := r.admit(len(msg.Data)); err != nil {
			return 0, err
		}
		asked, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		ack, err := r.js.PublishMsg(asked, msg)
		cancel()
		if err != nil {
			return 0, err
		}
		last = ack.Sequence
	}
	return last, r.sync(b)
}

// admit asks whether there is room for n bytes more: on a disk that is full the broker stops.
func (r *Registry) admit(n int) error {
	if r.cfg.Admit == nil {
		return nil
	}
	return r.cfg.Admit(n)
}

// empty removes what fill wrote.
func (r *Registry) empty(ctx context.Context, b *bucket) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	s, err := r.js.Stream(ctx, b.stream())
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(b.subject(scrubKeys)))
}

// storeAgain stores every record as it is. Who changes one meanwhile stores it too.
func (r *Registry) storeAgain(ctx context.Context) error {
	if err := errors.Join(r.Fresh(ctx), r.FreshSources(ctx)); err != nil { // what others stored before the markers
		return err
	}
	r.mu.RLock()
	ids := slices.Collect(maps.Keys(r.items))
	r.mu.RUnlock()
	g, writing := errgroup.WithContext(ctx)
	g.SetLimit(resealers)
	for _, id := range ids {
		g.Go(func() error {
			if err := r.admit(0); err != nil {
				return err
			}
			_, err := r.reseal(writing, id)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, e := range r.Sources() {
		if _, err := r.resealSource(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// isScrubbed sees to it that every record was stored behind the last marker of its bucket. One that cannot be read or opened
// was not: it is of a later release, or of a process with another key.
func (r *Registry) isScrubbed(ctx context.Context, subscriptions, sources uint64) error {
	if err := errors.Join(r.Fresh(ctx), r.FreshSources(ctx)); err != nil {
		return err
	}
	var left []string
	r.mu.RLock()
	for id, it := range r.items {
		if it.revision < subscriptions && (it.live() || it.history != nil) {
			left = append(left, id)
		}
	}
	for id := range r.broken {
		left = append(left, id)
	}
	r.mu.RUnlock()
	for _, e := range r.Sources() {
		if e.stored < sources {
			left = append(left, e.Source.ID)
		}
	}
	if len(left) == 0 {
		return nil
	}
	slices.Sort(left)
	left = slices.Compact(left)
	return fmt.Errorf("%d records cannot be stored anew (%s)", len(left), strings.Join(left[:min(len(left), maxNamed)], ", "))
}
