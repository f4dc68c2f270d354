package filter

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/hookfleet/hookfleet/events"
)

func TestExpressionsAreShared(t *testing.T) {
	t.Parallel()
	c := NewCache()
	sets := make([]*Set, 1000)
	for i := range sets {
		sets[i] = c.Set([]events.Filter{{CEL: "data.a == 1"}, {SQL: "EXISTS subject"}})
	}
	if len(c.programs) != 2 || sets[0].all[0] != sets[999].all[0] {
		t.Errorf("%d programs", len(c.programs))
	}
	if len(c.compiled) != 0 {
		t.Error("what nobody evaluates is compiled")
	}
	sets[0].Judge(NewEvaluation(small(t, `{"a":1}`)))
	if len(c.compiled) != 1 { // there is no subject, so CEL was not asked
		t.Errorf("%d are compiled", len(c.compiled))
	}
	runtime.KeepAlive(sets)
}

// What no filter has any more is forgotten.
func TestExpressionsAreForgotten(t *testing.T) {
	t.Parallel()
	c := NewCache()
	e := small(t, `{"a":1}`)
	for i := range 100 {
		c.Set([]events.Filter{{Match: fmt.Sprintf("a=%d", i)}}).Judge(NewEvaluation(e))
	}
	for range 1000 {
		runtime.GC()
		c.mu.Lock()
		n := len(c.programs)
		c.mu.Unlock()
		if n == 0 {
			return
		}
	}
	t.Errorf("%d programs are left", len(c.programs))
}

// More than fits is compiled again when it is needed, and says the same.
func TestCodeIsBounded(t *testing.T) {
	t.Parallel()
	c := NewCache()
	e := small(t, `{"a":1}`)
	pad := strings.Repeat(" ", 4000)
	var sets []*Set
	for i := range 2*maxCompiled/len(pad) + 10 {
		sets = append(sets, c.Set([]events.Filter{{Match: fmt.Sprintf("%sa=%d", pad, i)}}))
	}
	for range 2 {
		for i, set := range sets {
			if got := set.Judge(NewEvaluation(e)); (got == events.True) != (i == 1) {
				t.Errorf("%d is %v", i, got)
			}
		}
	}
	kept := 0
	for _, at := range c.compiled {
		kept += at.size
	}
	if kept != c.size || kept > maxCompiled || kept < maxCompiled/2 {
		t.Errorf("%d bytes are kept, %d counted, at most %d", kept, c.size, maxCompiled)
	}
	runtime.KeepAlive(sets)
}

// Many goroutines evaluate and forget at once.
func TestCacheIsConcurrent(t *testing.T) {
	t.Parallel()
	c := NewCache()
	e := small(t, `{"a":[1,2,3],"b":"x"}`)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				set := c.Set([]events.Filter{
					{CEL: fmt.Sprintf("data.a.exists(x, x == %d)", i%5)}, {SQL: "EXISTS id"}, {Match: "a(*)=2"},
				})
				want := i%5 >= 1 && i%5 <= 3
				if got := set.Judge(NewEvaluation(e)); (got == events.True) != want {
					t.Errorf("%d %d is %v", g, i, got)
				}
			}
		})
	}
	all.Wait()
}

// A failure is counted for each who has the expression, and lets nothing through, in not either.
func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	c := NewCache()
	ev := NewEvaluation(small(t, `{"a":1}`))
	for _, f := range []events.Filter{
		{CEL: "data.b == 1"}, {Not: &events.Filter{CEL: "data.b == 1"}}, {Not: &events.Filter{CEL: "data.b == 1"}},
		{SQL: "b = 1"}, {Not: &events.Filter{Not: &events.Filter{SQL: "b = 1"}}}, {CEL: "data.a == 1 &&"},
	} {
		if got := c.Set([]events.Filter{f}).Judge(ev); got != events.Failed {
			t.Errorf("%+v is %v", f, got)
		}
	}
	quiet := NewEvaluation(small(t, `{"a":1}`))
	quiet.Quiet = true
	if got := c.Set([]events.Filter{{CEL: "data.b == 1"}}).Judge(quiet); got != events.Failed {
		t.Errorf("quietly it is %v", got)
	}
	for l, want := range map[events.Language]uint64{events.LanguageCEL: 4, events.LanguageSQL: 2, events.LanguageMatch: 0} {
		if got := c.Failures(l); got != want {
			t.Errorf("%d failures of %s, want %d", got, l, want)
		}
	}
}

