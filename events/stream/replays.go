package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// ErrReplayTaken says that a replay of this id is there already. Replays.Create returns it.
var ErrReplayTaken = errors.New("the id of the replay is taken")

// Planned is a delivery that a replay is about to make.
type Planned struct {
	At       uint64 `json:"at"`               // where it was found: in EVENTS or DEAD
	Delivery string `json:"delivery"`         // its id
	Letter   string `json:"letter,omitempty"` // the id of the dead letter that it replays
}

// ReplayRun is how far a replay is. Only the scheduler that acts writes it, and each time over the revision that it knows,
// so that one which lost its lease makes nothing more.
type ReplayRun struct {
	Number uint64              `json:"number"` // tells the deliveries of replays apart; 0 = no scheduler has seen it
	Next   uint64              `json:"next"`   // sequence to go on from
	Plan   []Planned           `json:"plan,omitempty"`
	Fresh  []string            `json:"fresh,omitempty"` // deliveries that were made and have no record yet
	Open   []string            `json:"open,omitempty"`  // those with a record that have not ended
	Counts events.ReplayCounts `json:"counts"`
	// Unmarked are the events whose deliveries were made and are not marked yet, first and last of each row of neighbours.
	Unmarked [][2]uint64 `json:"unmarked,omitempty"`
	// Records is the sequence in ATTEMPTS up to which records are counted.
	Records uint64             `json:"records"`
	State   events.ReplayState `json:"state,omitempty"`  // done or cancelled, once nothing more is made
	Reason  events.Reason      `json:"reason,omitempty"` // of cancelled, when nobody asked for it
	EndedAt time.Time          `json:"endedat,omitzero"` // when all its deliveries had ended
}

// Made notes that the delivery of the event at sequence was made, which is to be marked.
func (r *ReplayRun) Made(sequence uint64) {
	if n := len(r.Unmarked); n > 0 && r.Unmarked[n-1][1]+1 == sequence {
		r.Unmarked[n-1][1] = sequence
		return
	}
	r.Unmarked = append(r.Unmarked, [2]uint64{sequence, sequence})
}

// StoredReplay is a replay and how far it is.
type StoredReplay struct {
	events.Replay
	Revision uint64 // of what was asked for

	Run         ReplayRun
	RunRevision uint64 // 0 = none is stored
}

// State is where it stands.
func (s *StoredReplay) State() events.ReplayState {
	if s.Wish == events.ReplayCancelled {
		return s.Wish
	}
	return cmp.Or(s.Run.State, s.Wish)
}

// Finished reports whether nothing of it is left to do.
func (s *StoredReplay) Finished() bool { return !s.Run.EndedAt.IsZero() }

// Replays stores replay jobs. It is safe for concurrent use and keeps nothing.
type Replays struct {
	reader
	writer *Writer
}

// NewReplays reads through js, and writes durably by writer.
func NewReplays(js jetstream.JetStream, writer *Writer) *Replays {
	return &Replays{reader: newReader(js), writer: writer}
}

const (
	replaysStream = "KV_" + BucketReplays
	replayJobs    = "$KV." + BucketReplays + ".job."
	replayRuns    = "$KV." + BucketReplays + ".run."
)

// Create stores a new replay. ErrReplayTaken when there is one of its id.
func (r *Replays) Create(ctx context.Context, job *events.Replay) (*StoredReplay, error) {
	revision, err := r.put(ctx, replayJobs+job.ID, job, 0)
	if errors.Is(err, ErrMoved) {
		return nil, ErrReplayTaken
	}
	if err != nil {
		return nil, fmt.Errorf("store replay %s: %w", job.ID, err)
	}
	return &StoredReplay{Replay: *job, Revision: revision}, nil
}

// SetWish says what is wanted of a replay, over the revision that was read. ErrMoved when there is another.
func (r *Replays) SetWish(ctx context.Context, s *StoredReplay, wish events.ReplayState) error {
	job := s.Replay
	job.Wish = wish
	revision, err := r.put(ctx, replayJobs+job.ID, &job, s.Revision)
	if err != nil {
		return fmt.Errorf("store replay %s: %w", job.ID, err)
	}
	s.Wish, s.Revision = wish, revision
	return nil
}

