package scheduler

import (
	"context"
	"slices"
	"sync"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// maxStretches bounds what is known behind a gap; what would be one more is read once more.
	maxStretches = 1024
	// fewBetween is how many events between two gaps are read with them: a request costs as much as reading some events.
	fewBetween = 16
)

// intake takes events in for the index, in any order and from two sides: those that this process has stored, and those that
// are read of EVENTS. It knows which it has, and which of them have a status waits in unstored.
type intake struct {
	*unstored
	mu    sync.Mutex // of ahead
	ahead []stretch  // what it has behind the first gap, in order, none next to another
	done  position   // it has all events up to here
}

// stretch is the events from one on, up to another that is not in it.
type stretch struct{ from, to uint64 }

func newIntake(from uint64) *intake {
	in := &intake{unstored: newUnstored()}
	in.done.rise(from)
	return in
}

// offer takes events in whose first is at a sequence and the others behind it. What there is no room for is left to be read,
// and what has no time of its own too: the broker alone knows when it was accepted, which is what counts then.
func (in *intake) offer(first uint64, evts []*events.Event) {
	end := first + uint64(len(evts))
	if end <= in.next() {
		return
	}
	from := first
	for i, e := range evts {
		at := first + uint64(i)
		if !hasStatus(e) {
			continue
		}
		if t := e.Time(); t.IsZero() || !in.unstored.put(e, stream.Mark{At: t.UTC(), Sequence: at}) {
			in.cover(from, at)
			from = at + 1
		}
	}
	in.cover(from, end)
}

// hasStatus reports whether an event belongs in the index.
func hasStatus(e *events.Event) bool {
	if e.Type() == events.TypeTest {
		return false
	}
	_, ok := e.Status()
	return ok
}

// put takes an event in that was read. It waits while there is no room, and returns false when ctx has ended before.
func (in *intake) put(ctx context.Context, e *stream.StoredEvent) bool {
	if in.covers(e.Sequence) {
		return true
	}
	if s := statusOf(e); s != nil {
		for room := in.roomier(); !in.unstored.put(s.Event, s.Mark); room = in.roomier() {
			select {
			case <-room:
			case <-ctx.Done():
				return false
			}
		}
	}
	in.cover(e.Sequence, e.Sequence+1)
	return true
}

// statusOf is the status that an event has; nil when it has none.
func statusOf(stored *stream.StoredEvent) *stream.Status {
	if !stored.MayHaveStatus() {
		return nil
	}
	e, err := stored.Event()
	if err != nil || !hasStatus(e) {
		return nil // a worker makes a dead letter of what is no event
	}
	at := e.Time()
	if at.IsZero() {
		at = stored.At
	}
	return &stream.Status{Mark: stream.Mark{At: at.UTC(), Sequence: stored.Sequence}, Event: e}
}

// covers reports whether it has the event at a sequence.
func (in *intake) covers(at uint64) bool {
	if at < in.next() {
		return true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	i := in.behind(at)
	return i > 0 && at < in.ahead[i-1].to
}

// behind is the first of the stretches that begin behind a sequence.
func (in *intake) behind(at uint64) int {
	i, _ := slices.BinarySearchFunc(in.ahead, at, func(s stretch, at uint64) int {
		if s.from <= at {
			return -1
		}
		return 1
	})
	return i
}

// cover takes note that it has the events of [from, to), or that there are none.
func (in *intake) cover(from, to uint64) {
	if from >= to {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	next := in.next()
	if from <= next {
		for len(in.ahead) > 0 && in.ahead[0].from <= max(to, next) {
			to = max(to, in.ahead[0].to)
			in.ahead = slices.Delete(in.ahead, 0, 1)
		}
		in.done.rise(max(to, next) - 1)
		return
	}
	in.insert(stretch{from, to})
}

// insert puts a stretch among those ahead, and joins it with all that it touches.
func (in *intake) insert(s stretch) {
	i := in.behind(s.from)
	if i > 0 && in.ahead[i-1].to >= s.from {
		i--
		s = stretch{in.ahead[i].from, max(s.to, in.ahead[i].to)}
	}
	j := i
	for j < len(in.ahead) && in.ahead[j].from <= s.to {
		s.to = max(s.to, in.ahead[j].to)
		j++
	}
	if i == j && len(in.ahead) >= maxStretches {
		return
	}
	in.ahead = slices.Replace(in.ahead, i, j, s)
}

// missing is the events up to a sequence that it has not, with few others between them.
func (in *intake) missing(through uint64) (gaps []stretch) {
	in.mu.Lock()
	defer in.mu.Unlock()
	at := in.next()
	for _, s := range append(slices.Clone(in.ahead), stretch{through + 1, through + 1}) {
		to := min(s.from, through+1)
		switch last := len(gaps) - 1; {
		case at >= to:
		case last >= 0 && at-gaps[last].to <= fewBetween:
			gaps[last].to = to
		default:
			gaps = append(gaps, stretch{at, to})
		}
		at = max(at, s.to)
	}
	return gaps
}

// next is the first sequence that it has not.
func (in *intake) next() uint64 { return in.done.now() + 1 }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// position is a sequence that rises, and that one may wait for.
type position struct {
	mu    sync.Mutex
	at    uint64
	want  uint64
	there chan struct{} // closed when it is at want; nil = nobody waits
}

func (p *position) rise(at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = max(p.at, at)
	if p.there != nil && p.at >= p.want {
		close(p.there)
		p.there = nil
	}
}

func (p *position) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// await returns what is closed when the position is at want. Only the last one who called waits.
func (p *position) await(want uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := make(chan struct{})
	if p.at >= want {
		close(there)
		return there
	}
	p.want, p.there = want, there
	return there
}
