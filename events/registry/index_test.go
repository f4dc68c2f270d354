package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
)

// The words are few, so that random subscriptions and events meet.
var (
	tenants = []string{"default", "acme", "b"}
	sources = []string{"/s", "/t", "https://orders.example"}
	types   = []string{"order", "order.", "order.status", "order.status.late", "order.refund.done", "refund", "a..b", "a."}
	masks   = append([]string{"order.*", "order.status.*", "order.refund.*", "refund.*", "a.*", "a..*"}, types...)
	names   = []string{"subject", "priority", "region", "id", "source", "type", "tenant", "absent"}
	values  = []string{"1", "12", "123", "23", "3", "order", "acme", "/s"}
)

// chooser makes the same things from rapid's bits or from a seed.
type chooser func(n int) int

func one(c chooser, from []string) string { return from[c(len(from))] }

func (c chooser) some(from []string, atMost int) (out []string) {
	for range c(atMost + 1) {
		out = append(out, one(c, from))
	}
	return out
}

func (c chooser) conditions() (out events.Conditions) {
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(c.some(names, 2), one(c, names))))) {
		out = append(out, events.Condition{Name: name, Value: one(c, values)})
	}
	return out
}

// Expressions that hold, do not hold, or fail, depending on the event.
var (
	cels = []string{
		`data.n > 2`, `data.s == 'x' || subject.startsWith('1')`, `has(data.a) && data.a.exists(x, x == 1)`,
		`attributes.region == '12'`, `data.o.all(o, o.v in [1, 2.0])`, `!(data.missing == 1)`, `true`,
	}
	sqls  = []string{`EXISTS priority`, `INT(priority) > 12`, `region LIKE '1%'`, `type = 'order' OR priority = 1`, `NOT (region = '1')`}
	paths = []string{`n=3`, `a(*)=1`, `o(k=1).v=2;s=x`, `s=x`}
)

func (c chooser) expression() (f events.Filter) {
	switch c(3) {
	case 0:
		f.SQL = one(c, sqls)
	case 1:
		f.CEL = one(c, cels)
	default:
		f.Match = one(c, paths)
	}
	return f
}

func (c chooser) filter(depth int) (f events.Filter) {
	kind := c(10)
	if depth == 0 {
		kind %= 6
	}
	switch kind {
	case 4, 5:
		f = c.expression()
	case 0, 1:
		f.Exact = c.conditions()
	case 2:
		f.Prefix = c.conditions()
	case 3:
		f.Suffix = c.conditions()
	case 6:
		f.All = c.filters(depth-1, 1)
	case 7:
		f.Any = c.filters(depth-1, 1)
	case 8:
		name := one(c, names)
		for range 1 + c(4) {
			f.Any = append(f.Any, events.Filter{Exact: events.Conditions{{Name: name, Value: one(c, values)}}})
		}
	default:
		f.Not = new(c.filter(depth - 1))
	}
	return f
}

func (c chooser) filters(depth, least int) (out []events.Filter) {
	for range least + c(3) {
		out = append(out, c.filter(depth))
	}
	return out
}

func (c chooser) criteria() *events.Subscription {
	s := &events.Subscription{Tenant: one(c, tenants), Types: c.some(masks, 3)}
	if c(3) == 0 {
		s.Source = one(c, sources)
	}
	if c(3) > 0 {
		s.Filters = c.filters(2, 0)
	}
	return s
}

func (c chooser) event() *events.Event {
	var b strings.Builder
	fmt.Fprintf(&b, `{"specversion":"1.0","id":%q,"source":%q,"type":%q`, one(c, values), one(c, sources), one(c, types))
	for _, name := range []string{"subject", "priority", "region"} {
		if c(3) > 0 {
			fmt.Fprintf(&b, `,%q:%q`, name, one(c, values))
		}
	}
	if c(2) > 0 {
		fmt.Fprintf(&b, `,"tenant":%q`, one(c, tenants))
	}
	e, err := events.ParseStructured([]byte(b.String() + c.data() + "}"))
	if err != nil {
		panic(err)
	}
	return e
}

// data is the member of an event, or none.
func (c chooser) data() string {
	switch c(6) {
	case 0:
		return ""
	case 1:
		return `,"datacontenttype":"text/plain","data":"x"`
	case 2:
		return `,"data":[` + one(c, values[:3]) + `]`
	default:
		return fmt.Sprintf(`,"data":{"n":%d,"s":%q,"a":[%d,%d],"o":[{"k":%d,"v":%d},{"k":"1","v":2}]}`,
			c(5), one(c, []string{"x", "y"}), c(3), c(3), c(3), c(3))
	}
}

// item is one with random versions; about one in five is deleted.
func (c chooser) item(id string) *item {
	it := &item{id: id}
	at, past := uint64(c(5)), []version(nil)
	for range c(3) {
		until := at + 1 + uint64(c(5))
		s := c.criteria()
		past = append(past, version{
			From: at, Until: until, Gone: c(2) == 0, Tenant: s.Tenant, Source: s.Source, Types: s.Types, Filters: s.Filters,
		})
		at = until
	}
	if len(past) > 0 {
		it.history = &history{past: past}
	}
	if c(5) > 0 {
		it.Subscription, it.From = c.criteria(), at
	}
	return it
}

