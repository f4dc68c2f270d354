package faults

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// start is when the planted ledgers begin.
var start = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// planted is a ledger of n events, each taken once by both sinks 10 ms after its acceptance, and one attempt that failed before.
func planted(t *testing.T, n int) *Ledger {
	t.Helper()
	l, err := NewLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		at := start.Add(time.Duration(i) * time.Millisecond)
		id := fmt.Sprintf("e%d", i)
		l.Accept(Accepted{ID: id, Sum: "sum" + id, Sinks: []string{"a", "b"}, Sequence: uint64(i + 1), At: at})
		for _, sink := range []string{"a", "b"} {
			r := Received{ID: id, Sink: sink, Webhook: "msg_" + id + sink, Sum: "sum" + id, Status: 204, At: at.Add(10 * time.Millisecond)}
			if i%10 == 0 {
				failed := r
				failed.Status, failed.At = 500, at.Add(time.Millisecond)
				l.Receive(failed)
			}
			l.Receive(r)
		}
	}
	return l
}

// faultsOf is which kinds of fault a verdict names.
func faultsOf(v *Verdict) string {
	kinds := ""
	for _, k := range []struct {
		kind  string
		names []string
	}{
		{"missing ", v.Missing}, {"unexplained ", v.Unexplained}, {"many ", v.TooMany}, {"altered ", v.Altered}, {"renamed ", v.Renamed}, {"strange ", v.Strange},
	} {
		if len(k.names) > 0 {
			kinds += k.kind
		}
	}
	return kinds
}

// TestChecker: what is in order is in order, and one planted fault among thousands of requests is found.
func TestChecker(t *testing.T) {
	t.Parallel()
	const n, at = 2_000, 1_000
	again := func(after time.Duration) func(l *Ledger) {
		return func(l *Ledger) {
			i := len(l.received) / 2
			r := l.received[i]
			r.At = r.At.Add(after)
			l.Receive(r)
		}
	}
	atHalf := start.Add(at * time.Millisecond)
	for name, tc := range map[string]struct {
		plant func(l *Ledger)
		kills []Kill
		want  string
	}{
		"in order":       {func(*Ledger) {}, nil, ""},
		"loss":           {func(l *Ledger) { l.received = append(l.received[:at], l.received[at+1:]...) }, nil, "missing "},
		"only failures":  {func(l *Ledger) { l.received[at+1].Status = 500 }, nil, "missing "},
		"duplicate":      {again(time.Second), nil, "unexplained "},
		"at a kill":      {again(2 * time.Second), []Kill{{At: atHalf.Add(time.Second), InFlight: 1}}, ""},
		"settled before": {again(20 * time.Second), []Kill{{At: atHalf.Add(10 * time.Second), InFlight: 1}}, "unexplained "},
		"before a kill":  {again(time.Second), []Kill{{At: atHalf.Add(2 * time.Second), InFlight: 1}}, "unexplained "},
		"in a bad time":  {again(20 * time.Second), []Kill{{At: atHalf.Add(-time.Second), Until: atHalf.Add(10 * time.Second), InFlight: 1}}, ""},
		"beyond flight":  {func(l *Ledger) { again(2 * time.Second)(l); again(2 * time.Second)(l) }, []Kill{{At: atHalf.Add(time.Second), InFlight: 1}}, "many "},
		"altered":        {func(l *Ledger) { l.received[at].Sum = "other" }, nil, "altered "},
		"renamed":        {func(l *Ledger) { r := l.received[0]; r.Webhook, r.Status = "msg_other", 500; l.Receive(r) }, []Kill{{At: start, InFlight: 9}}, "renamed "},
		"stranger":       {func(l *Ledger) { l.Receive(Received{ID: "x", Sink: "a", Status: 204, At: start}) }, nil, "strange "},
		"unanswered":     {func(l *Ledger) { l.Receive(Received{ID: "unanswered", Sink: "a", Status: 204, At: start}) }, nil, ""},
		"wrong sink":     {func(l *Ledger) { l.received[at].Sink = "c" }, nil, "missing strange "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := planted(t, n)
			tc.plant(l)
			v := l.Check(tc.kills, func(id string) bool { return id == "unanswered" })
			if got := faultsOf(v); got != tc.want {
				t.Errorf("found %q, want %q: %s\n%v", got, tc.want, v, v.Faults())
			}
			if (len(v.Faults()) == 0) != (tc.want == "") {
				t.Errorf("faults %v", v.Faults())
			}
		})
	}
}

// TestLedgerCounts: what is to come is counted, also when a sink is faster than the publisher's answer.
func TestLedgerCounts(t *testing.T) {
	t.Parallel()
	l := planted(t, 10)
	if a, _, missing := l.Counts(); a != 10 || missing != 0 {
		t.Errorf("%d accepted, %d missing", a, missing)
	}
	changed := l.Changed()
	l.Receive(Received{ID: "early", Sink: "a", Status: 204})
	<-changed
	l.Receive(Received{ID: "late", Sink: "a", Status: 500})
	l.Accept(Accepted{ID: "early", Sinks: []string{"a"}}, Accepted{ID: "late", Sinks: []string{"a"}})
	if _, _, missing := l.Counts(); missing != 1 {
		t.Errorf("%d missing, want 1", missing)
	}
	l.Receive(Received{ID: "late", Sink: "a", Status: 204})
	l.Receive(Received{ID: "late", Sink: "a", Status: 204})
	if _, _, missing := l.Counts(); missing != 0 {
		t.Errorf("%d missing, want 0", missing)
	}
}
