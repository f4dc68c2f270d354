package filter

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// fill repeats text until it is about n bytes.
func fill(text string, n int) string { return strings.Repeat(text, n/len(text)) }

const ten = `[1,2,3,4,5,6,7,8,9,10]`

// loops nests all over a list, depth times.
func loops(list string, depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "%s.all(x%d, ", list, i)
	}
	return b.String() + "true" + strings.Repeat(")", depth)
}

// Events that are as bad as the limit of 1 MB allows.
func badEvents(t testing.TB) map[string]*events.Event {
	const most = 990_000
	head := `"id":"1","source":"/s","type":"t"`
	list := func(item string) string {
		return `[` + strings.TrimSuffix(fill(item+",", most), ",") + `]`
	}
	return map[string]*events.Event{
		"numbers": event(t, head+`,"data":{"a":`+list("0")+`}`),
		"objects": event(t, head+`,"data":{"a":`+list(`{"b":[1]}`)+`}`),
		"text":    event(t, head+`,"subject":"x","data":{"a":"`+fill("a", most)+`"}`),
		"escapes": event(t, head+`,"data":{"a":"`+fill(`\u0061`, most)+`"}`),
		"nested":  event(t, head+`,"data":{"a":`+fill(`[`, 60)+`[`+fill(`0,`, most-200)+`0]`+fill(`]`, 60)+`}`),
		"members": event(t, head+`,"data":{"a":{`+members(most/13)+`}}`),
		"subject": event(t, head+`,"subject":"`+fill("a", most)+`","data":{"a":1}`),
		"names":   event(t, head+`,`+attributes(most/13)+`,"data":{"a":1}`),
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%07d":0,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"a%07d":0,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

var bombs = []struct {
	l    events.Language
	text string
}{
	{"cel", loops(ten, 8)},
	{"cel", loops(ten, 60)},
	{"cel", `data.a.all(x, data.a.all(y, data.a.all(z, true)))`},
	{"cel", `data.a.map(x, data.a.map(y, data.a)).size() > 0`},
	{"cel", `data.a.all(x, data.a == data.a + [])`},
	{"cel", fill(`data.a + [] == data.a && `, 4000) + `true`},
	{"cel", fill(`data == data && `, 4000) + `true`},
	{"cel", fill(`!(7 in data.a) && `, 4000) + `true`},
	{"cel", fill(`data.a != 'x' && `, 4000) + `true`},
	{"cel", fill(`size(data.a) > 0 && `, 4000) + `true`},
	{"cel", fill(`!data.a.contains('aaaaaaaaaaab') && `, 4000) + `true`},
	{"cel", `size(` + fill(`data.a+`, 4000) + `data.a) > 0`},
	{"cel", `size((data.a+data.a)+(data.a+data.a)) > 0`},
	{"cel", ten + `.map(x, data.a + data.a).map(y, y + y).map(z, z + z).size() > 0`},
	{"cel", loops(ten, 4) + ` && ` + ten + `.all(a, ` + ten + `.all(b, data.a != 'x'))`},
	{"cel", ten + `.all(a, ` + ten + `.all(b, ` + ten + `.all(c, size(data.a) > 0)))`},
	{"cel", `[data.a].all(s, ` + ten + `.all(a, ` + ten + `.all(b, ` + ten + `.all(c, size(s) >= 0))))`},
	{"cel", `data.a.matches('(a*)*b')`},
	{"cel", `data.a.matches('(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)[^a]')`},
	{"cel", fill(`!data.a.matches('(a?){100}b') && `, 4000) + `true`},
	{"cel", ten + `.all(a, ` + ten + `.all(b, ` + ten + `.all(c, !data.a.matches('a.*b'))))`},
	{"cel", fill(`foo && `, 4000) + `true`},
	{"cel", fill(`duration('x') > duration('x') && `, 4000) + `true`},
	{"cel", fill(`data.a.`, 4000) + `a == 1`},
	{"cel", fill(`a ? `, 2000) + `a` + fill(` : a`, 2000)},
	{"cel", fill(`[`, 4000)},
	{"cel", fill(`"`, 4000)},
	{"cel", fill(`has(`, 300) + `data.a` + fill(`)`, 75)},
	{"cel", fill(`data.a.map(x, x).`, 4000) + `size() > 0`},
	{"cel", `data.a` + fill(`.map(x, [x, x])`, 4000) + `.size() > 0`},
	{"cel", fill(`1 + `, 4000) + `1 > 0`},
	{"cel", `attributes.all(x, attributes.all(y, attributes[x] == attributes[y]))`},
	{"cel", fill(`!('x' in attributes) && `, 4000) + `true`},
	{"cel", fill(`attributes == attributes && `, 4000) + `true`},
	{"cel", ten + `.all(a, ` + ten + `.all(b, ` + ten + `.all(c, !('x' in attributes))))`},
	{"cel", `data.a.all(m, data.a[m] == 0 && !(m in data.a == false))`},
	{"cel", fill(`time.getHours() > 25 || `, 4000) + `true`},
	{"cel", fill(`-`, 90) + `1 < 0`},
	{"cel", `[` + fill(`1,`, 4000) + `1] == data.a`},
	{"cel", fill(`[`, 90) + `1` + fill(`]`, 90) + ` == data.a`},
	{"match", fill(`a(*)=1;`, 4000) + `a(*)=1`},
	{"match", fill(`a(*).b(*)=1;`, 4000) + `a(*).b(*)=2`},
	{"match", fill(`a(b=1)=1;`, 4000) + `a(b=1)=1`},
	{"match", fill(`a.`, 4000) + `a=1`},
	{"match", fill(`a=x;`, 4000) + `a=x`},
	{"match", `a.m0000001=0;` + fill(`a.m0082000=0;`, 4000) + `a.m0082400=0`},
	{"sql", fill(`NOT `, 4000) + `TRUE`},
	{"sql", `1 = ` + fill(`- `, 4000) + `1`},
	{"sql", fill(`(`, 2000) + `TRUE` + fill(`)`, 2000)},
	{"sql", fill(`TRUE AND `, 4000) + `TRUE`},
	{"sql", fill(`TRUE = `, 4000) + `TRUE`},
	{"sql", fill(`1 + `, 4000) + `1 = 1`},
	{"sql", fill(`TRUE AND (`, 3600) + `TRUE` + fill(`)`, 360)},
	{"sql", fill(`1 + 2 * 3 - (4 / `, 3000) + `1` + fill(`)`, 3000/17) + ` = 1`},
	{"sql", fill(`NOT (1 = 1 OR `, 3000) + `TRUE` + fill(`)`, 3000/14)},
	{"sql", fill(`UPPER(`, 3500) + `id` + fill(`)`, 3500/6) + ` = 'x'`},
	{"sql", `LENGTH(CONCAT(` + fill(`subject,`, 4000) + `subject)) > 0`},
	{"sql", fill(`CONCAT(subject,`, 3600) + `subject` + fill(`)`, 240) + ` = 'x'`},
	{"sql", fill(`CONCAT_WS(`, 1900) + `'x'` + fill(`,'','','')`, 1900) + ` = 'x'`},
	{"sql", `subject LIKE '` + fill(`%a`, 4000) + `b'`},
	{"sql", `subject LIKE '%` + fill(`a`, 4000) + `b'`},
	{"sql", `type IN (` + fill(`'a',`, 4000) + `'b')`},
	{"sql", fill(`NOT EXISTS x AND `, 4000) + `TRUE`},
	{"sql", fill(`a'`, 4000)},
	{"sql", fill(`1 IN (`, 4000)},
}

// most is what one expression may take, on a machine that others use too.
const mostTime, mostMemory = 5 * time.Second, 256 << 20

// No expression makes an evaluation, or itself, long or large, whatever the event.
func TestBombs(t *testing.T) {
	all := badEvents(t)
	c := NewCache()
	var worst time.Duration
	for _, bomb := range bombs {
		name := string(bomb.l) + " " + bomb.text[:min(len(bomb.text), 50)]
		before := memory()
		begin := cpu(t)
		wrong := Wrong(bomb.l, bomb.text)
		took, used := cpu(t)-begin, memory()-before
		if took > mostTime || used > mostMemory {
			t.Errorf("%s took %v and %d MiB to compile", name, took, used>>20)
		}
		t.Logf("%s: %v to compile, %s", name, took, wrong)
		if wrong != "" {
			continue
		}
		p := c.program(bomb.l, bomb.text)
		for kind, e := range all {
			before, begin := memory(), cpu(t)
			truth := c.judge(p, NewEvaluation(e))
			took, used := cpu(t)-begin, memory()-before
			worst = max(worst, took)
			if took > 30*time.Millisecond {
				t.Logf("%s of %s: %v, %v, %d MiB", name, kind, truth, took, used>>20)
			}
			if took > mostTime || used > mostMemory {
				t.Errorf("%s of %s took %v and %d MiB", name, kind, took, used>>20)
			}
		}
	}
	t.Logf("worst: %v", worst)
}

// memory is what was ever allocated.
func memory() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// What is large and honest still fits: the bounds are for bombs.
func TestLargeOrder(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 12_000 {
		fmt.Fprintf(&b, `{"Code":"A%d","Price":%d,"Text":"an article that is for sale","Tax":"19%%"},`, i, i)
	}
	e := small(t, `{"Lines":[`+strings.TrimSuffix(b.String(), ",")+`],"Note":"`+fill("a note ", 50_000)+`"}`)
	t.Logf("%d bytes", len(e.Structured()))
	for text, l := range map[string]events.Language{
		`data.Lines.exists(l, l.Code == 'A11999' && l.Price > 100)`:           events.LanguageCEL,
		`size(data.Lines) == 12000 && data.Lines[11999].Price == 11999`:       events.LanguageCEL,
		`data.Lines.all(l, l.Price >= 0) && data.Note.contains('note')`:       events.LanguageCEL,
		`data.Note.matches('(a note )+')`:                                     events.LanguageCEL,
		`Lines(Code=A11999).Price=11999;Lines(*).Price=6000;Lines(*).Tax=19%`: events.LanguageMatch,
	} {
		if got := judge(t, e, l, text); got != events.True {
			t.Errorf("%s is %v", text, got)
		}
	}
}
