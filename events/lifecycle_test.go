package events

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func lifecycle(terminal ...string) *Lifecycle {
	l := DefaultLifecycle()
	l.Terminal = terminal
	return &l
}

// Each step is a status at a second; what follows = is why it is skipped, nothing when it is delivered, "dead" when it
// may be sent and is not delivered.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	latest := &Lifecycle{LatestOnly: true}
	all := lifecycle("End")
	all.LatestOnly = true
	tests := map[string]struct {
		l     *Lifecycle
		steps string
	}{
		"a status is sent once":                   {lifecycle(), "A0= A1=duplicate_status"},
		"also after another one":                  {lifecycle(), "A0= B1= A2=duplicate_status B3=duplicate_status C4="},
		"what was not delivered is no duplicate":  {lifecycle(), "A0=dead A1=dead A2= A3=duplicate_status"},
		"a terminal status silences":              {lifecycle("End", "Gone"), "A0= End1= B2=completed End3=completed Gone4=completed"},
		"one that was not delivered does not":     {lifecycle("End"), "End0=dead B1= End2= C3=completed"},
		"without dedupe":                          {&Lifecycle{}, "A0= A1= B2= A3="},
		"without dedupe a terminal status counts": {&Lifecycle{Terminal: []string{"End"}}, "A0= A1= End2= A3=completed"},
		"the older one is superseded":             {latest, "A5= B4=superseded C5= D6= A6= A5=superseded"},
		"what was not delivered supersedes none":  {latest, "A5=dead B4= C3=superseded"},
		"order is no matter without latestonly":   {lifecycle(), "A5= B4= C3="},
		"of reasons the first":                    {all, "A5= A4=duplicate_status B4=superseded End6= A4=completed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &Progress{}
			for step := range strings.FieldsSeq(test.steps) {
				said, want, _ := strings.Cut(step, "=")
				status, at := said[:len(said)-1], time.Unix(int64(said[len(said)-1]-'0'), 0)
				skip, ok := test.l.Judge(p, status, at)
				if got := string(skip); ok != (got == "") || got != strings.TrimPrefix(want, "dead") {
					t.Fatalf("%s: %q, %v", step, got, ok)
				}
				if ok && want != "dead" {
					p.Deliver(test.l, status, at)
				}
				p = stored(t, p)
			}
		})
	}
}