// SaveRun stores how far a replay is, over the revision that is known. ErrMoved when another scheduler has written.
func (r *Replays) SaveRun(ctx context.Context, s *StoredReplay) error {
	revision, err := r.put(ctx, replayRuns+s.ID, &s.Run, s.RunRevision)
	if err != nil {
		return fmt.Errorf("store how far replay %s is: %w", s.ID, err)
	}
	s.RunRevision = revision
	return nil
}

func (r *Replays) put(ctx context.Context, subject string, v any, over uint64) (uint64, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	ack, err := r.writer.Write(ctx, &nats.Msg{
		Subject: subject, Data: text, Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(over, 10)}},
	}, replaysStream)
	return ack.Sequence, err
}

// Get returns a replay; ok is false when there is none.
func (r *Replays) Get(ctx context.Context, id string) (s *StoredReplay, ok bool, err error) {
	if !isSubjectToken(id) {
		return nil, false, nil
	}
	job, err := r.leader(ctx, replaysStream, getRequest{Last: replayJobs + id})
	if job == nil || err != nil {
		return nil, false, err
	}
	s = &StoredReplay{}
	if err := s.take(job); err != nil {
		return nil, false, err
	}
	run, err := r.leader(ctx, replaysStream, getRequest{Last: replayRuns + id})
	if run == nil || err != nil {
		return s, err == nil, err
	}
	err = s.take(run)
	return s, err == nil, err
}

// take reads one of the two records of a replay.
func (s *StoredReplay) take(m *stored) error {
	isRun := strings.HasPrefix(m.Subject, replayRuns)
	var err error
	if isRun {
		s.Run, s.RunRevision = ReplayRun{}, m.Sequence
		err = json.Unmarshal(m.Data, &s.Run)
	} else {
		s.Replay, s.Revision = events.Replay{}, m.Sequence
		err = json.Unmarshal(m.Data, &s.Replay)
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", m.Subject, err)
	}
	return nil
}

// listMoves is how many writes a list may meet while it is read.
const listMoves = 1 << 16

// List returns all replays, the newest first. What cannot be read is left out.
func (r *Replays) List(ctx context.Context) ([]*StoredReplay, error) {
	state, err := r.state(ctx, replaysStream)
	if err != nil {
		return nil, err
	}
	all := map[string]*StoredReplay{}
	// What is written meanwhile moves to the end.
	err = r.read(ctx, scan{stream: replaysStream, from: state.First, to: state.Last + listMoves}, func(sequence uint64, msg *nats.Msg) bool {
		id := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
		if all[id] == nil {
			all[id] = &StoredReplay{}
		}
		_ = all[id].take(&stored{Subject: msg.Subject, Sequence: sequence, Data: msg.Data}) // see below: it has no id then
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", err)
	}
	list := make([]*StoredReplay, 0, len(all))
	for _, s := range all {
		if s.ID != "" {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *StoredReplay) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// Delete forgets a replay.
func (r *Replays) Delete(ctx context.Context, s *StoredReplay) error {
	for _, subject := range []string{replayRuns + s.ID, replayJobs + s.ID} { // the run first: alone it would be nobody's
		if _, err := r.purge(ctx, replaysStream, subject); err != nil {
			return fmt.Errorf("delete replay %s: %w", s.ID, err)
		}
	}
	return nil
}

// Watch calls changed with each replay as it is asked for, those that are stored first and then every change, until ctx
// ends or the watch is lost.
func (r *Replays) Watch(ctx context.Context, changed func(job *events.Replay)) error {
	kv, err := r.js.KeyValue(ctx, BucketReplays)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", BucketReplays, err)
	}
	w, err := kv.Watch(ctx, "job.*", jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", BucketReplays, err)
	}
	defer StopWatch(w)
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-w.Updates():
			if !ok {
				return errWatchEnded
			}
			if entry == nil {
				continue
			}
			job := &events.Replay{}
			if json.Unmarshal(entry.Value(), job) == nil {
				changed(job)
			}
		}
	}
}