// What is cheap is evaluated first, whatever the order.
func TestCheapBeforeDear(t *testing.T) {
	t.Parallel()
	c := NewCache()
	ev := NewEvaluation(small(t, `{"a":1}`))
	no := events.Filter{Exact: events.Conditions{{Name: "id", Value: "other"}}}
	for _, filters := range [][]events.Filter{
		{{CEL: "data.b == 1"}, {SQL: "b = 1"}, no},
		{{CEL: "data.b == 1"}, {Match: "a=2"}},
		{{All: []events.Filter{{CEL: "data.b == 1"}, {SQL: "b = 1"}}}, {Any: []events.Filter{no, {Match: "a=2"}}}},
		{{Not: &events.Filter{CEL: "data.b == 1"}}, {All: []events.Filter{{SQL: "b = 1"}, no}}},
	} {
		if got := c.Set(filters).Judge(ev); got != events.False {
			t.Errorf("%+v is %v", filters, got)
		}
	}
	if n := c.Failures(events.LanguageCEL) + c.Failures(events.LanguageSQL); n != 0 {
		t.Errorf("%d expressions were evaluated that need not be", n)
	}
	if c.Set([]events.Filter{no, {All: []events.Filter{no}}}) != nil {
		t.Error("there is a set of plain filters")
	}
}

// FuzzMatch: what is taken can be evaluated, and means the same when it is written with other white space.
func FuzzMatch(f *testing.F) {
	for _, text := range []string{`Order.Lines(Code=A1).Price=10000;Order.Type=SALE`, `a(*)=1; b=`, `a(b=;=)=`, `ä.ö(*)=ü`, `a=1;`, `(`} {
		f.Add(text, `{"Order":{"Lines":[{"Code":"A1","Price":10000}],"Type":"SALE"},"a":[1,{"b":";="}],"b":""}`)
	}
	f.Fuzz(func(t *testing.T, text, data string) {
		all, err := parseMatch(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("refused without a reason")
			}
			return
		}
		e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":` + data + `}`))
		if err != nil {
			return
		}
		truth := all.eval(NewEvaluation(e))
		again, err := parseMatch(" \n" + text)
		if err != nil {
			t.Fatalf("not taken with white space before it: %v", err)
		}
		if got := again.eval(NewEvaluation(e)); got != truth || truth == events.Failed {
			t.Errorf("%q is %v, with white space %v", text, truth, got)
		}
	})
}

// fuzzExpression fuzzes compiling and evaluating: nothing panics, and what is taken says the same twice.
func fuzzExpression(f *testing.F, l events.Language, texts ...string) {
	for _, text := range texts {
		f.Add(text)
	}
	e := event(f, order)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		x, err := compile(l, text)
		if err != nil {
			if err.Error() == "" || strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("%q is refused as %q", text, err)
			}
			return
		}
		c := NewCache()
		p := c.program(l, text)
		p.code.Store(&x)
		one, two := c.eval(p, NewEvaluation(e)), c.eval(p, NewEvaluation(e))
		if one != two {
			t.Errorf("%q is %v, and then %v", text, one, two)
		}
	})
}

func FuzzCEL(f *testing.F) {
	fuzzExpression(f, events.LanguageCEL, `data.amount > 100 && type.startsWith('order.')`, `data.list.map(x, x + 1).exists(y, y > 2)`,
		`time > timestamp('2026-01-01T00:00:00Z') || id.matches('^a+$')`, `{'a': [1u, 2.5, b'x', null]}['a'][0] == 1 ? has(data.x) : true`, `((`, `'`)
}

func FuzzSQL(f *testing.F) {
	fuzzExpression(f, events.LanguageSQL, `EXISTS priority AND INT(priority) > 3`, `a = 'b`, `1 +`, `id IN ()`, `SUBSTRING(id, 1, -1) = 'x'`,
		`NOT (type LIKE 'o\%_') XOR CONCAT_WS(',', id, "x") <> LEFT(subject, -1)`, `-2147483648 / -1 = 0`, "0!\n")
}
