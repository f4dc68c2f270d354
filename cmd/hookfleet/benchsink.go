package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// Paths of the sink: where hooks go to, and where the bench asks.
const (
	benchHookPath     = "/hook/"
	benchRunPath      = "/control/run"
	benchAnswersPath  = "/control/answers"
	benchCountsPath   = "/control/counts"
	benchArrivalsPath = "/control/arrivals"
)

// benchRun is what a sink is told before a run.
type benchRun struct {
	Run   string `json:"run"`   // tells its events from those of other runs
	Slots int    `json:"slots"` // deliveries that may come: events × fan
	Fan   int    `json:"fan"`   // deliveries of one event; hook k is delivery k of it
}

// benchAnswer is how one hook answers. The zero value answers 204 at once.
type benchAnswer struct {
	Delay      time.Duration `json:"delay"`      // before each answer, unless the sender goes away or is to be answered otherwise
	Fail       int           `json:"fail"`       // so many attempts of each delivery are failed, with 500
	RetryAfter string        `json:"retryafter"` // header of the failed ones
}

// benchCounts is what a sink has seen of a run.
type benchCounts struct {
	Arrived  int64 `json:"arrived"`  // deliveries of which an attempt has come
	Taken    int64 `json:"taken"`    // requests answered 2xx
	Requests int64 `json:"requests"` // of this run
	Unsigned int64 `json:"unsigned"` // requests of this run without a signature
	Foreign  int64 `json:"foreign"`  // requests that are none of this run
}

// benchSink is a receiver that does next to nothing, and notes when it did.
type benchSink struct {
	tally   atomic.Pointer[benchTally]
	answers atomic.Pointer[benchAnswers]
}

// benchAnswers are the answers of all hooks, until others are told.
type benchAnswers struct {
	all  []benchAnswer
	over chan struct{} // closed when they no longer hold
}

// benchTally is one run at the sink.
type benchTally struct {
	benchRun
	first, last                                 []atomic.Int64 // when an attempt of a delivery came, Unix nanoseconds
	times                                       []atomic.Uint32
	arrived, taken, requests, unsigned, foreign atomic.Int64
}

// newBenchSink is the hidden command that the bench starts as a process of its own, so that its CPU time can be told
// from the fleet's. It ends when its standard input does, which is when the bench ends, however that comes.
func newBenchSink() *cobra.Command {
	return &cobra.Command{
		Use: "bench-sink", Hidden: true, Args: cobra.NoArgs, Short: "The sink of hookfleet bench",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			s := &benchSink{}
			s.begin(benchRun{Fan: 1})
			server := &http.Server{Handler: s, ReadHeaderTimeout: hookTimeout}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n", l.Addr())
			var watching sync.WaitGroup
			defer watching.Wait()
			watching.Go(func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // any end is the end
				_ = server.Close()
			})
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
}

// begin forgets what was and counts a new run.
func (s *benchSink) begin(r benchRun) {
	n := max(r.Slots, 0)
	s.answer(nil)
	s.tally.Store(&benchTally{
		benchRun: r, first: make([]atomic.Int64, n), last: make([]atomic.Int64, n), times: make([]atomic.Uint32, n),
	})
}

// answer says how the hooks answer from now on. Who was kept waiting is answered now.
func (s *benchSink) answer(all []benchAnswer) {
	if before := s.answers.Swap(&benchAnswers{all, make(chan struct{})}); before != nil {
		close(before.over)
	}
}

