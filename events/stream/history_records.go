package stream

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

const (
	// maxResolved bounds the deliveries of a page whose newest records lie after what the page read.
	maxResolved = 256
	// resolveRead is how many messages after the page are read for them all at once, in 15 to 100 ms: most end soon.
	resolveRead = 2048
	// resolveFew: fewer are looked up one by one at less cost.
	resolveFew = 8
)

// records collects a page of deliveries from a walk over ATTEMPTS.
type records struct {
	*listing
	start    uint64                  // where the walk began
	top      bool                    // it began at the newest record, so that the newest one met is the delivery's state
	open     map[string]newestRecord // deliveries that were met, but not their first records
	begun    []*begun                // deliveries whose first records were met, and who are not on the page yet
	after    map[string]newestRecord // what the records after start say; nil = they are not read yet
	readTo   uint64                  // where after begins to say nothing
	left     int                     // records before where visit stopped, in the message where it did
	resolved int
}

// newestRecord is the newest record that was met of a delivery.
type newestRecord struct {
	sequence uint64
	state    events.State
}

// begun is a delivery whose first record was met.
type begun struct {
	*events.Record
	newest newestRecord
	loaded bool // Record is the one at newest; else it is the first
	known  bool // there is none after
}

// visit takes the records of a message, the newest first, and says whether the walk goes on.
func (r *records) visit(sequence uint64, msg *nats.Msg) bool {
	return r.visitFirst(sequence, msg, maxBundle)
}

// visitFirst is visit for the first n records of a message.
func (r *records) visitFirst(sequence uint64, msg *nats.Msg, n int) bool {
	r.left = 0
	if isBatchList(msg.Header) {
		return true
	}
	all := slices.Collect(recordsOf(msg.Data))
	for i := min(n, len(all)) - 1; i >= 0; i-- {
		if !r.visitOne(sequence, all[i]) {
			r.left = i
			return false
		}
	}
	return true
}

// visitRest visits what is left of the message at a sequence.
func (r *records) visitRest(ctx context.Context, at uint64) error {
	m, err := r.direct(ctx, Attempts, getRequest{Sequence: at})
	if err != nil {
		return err
	}
	n := r.left
	if r.left = 0; m != nil { // else it expired just now
		r.visitFirst(at, &nats.Msg{Header: m.Header, Data: m.Data}, n)
	}
	return nil
}

// visitOne takes one record, and says whether the walk goes on.
func (r *records) visitOne(sequence uint64, text []byte) bool {
	id := recordID(text)
	if _, subscription, _ := strings.Cut(id, "-"); r.Subscription != "" && subscription != r.Subscription {
		return true
	}
	if r.Tenant != "" && !bytes.Contains(text, []byte(`,"tenant":"`+r.Tenant+`"`)) {
		return true
	}
	newest, met := r.open[id]
	if !met {
		newest = newestRecord{sequence, recordState(text)}
	}
	if !bytes.Contains(text, firstMember) {
		r.open[id] = newest
		return true
	}
	delete(r.open, id)
	if newest.state.Ended() && r.State != "" && r.State != newest.state || r.seen[id] {
		return true
	}
	first, err := ParseRecord(text)
	if err != nil || !r.takesAnyState(first) {
		return true // what nobody can read is not to hide the others
	}
	r.begun = append(r.begun, &begun{first, newest, newest.sequence == sequence, r.top || newest.state.Ended()})
	return len(r.items)+len(r.begun) < pageSize(r.Limit) && len(r.begun) < maxResolved
}

// settle finds out the states of the deliveries that the walk met, and puts those on the page that are asked for.
func (r *records) settle(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.readOn, r.load, r.lookUp} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, b := range r.begun {
		if r.takes(b.Record) {
			r.add(b.Record)
		}
	}
	r.begun = r.begun[:0]
	return nil
}

// readOn looks into the records that follow the page, where most deliveries end that did not end on it.
func (r *records) readOn(ctx context.Context) error {
	unknown := 0
	for _, b := range r.begun {
		if !b.known {
			unknown++
		}
	}
	r.resolved += unknown
	if r.after == nil {
		if unknown < resolveFew {
			return nil
		}
		if err := r.readAfter(ctx); err != nil {
			return err
		}
	}
	for _, b := range r.begun {
		if newest, ok := r.after[b.ID]; ok && !b.known {
			b.newest, b.loaded, b.known = newest, false, newest.state.Ended()
		}
	}
	return nil
}

func (r *records) readAfter(ctx context.Context) error {
	state, err := r.state(ctx, Attempts)
	if err != nil {
		return err
	}
	r.after, r.readTo = map[string]newestRecord{}, min(r.start+resolveRead, state.Last+1)
	s := scan{stream: Attempts, from: r.start, to: r.readTo - 1}
	return r.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		for text := range recordsOf(msg.Data) {
			r.after[recordID(text)] = newestRecord{sequence, recordState(text)}
		}
		return true
	})
}

// load reads the newest records that were met, where they are not first ones.
func (r *records) load(ctx context.Context) error {
	for _, b := range r.begun {
		if b.loaded {
			continue
		}
		m, err := r.direct(ctx, Attempts, getRequest{Sequence: b.newest.sequence})
		if err != nil {
			return err
		}
		if m == nil {
			continue // expired just now
		}
		if b.Record, err = ParseRecord(recordOf(m.Data, b.ID)); err != nil {
			return err
		}
		b.loaded = true
	}
	return nil
}

// lookUp finds the newest records of what is not known yet: where a delivery waits, else on its subject. Several of one
// subject are looked for together.
func (r *records) lookUp(ctx context.Context) error {
	bySubject := map[string][]*begun{}
	for _, b := range r.begun {
		if !b.known {
			s := HistorySubject(b.Subscription, b.Event.Sequence)
			bySubject[s] = append(bySubject[s], b)
		}
	}
	for subject, group := range bySubject {
		if len(group) == 1 {
			b := group[0]
			d, state, err := r.standing(ctx, b.Subscription, b.ID)
			if err != nil {
				return err
			}
			if d != nil {
				b.Record = &events.Record{Delivery: *d, State: state}
				continue
			}
		}
		if err := r.followAll(ctx, subject, group); err != nil {
			return err
		}
	}
	return nil
}

// followAll reads a subject for the newest records of the deliveries in group.
func (r *records) followAll(ctx context.Context, subject string, group []*begun) error {
	byID := make(map[string]*begun, len(group))
	ids := make(map[string]bool, len(group))
	for _, b := range group {
		byID[b.ID], ids[b.ID] = b, true
	}
	later, err := r.follow(ctx, subject, ids, max(r.start, r.readTo))
	for _, rec := range later {
		byID[rec.ID].Record = rec
	}
	return err
}
