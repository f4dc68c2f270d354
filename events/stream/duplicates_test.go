package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// writer is one that stores events in turns, until the test ends.
func (s *storage) writer(t *testing.T) func(id string) (stream.Ack, error) {
	t.Helper()
	w := stream.NewWriter(s.front, s.broker.Sync).InTurns(s.turns)
	s.runs(t, w.Run)
	return func(id string) (stream.Ack, error) {
		return w.Write(t.Context(), entriesOf(id)[0].Message(), stream.Events)
	}
}

func (s *storage) runs(t *testing.T, run func(context.Context) error) {
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// forgotten returns when the broker knows an id no more. All else but the newest it has forgotten before.
func (s *storage) forgotten(id string) {
	s.Helper()
	natstest.Eventually(s, time.Minute, func() bool {
		sequence, err := s.batches.Probe(s.Context(), entriesOf(id)[0].Message())
		return sequence == 0 && err == nil
	})
}

// TestIDsAreKnownThatTheBrokerHasForgotten, of single events and batches, with what was stored by both.
func TestIDsAreKnownThatTheBrokerHasForgotten(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	if ack, err := write("1"); ack.Sequence != 1 || ack.Duplicate || err != nil {
		t.Errorf("%+v, %v", ack, err)
	}
	if first, err := s.store("2", "3"); first != 2 || err != nil {
		t.Errorf("%d, %v", first, err)
	}
	s.forgotten("3")
	for n, id := range []string{"1", "2", "3"} {
		if ack, err := write(id); ack != (stream.Ack{Sequence: uint64(n + 1), Duplicate: true}) || err != nil {
			t.Errorf("%s again: %+v, %v", id, ack, err)
		}
	}
	for _, batch := range [][]string{{"4", "1"}, {"2", "4"}, {"4", "5", "4"}} {
		if _, err := s.store(batch...); !errors.Is(err, stream.ErrDuplicateInBatch) {
			t.Errorf("%v: %v", batch, err)
		}
	}
	if got, err := s.batches.Known(t.Context(), entriesOf("3", "4", "1")); !slices.Equal(got, []uint64{3, 0, 1}) || err != nil {
		t.Errorf("known are %v, %v", got, err)
	}
	s.holds("1@1", "2@2", "3@3")
	if s.read != 0 {
		t.Error("the store was read anew")
	}
}

// TestSameIDAtOnceIsStoredOnce: of those that come in one group, or in several.
func TestSameIDAtOnceIsStoredOnce(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	var mu sync.Mutex
	at := map[string][]stream.Ack{}
	var writing sync.WaitGroup
	for n := range 400 {
		writing.Go(func() {
			id := fmt.Sprint(n % 20)
			ack, err := write(id)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			at[id] = append(at[id], ack)
		})
	}
	writing.Wait()
	for id, acks := range at {
		firsts := 0
		for _, ack := range acks {
			if ack.Sequence != acks[0].Sequence {
				t.Errorf("%s is at %d and %d", id, ack.Sequence, acks[0].Sequence)
			}
			if !ack.Duplicate {
				firsts++
			}
		}
		if firsts != 1 {
			t.Errorf("%s was new %d times", id, firsts)
		}
	}
	if n := len(s.ids()); n != 20 {
		t.Errorf("%d events are stored", n)
	}
}

// TestIDsOfAnotherProcessAreKnown: what was stored while others could is known when they have gone, and what was stored before is known to
// them, although the broker had forgotten all.
func TestIDsOfAnotherProcessAreKnown(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	for _, id := range []string{"1", "2", "3"} {
		if _, err := write(id); err != nil {
			t.Fatal(err)
		}
	}
	s.forgotten("3")
	s.guest.Store(true)
	if err := s.turns.Share(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish := func(id string, sequence uint64, duplicate bool) {
		t.Helper()
		ack, err := s.js.PublishMsg(t.Context(), entriesOf(id)[0].Message())
		if err != nil || ack.Sequence != sequence || ack.Duplicate != duplicate {
			t.Errorf("%s: %+v, %v", id, ack, err)
		}
	}
	publish("2", 2, true)
	publish("4", 4, false)
	if ack, err := write("4"); ack != (stream.Ack{Sequence: 4, Duplicate: true}) || err != nil {
		t.Errorf("beside a guest: %+v, %v", ack, err)
	}
	if first, err := s.store("5", "6"); first != 5 || err != nil {
		t.Errorf("a batch beside a guest: %d, %v", first, err)
	}
	if got, err := s.batches.Known(t.Context(), entriesOf("3", "4", "7")); !slices.Equal(got, []uint64{3, 4, 0}) || err != nil {
		t.Errorf("known are %v, %v", got, err)
	}
	s.guest.Store(false)
	s.runs(t, s.turns.Run)
	s.forgotten("6") // once the ids are ours again the broker forgets
	for n := range 6 {
		if ack, err := write(fmt.Sprint(n + 1)); ack != (stream.Ack{Sequence: uint64(n + 1), Duplicate: true}) || err != nil {
			t.Errorf("%d when the guest has gone: %+v, %v", n+1, ack, err)
		}
	}
	s.holds("1@1", "2@2", "3@3", "4@4", "5@5", "6@6")
}

// TestIDsAreKnownAfterAKill: what was written of the index is read, and the rest from the stream; or all, where it is of no use.
func TestIDsAreKnownAfterAKill(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	if _, err := write("1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store("2", "3"); err != nil {
		t.Fatal(err)
	}
	killed := s.dir
	for name, dir := range map[string]func() string{
		"as it was": func() string { return copied(t, killed) },
		"lost":      t.TempDir,
		"ahead of the stream, of which the end was lost": func() string {
			dir := copied(t, killed)
			s.dir = dir
			s.renew()
			for n := range uint64(9) {
				s.index.Add(fmt.Sprint("lost-", n), s.index.Last()+1, time.Now())
			}
			if err := s.index.Save(); err != nil {
				t.Fatal(err)
			}
			return dir
		},
		"of another stream": func() string {
			dir := t.TempDir()
			s.dir = dir
			s.renew()
			for n := range uint64(2) {
				s.index.Add(fmt.Sprint("other-", n), n+1, time.Now())
			}
			if err := s.index.Save(); err != nil {
				t.Fatal(err)
			}
			return dir
		},
	} {
		s.dir = dir()
		s.renew()
		s.publish("after the last that was written-"+name, "")
		if err := s.turns.Know(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.forgotten("3")
		state := s.ids()
		var sequences []uint64
		for n := range state {
			sequences = append(sequences, uint64(n+1))
		}
		got, err := s.batches.Known(t.Context(), entriesOf("1", "2", "3"))
		if !slices.Equal(got, sequences[:3]) || err != nil {
			t.Errorf("%s: known are %v, %v", name, got, err)
		}
		got, err = s.batches.Known(t.Context(), entriesOf("after the last that was written-"+name, "lost-3", "other-0"))
		if want := []uint64{uint64(len(state)), 0, 0}; !slices.Equal(got, want) || err != nil {
			t.Errorf("%s: known are %v, %v; want %v", name, got, err, want)
		}
	}
}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestIDsThatNobodyToldOfAreKnown: an event whose answer was lost, or that somebody in this process has stored without a turn, is found
// before the next is stored.
func TestIDsThatNobodyToldOfAreKnown(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	s.publish("1", "")
	if ack, err := write("1"); ack != (stream.Ack{Sequence: 1, Duplicate: true}) || err != nil { // the broker knows it still
		t.Errorf("%+v, %v", ack, err)
	}
	s.publish("2", "")
	if ack, err := write("3"); ack.Sequence != 3 || err != nil { // there is a gap before it
		t.Errorf("%+v, %v", ack, err)
	}
	s.forgotten("3")
	for n := range 3 {
		if ack, err := write(fmt.Sprint(n + 1)); ack != (stream.Ack{Sequence: uint64(n + 1), Duplicate: true}) || err != nil {
			t.Errorf("%d: %+v, %v", n+1, ack, err)
		}
	}
}

// TestWindowAtStart: the broker is not asked to know what it has forgotten, and goes on with what it knows.
func TestWindowAtStart(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	const whole = 10 * time.Minute
	asks := func(want time.Duration, own bool) {
		t.Helper()
		if got, its, err := stream.DedupeWindow(t.Context(), s.js, whole); got != want || its != own || err != nil {
			t.Errorf("%s, %v, %v; want %s, %v", got, its, err, want, own)
		}
	}
	set := func(window time.Duration) {
		t.Helper()
		str, err := s.js.Stream(t.Context(), stream.Events)
		if err != nil {
			t.Fatal(err)
		}
		cfg := str.CachedInfo().Config
		cfg.Duplicates = window
		if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	set(whole)
	asks(stream.BrokerWindow, true) // nothing is stored
	s.publish("1", "")
	asks(whole, false) // as an older release leaves it, or a kill while others are here
	set(stream.BrokerWindow)
	asks(stream.BrokerWindow, true)
	if got, own, err := stream.DedupeWindow(t.Context(), s.js, time.Second); got != time.Second || own || err != nil {
		t.Errorf("of a second: %s, %v, %v", got, own, err)
	}
	if err := s.js.DeleteStream(t.Context(), stream.Events); err != nil {
		t.Fatal(err)
	}
	asks(stream.BrokerWindow, true)
}

// TestIDsAreKnownAfterAKillBetweenTwoWindows: the broker was told of 2 s when the process was killed, and the next one took it to know all.
func TestIDsAreKnownAfterAKillBetweenTwoWindows(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	s.publish("1", "")
	str, err := s.js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	cfg := str.CachedInfo().Config
	cfg.Duplicates = 2 * stream.BrokerWindow
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if got, own, err := stream.DedupeWindow(t.Context(), s.js, 10*time.Minute); got != stream.BrokerWindow || !own || err != nil {
		t.Errorf("%s, %v, %v", got, own, err)
	}
}

// loseEvents leaves the stream as it was before anything was stored.
func (s *storage) loseEvents() {
	s.Helper()
	str, err := s.js.Stream(s.Context(), stream.Events)
	if err == nil {
		err = s.js.DeleteStream(s.Context(), stream.Events)
	}
	if err == nil {
		_, err = s.js.CreateStream(s.Context(), str.CachedInfo().Config)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// TestLostEventsAreStoredAgain: after the broker was started anew and had lost events, these were answered as known, and lost for good.
func TestLostEventsAreStoredAgain(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	for _, id := range []string{"1", "2"} {
		if _, err := write(id); err != nil {
			t.Fatal(err)
		}
	}
	s.loseEvents()
	if err := s.broker.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ack, err := write("2"); ack != (stream.Ack{Sequence: 1}) || err != nil {
		t.Errorf("2: %+v, %v", ack, err)
	}
	if first, err := s.store("1", "3"); first != 2 || err != nil {
		t.Errorf("1 and 3: %d, %v", first, err)
	}
	s.holds("2@1", "1@2", "3@3")
}

// TestIDsAreOfWhatIsStoredWhenTheStoreHasLostItsEnd: what it had lost stayed known, and what was stored in its place was not.
func TestIDsAreOfWhatIsStoredWhenTheStoreHasLostItsEnd(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	for _, id := range []string{"1", "2", "3"} {
		if _, err := write(id); err != nil {
			t.Fatal(err)
		}
	}
	s.loseEvents()
	if ack, err := write("4"); ack.Sequence != 1 || err != nil {
		t.Fatalf("%+v, %v", ack, err)
	}
	s.forgotten("4")
	if ack, err := write("4"); ack != (stream.Ack{Sequence: 1, Duplicate: true}) || err != nil {
		t.Errorf("4 again: %+v, %v", ack, err)
	}
	if ack, err := write("1"); ack != (stream.Ack{Sequence: 2}) || err != nil {
		t.Errorf("1, which was lost: %+v, %v", ack, err)
	}
}

// TestFollowerGoesOnWhenTheStoreIsReadAnew: it waited ten seconds for a consumer that was gone, and then failed; statuses were not up to date so long.
func TestFollowerGoesOnWhenTheStoreIsReadAnew(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	write := s.writer(t)
	told := make(chan uint64, 16)
	s.runs(t, func(ctx context.Context) error {
		err := stream.NewEventLog(s.js).Follow(ctx, 1, func(e *stream.StoredEvent, _ uint64) bool {
			told <- e.Sequence
			return true
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it may say that it was ended
		}
		return err
	})
	for n := range uint64(4) {
		if _, err := write(fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
		if got := <-told; got != n+1 {
			t.Errorf("told of %d, want %d", got, n+1)
		}
		if err := s.broker.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