// stored is p after it was stored and read.
func stored(t testing.TB, p *Progress) *Progress {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back := &Progress{}
	if err := json.Unmarshal(text, back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestLifecycleSettingsCountWhileTheyAreSet(t *testing.T) {
	t.Parallel()
	p, at := &Progress{}, time.Unix(9, 0)
	if p.Deliver(&Lifecycle{}, "End", at) || !cmp.Equal(p, &Progress{}) {
		t.Errorf("%+v", p)
	}
	if !p.Deliver(lifecycle("End"), "End", at) || p.Deliver(lifecycle("End"), "End", at) {
		t.Error("changed the second time, or not the first")
	}
	if skip, _ := lifecycle("End").Judge(p, "A", at); skip != ReasonCompleted {
		t.Errorf("skip %q", skip)
	}
	if skip, ok := lifecycle().Judge(p, "A", at); !ok {
		t.Errorf("without terminal statuses nothing is completed: %q", skip)
	}
}

func TestLifecycleSupersedes(t *testing.T) {
	t.Parallel()
	early, late, l := time.Unix(1, 0), time.Unix(2, 0), &Lifecycle{LatestOnly: true}
	if !l.Supersedes(late, early) || !l.Supersedes(early, early) || l.Supersedes(early, late) || lifecycle().Supersedes(late, early) {
		t.Error("wrong")
	}
}

// However many statuses there are, and however long, what was delivered is known, and nothing else.
func TestProgressKnows(t *testing.T) {
	t.Parallel()
	l := lifecycle()
	rapid.Check(t, func(r *rapid.T) {
		statuses := rapid.SliceOfNDistinct(rapid.StringN(1, 100, -1), 0, 60, rapid.ID[string]).Draw(r, "statuses")
		others := rapid.SliceOfN(rapid.StringN(1, 100, -1), 1, 20).Draw(r, "others")
		p := &Progress{}
		for _, s := range statuses {
			p.Deliver(l, s, time.Time{})
			p = stored(t, p)
		}
		for _, s := range slices.Concat(statuses, others) {
			_, ok := l.Judge(p, s, time.Time{})
			if sent := slices.Contains(statuses, s); ok == sent {
				r.Fatalf("%q was sent: %v, may be sent: %v", s, sent, ok)
			}
		}
	})
}

func TestProgressStaysSmall(t *testing.T) {
	t.Parallel()
	l, p := lifecycle(), &Progress{}
	const n = maxKnownTexts + maxKnownHashes + 100
	for i := range n {
		p.Deliver(l, fmt.Sprintf("status %d %s", i, strings.Repeat("x", maxKnownText)), time.Time{})
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 128<<10 || p.Size() > 128<<10 {
		t.Errorf("%d bytes stored, %d in memory", len(text), p.Size())
	}
	for i := n - maxKnownHashes; i < n; i += 999 {
		if _, ok := l.Judge(p, fmt.Sprintf("status %d %s", i, strings.Repeat("x", maxKnownText)), time.Time{}); ok {
			t.Errorf("status %d is not known", i)
		}
	}
}

func TestProgressClone(t *testing.T) {
	t.Parallel()
	p := &Progress{Statuses: []string{"A"}, Hashes: make([]byte, 8, 80), Last: 7}
	c := p.Clone()
	if diff := cmp.Diff(p, c); diff != "" {
		t.Fatal(diff)
	}
	c.Statuses[0], c.Hashes[0] = "B", 1
	if p.Statuses[0] != "A" || p.Hashes[0] != 0 {
		t.Error("shared")
	}
}

func TestKeyAndStatus(t *testing.T) {
	t.Parallel()
	event := func(more string) *Event {
		e, err := ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t"` + more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	long := strings.Repeat("k", 5000)
	tests := []struct {
		reference, event, want string
		none                   bool
	}{
		{"subject", `,"subject":"order-1"`, "order-1", false},
		{"subject", `,"data":{"subject":"order-2"}`, "order-2", false},
		{"subject", ``, "", true},
		{"data.status", `,"data":{"status":"Booked"}`, "Booked", false},
		{"data.status", `,"data":{"status":"B\u006foked"}`, "Booked", false},
		{"status", `,"data":{"status":7.50}`, "7.50", false},
		{"status", `,"data":{"status":true}`, "true", false},
		{"data.status", `,"data":{"status":false}`, "false", false},
		{"data.status", `,"data":{"status":null}`, "", true},
		{"data.status", `,"data":{"status":""}`, "", true},
		{"data.status", `,"data":{"status":{"a":1}}`, "", true},
		{"data.status", `,"data":{"status":[1]}`, "", true},
		{"data.status", `,"data":{}`, "", true},
		{"data.status", `,"data":"Booked"`, "", true},
		{"data", `,"data":"Booked"`, "Booked", false},
		{"data.items[1].id", `,"data":{"items":[{"id":1},{"id":2}]}`, "2", false},
		{"attributes.region", `,"region":"eu"`, "eu", false},
		{"attributes.region", `,"data":{"region":"eu"}`, "", true},
		{"priority", `,"priority":5`, "5", false},
	}
	for _, test := range tests {
		e := event(test.event)
		l := &Lifecycle{Key: test.reference, Status: test.reference}
		status, ok := l.StatusOf(e)
		if status != test.want || ok == test.none {
			t.Errorf("%s of %s: status %q, %v", test.reference, test.event, status, ok)
		}
		for _, c := range []DeliveryConfig{{Lifecycle: l}, {Ordering: &Ordering{Key: test.reference}}} {
			if key, ok := (&Subscription{Config: &c}).KeyOf(e); key != test.want || ok == test.none {
				t.Errorf("%s of %s: key %q, %v", test.reference, test.event, key, ok)
			}
		}
	}
	ordered := &Subscription{Config: &DeliveryConfig{Ordering: &Ordering{Key: "subject"}}}
	one, _ := ordered.KeyOf(event(`,"subject":"` + long + `1"`))
	two, _ := ordered.KeyOf(event(`,"subject":"` + long + `2"`))
	if len(one) != maxKeyBytes || one == two {
		t.Errorf("long keys: %d bytes, same: %v", len(one), one == two)
	}
	if key, ok := (&Subscription{}).KeyOf(event(`,"subject":"a"`)); ok {
		t.Errorf("key %q of a subscription that orders nothing", key)
	}
}

func TestLifecycleTime(t *testing.T) {
	t.Parallel()
	accepted := time.Unix(5, 0)
	e, err := ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2026-01-02T03:04:05.678+01:00"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := LifecycleTime(e, accepted); !got.Equal(time.Date(2026, 1, 2, 2, 4, 5, 678e6, time.UTC)) {
		t.Error(got)
	}
	e, err = ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := LifecycleTime(e, accepted); !got.Equal(accepted) {
		t.Error(got)
	}
}

func BenchmarkKeyOf(b *testing.B) {
	e, err := ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","subject":"order-1","data":{"status":"Booked","n":1}}`))
	if err != nil {
		b.Fatal(err)
	}
	s := &Subscription{Config: &DeliveryConfig{Lifecycle: lifecycle()}}
	b.ReportAllocs()
	for b.Loop() {
		s.KeyOf(e)
		s.Config.Lifecycle.StatusOf(e)
	}
}