// ServeHTTP takes hooks, and what the bench asks.
func (s *benchSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if hook, ok := strings.CutPrefix(r.URL.Path, benchHookPath); ok {
		s.hook(w, r, hook)
		return
	}
	if err := s.control(w, r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// benchBuffers hold the bodies while their numbers are read.
var benchBuffers = sync.Pool{New: func() any { return new(make([]byte, 64<<10)) }}

func (s *benchSink) hook(w http.ResponseWriter, r *http.Request, name string) {
	buf := benchBuffers.Get().(*[]byte)
	defer benchBuffers.Put(buf)
	n, err := io.ReadFull(r.Body, *buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	k, _ := strconv.Atoi(name)
	t := s.tally.Load()
	attempt := t.count((*buf)[:n], k, r.Header["Webhook-Signature"] != nil)
	answers, answer := s.answers.Load(), benchAnswer{}
	if k < len(answers.all) {
		answer = answers.all[k]
	}
	if answer.Delay > 0 && !answers.wait(r.Context(), answer.Delay) {
		return
	}
	if attempt <= answer.Fail {
		if answer.RetryAfter != "" {
			w.Header().Set("Retry-After", answer.RetryAfter)
		}
		http.Error(w, "told to fail", http.StatusInternalServerError)
		return
	}
	t.taken.Add(1)
	w.WriteHeader(http.StatusNoContent)
}

// count notes a request and gives the attempt's number, as the sink sees it.
func (t *benchTally) count(text []byte, k int, signed bool) (attempt int) {
	now := time.Now().UnixNano()
	n, ok := benchNumberOf(text, t.Run)
	slot := n*t.Fan + k%max(t.Fan, 1)
	if !ok || slot >= len(t.times) {
		t.foreign.Add(1)
		return 1
	}
	t.requests.Add(1)
	if !signed {
		t.unsigned.Add(1)
	}
	attempt = int(t.times[slot].Add(1))
	if attempt == 1 {
		t.first[slot].Store(now)
		t.arrived.Add(1)
	}
	t.last[slot].Store(now)
	return attempt
}

// wait waits as long as it holds, and returns false when ctx ends first.
func (a *benchAnswers) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.over:
		return true
	case <-ctx.Done():
		return false
	}
}

// waitFor waits, and returns false when ctx ends first.
func waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// control answers the bench.
func (s *benchSink) control(w http.ResponseWriter, r *http.Request) error {
	t := s.tally.Load()
	switch r.URL.Path {
	case benchRunPath:
		var run benchRun
		if err := json.NewDecoder(r.Body).Decode(&run); err != nil {
			return err
		}
		s.begin(run)
	case benchAnswersPath:
		var answers []benchAnswer
		if err := json.NewDecoder(r.Body).Decode(&answers); err != nil {
			return err
		}
		s.answer(answers)
	case benchCountsPath:
		return json.NewEncoder(w).Encode(benchCounts{
			t.arrived.Load(), t.taken.Load(), t.requests.Load(), t.unsigned.Load(), t.foreign.Load(),
		})
	case benchArrivalsPath:
		_, err := w.Write(t.encode())
		return err
	default:
		return fmt.Errorf("%s is nothing here: %w", r.URL.Path, os.ErrNotExist)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// benchArrivalBytes is the size of one arrival on the wire: first, last, times.
const benchArrivalBytes = 8 + 8 + 4

// encode writes all arrivals, for decodeArrivals.
func (t *benchTally) encode() []byte {
	b := make([]byte, 0, len(t.times)*benchArrivalBytes)
	for i := range t.times {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.first[i].Load()))
		b = binary.LittleEndian.AppendUint64(b, uint64(t.last[i].Load()))
		b = binary.LittleEndian.AppendUint32(b, t.times[i].Load())
	}
	return b
}

// benchArrival is what came of one delivery.
type benchArrival struct {
	first, last int64 // Unix nanoseconds; 0 = nothing came
	times       int
}

func decodeArrivals(b []byte) []benchArrival {
	all := make([]benchArrival, len(b)/benchArrivalBytes)
	for i := range all {
		b := b[i*benchArrivalBytes:]
		all[i] = benchArrival{
			first: int64(binary.LittleEndian.Uint64(b)), last: int64(binary.LittleEndian.Uint64(b[8:])),
			times: int(binary.LittleEndian.Uint32(b[16:])),
		}
	}
	return all
}
