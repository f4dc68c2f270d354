package scheduler

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// Left is what the process before has left of statuses in a directory: a copy of them, and those that wait to be stored. Reading that
// takes most of a second for a million, in which the broker can start. Nobody else may use the directory.
type Left struct {
	copied  *statusCopy
	backlog *backlog
	log     zerolog.Logger
	read    chan struct{} // closed when it is
}

// NewLeft reads nothing. The directory need not be there.
func NewLeft(dir string, log zerolog.Logger) *Left {
	return &Left{newStatusCopy(dir, true), newBacklog(dir, true), log, make(chan struct{})}
}

// Read reads it, once, and removes what cannot be used. It returns when that is done, or ctx has ended: then everything is as it was.
func (l *Left) Read(ctx context.Context) {
	began := time.Now()
	through, _, err := l.copied.takeUp(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		l.log.Warn().Err(err).Msg("statuses are copied anew")
	case through > 0:
		l.log.Info().Int("subjects", l.copied.says().subjects).Dur("took", time.Since(began)).Msg("the copy of the statuses is taken up")
	}
	_, _, err = l.backlog.takeUp(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		l.log.Warn().Err(err).Msg("events of statuses that waited are read again")
	}
	close(l.read)
}

// takeUp waits for what the process before has left, the first time. It returns false when ctx ended before.
func (x *indexer) takeUp(ctx context.Context) bool {
	if x.Left == nil || x.copied == x.Left.copied {
		return true
	}
	select {
	case <-x.Left.read:
	case <-ctx.Done():
		return false
	}
	x.copied, x.backlog = x.Left.copied, x.Left.backlog
	x.copying.through, x.copying.created = x.copied.noted.Through, x.copied.noted.Created
	return true
}