// judgeOf evaluates each expression for e by itself, once.
func judgeOf(e *events.Event) func(*events.Filter) events.Truth {
	known := make(map[string]events.Truth)
	return func(f *events.Filter) events.Truth {
		_, text := f.Expression()
		truth, ok := known[text]
		if !ok {
			truth = oracle.Set([]events.Filter{*f}).Judge(filter.NewEvaluation(e))
			known[text] = truth
		}
		return truth
	}
}

// oracle keeps the compiled expressions.
var oracle = filter.NewCache()

// plainly is what the index is to find, by looking at everything.
func plainly(items map[string]*item, e *events.Event, sequence uint64) (found []string) {
	judge := judgeOf(e)
	holds := func(s *events.Subscription) bool {
		return s.Takes(e) && events.JudgeAll(s.Filters, e, judge) == events.True
	}
	for id, it := range items {
		for _, v := range it.past() {
			if v.From < sequence && sequence <= v.Until && holds(v.criteria()) {
				found = append(found, id+mark(v.Gone || !it.live()))
			}
		}
		if it.live() && it.From < sequence && holds(it.Subscription) {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return found
}

func mark(gone bool) string {
	if gone {
		return "!"
	}
	return ""
}

func matching(x *index, e *events.Event, sequence uint64, dst []Match) []Match {
	s := x.find(e, sequence, true, dst)
	return s.matches(false, zerolog.Nop())
}

func byIndex(x *index, e *events.Event, sequence uint64) (found []string) {
	for _, m := range matching(x, e, sequence, nil) {
		found = append(found, m.ID+mark(m.Entry == nil))
	}
	slices.Sort(found)
	return found
}

func TestIndexFindsWhatPlainEvaluationFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := chooser(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		x, items := newIndex(), map[string]*item{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(*rapid.T) {
				it := c.item(fmt.Sprint("s", c(20)))
				if old := items[it.id]; old != nil {
					x.remove(old)
				}
				x.add(it)
				items[it.id] = it
			},
			"remove": func(*rapid.T) {
				id := fmt.Sprint("s", c(20))
				if old := items[id]; old != nil {
					x.remove(old)
					delete(items, id)
				}
			},
			"": func(t *rapid.T) {
				e, sequence := c.event(), uint64(c(20))
				if diff := cmp.Diff(plainly(items, e, sequence), byIndex(&x, e, sequence)); diff != "" {
					t.Fatal(diff)
				}
			},
		})
		for _, it := range items {
			x.remove(it)
		}
		if len(x.places) > 0 || len(x.tenants) > 0 {
			t.Fatalf("an empty index holds %d places and %d tenants", len(x.places), len(x.tenants))
		}
	})
}

// 60,000 subscriptions at once, and as many matches.
func TestIndexOfManyFindsWhatPlainEvaluationFinds(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := chooser(rand.New(rand.NewPCG(seed, 0)).IntN)
	x, items := newIndex(), map[string]*item{}
	for i := range 60_000 {
		it := c.item(fmt.Sprint("s", i))
		x.add(it)
		items[it.id] = it
	}
	found := 0
	for range 15 {
		e, sequence := c.event(), uint64(c(20))
		want, got := plainly(items, e, sequence), byIndex(&x, e, sequence)
		if !slices.Equal(want, got) {
			t.Fatal(cmp.Diff(want, got))
		}
		found += len(got)
	}
	if found < 15_000 {
		t.Errorf("only %d matches: the test shows little", found)
	}
	for id, it := range items {
		x.remove(it)
		delete(items, id)
	}
	if len(x.places) > 0 || len(x.tenants) > 0 {
		t.Errorf("an empty index holds %d places and %d tenants", len(x.places), len(x.tenants))
	}
}

// 60,000 pairs of one subscription and one event, each in an index of its own.
func TestIndexOfOneFindsWhatPlainEvaluationFinds(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := chooser(rand.New(rand.NewPCG(seed, 0)).IntN)
	x := newIndex()
	for range 60_000 {
		it, e, sequence := c.item("s"), c.event(), uint64(c(20))
		x.add(it)
		want, got := plainly(map[string]*item{"s": it}, e, sequence), byIndex(&x, e, sequence)
		x.remove(it)
		if !slices.Equal(want, got) {
			t.Fatalf("%+v\nwant %v, got %v", it, want, got)
		}
	}
}

func TestDisjoint(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"":                                "",
		"a":                               "a",
		"a a":                             "a",
		"a.* a.*":                         "a.*",
		"a.b a.*":                         "a.*",
		"a.* a.b.* a.b.c a":               "a.* a",
		"b.* a.b.* a.b.c.* a.b a.b.c.d.e": "b.* a.b.* a.b",
		"a.b.* a.*":                       "a.*",
	}
	for patterns, want := range tests {
		if got := strings.Join(disjoint(strings.Fields(patterns)), " "); got != want {
			t.Errorf("%s: got %s, want %s", patterns, got, want)
		}
	}
}
