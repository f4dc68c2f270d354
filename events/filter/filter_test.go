package filter

import (
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/events"
)

// order is an event with all that filters look at.
const order = `"id":"1","source":"https://orders.example/acme","type":"order.status","subject":"order-1","time":"2026-03-01T10:00:00.5+02:00",
	"priority":5,"urgent":true,"region":"eu","data":{
	"amount":100.5,"count":150,"zero":-0,"big":9223372036854775808,"huge":1e400,"name":"M\u00fcller","ok":true,"none":null,"order-id":"A/1",
	"list":[1,2.0,"x",null,[3]],"empty":{},
	"Order":{"Type":"SALE","Total":1.50,"Lines":[{"Code":"A0","Price":5},{"Code":"A1","Price":10000},{"Code":"A1","Price":"7"}],"Tags":["a","b"]}}`

func event(t testing.TB, members string) *events.Event {
	t.Helper()
	e, err := events.ParseStructured([]byte(`{"specversion":"1.0",` + members + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// small is an event with nothing but data.
func small(t testing.TB, data string) *events.Event {
	t.Helper()
	return event(t, `"id":"1","source":"/s","type":"t","data":`+data)
}

// judge compiles and evaluates one expression.
func judge(t testing.TB, e *events.Event, l events.Language, text string) events.Truth {
	t.Helper()
	if wrong := Wrong(l, text); wrong != "" {
		t.Errorf("%s %s", text, wrong)
		return events.Failed
	}
	c := NewCache()
	return c.judge(c.program(l, text), NewEvaluation(e))
}

func TestCEL(t *testing.T) {
	t.Parallel()
	e := event(t, order)
	for text, want := range map[string]events.Truth{
		`data.amount > 100 && type.startsWith('order.')`:                events.True,
		`id == '1' && source.endsWith('/acme') && subject == "order-1"`: events.True,
		`data.amount > 100`: events.True,
		`data.count > 100`:  events.True,
		`data.count == 150.0 && data.count >= 149.5 && 100.5 == data.amount`: events.True,
		`data.amount > 101`: events.False,
		`data.big > 9223372036854775807 && data.huge > 1e300 && data.zero == 0`: events.True,
		`data.name == 'Müller' && size(data.name) == 6`:                         events.True,
		`data.ok`:  events.True,
		`!data.ok`: events.False,
		`data.none == null && data.list[3] == null`:                              events.True,
		`data['order-id'] == 'A/1'`:                                              events.True,
		`data.list[0] == 1 && data.list[1] == 2 && data.list[4][0] == 3`:         events.True,
		`data.list[9] == 1`:                                                      events.Failed,
		`size(data.list) == 5 && size(data.empty) == 0 && size(data.Order) == 4`: events.True,
		`2 in data.list && !('y' in data.list) && null in data.list`:             events.True,
		`'amount' in data && !('x' in data)`:                                     events.True,
		`has(data.amount) && !has(data.x) && !has(data.empty.x)`:                 events.True,
		`has(data.x.y)`:              events.Failed,
		`data.x == 1`:                events.Failed,
		`!(data.x == 1)`:             events.Failed,
		`data.x == 1 || data.ok`:     events.True,
		`has(data.x) && data.x == 1`: events.False,
		`data.name > 5`:              events.Failed,
		`data.name`:                  events.Failed,
		`data.Order.Lines.exists(l, l.Code == 'A1' && l.Price == 10000)`:        events.True,
		`data.Order.Lines.all(l, l.Price > 6)`:                                  events.False,
		`data.Order.Lines.exists_one(l, l.Code == 'A0')`:                        events.True,
		`data.Order.Lines.map(l, l.Code) == ['A0', 'A1', 'A1']`:                 events.True,
		`data.Order.Lines.filter(l, l.Code == 'A1').size() == 2`:                events.True,
		`data.Order.all(k, k.matches('^[A-Z]'))`:                                events.True,
		`data.Order == data.Order && data.list == [1, 2.0, 'x', null, [3]]`:     events.True,
		`data.Order.Tags == ['a', 'b'] && ['a', 'b'] == data.Order.Tags`:        events.True,
		`data.empty == {} && {'Code': 'A0', 'Price': 5} == data.Order.Lines[0]`: events.True,
		`data.Order.Lines[0] == {'Code': 'A0', 'Price': 6}`:                     events.False,
		`data.Order.Tags + ['c'] == ['a', 'b', 'c']`:                            events.True,
		`type(data.count) == int && type(data.amount) == double`:                events.True,
		`type(data) == map && type(data.list) == list`:                          events.True,
		`time > timestamp('2026-03-01T07:59:59Z') && time.getHours() == 8`:      events.True,
		`time < timestamp('2026-03-01T08:00:00Z')`:                              events.False,
		`attributes.region == 'eu' && attributes['urgent'] == true`:             events.True,
		`attributes.priority > 3 && attributes.priority == 5`:                   events.True,
		`int(attributes.priority) > 3`:                                          events.True,
		`has(attributes.region) && !has(attributes.other)`:                      events.True,
		`attributes.other == 'x'`:                                               events.Failed,
		`attributes.specversion == '1.0' && attributes.type == type`:            events.True,
		`'region' in attributes && size(attributes) == 9`:                       events.True,
		`attributes.exists(n, n == 'urgent')`:                                   events.True,
		`data.name.matches('^M.*r$') && matches(type, 'status')`:                events.True,
		`type in ['order.status', 'x'] && data.count in [150, 2]`:               events.True,
		`subject.contains('der') ? true : false`:                                events.True,
		`1 / data.zero == 1`:                                                    events.Failed,
		`string(data.count) == '150' && double(data.count) * 1.5 == 225.0`:      events.True,
		`dyn(5) == 5`: events.True,
	} {
		if got := judge(t, e, events.LanguageCEL, text); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

func TestCELOfOtherEvents(t *testing.T) {
	t.Parallel()
	bare := `"id":"1","source":"/s","type":"t"`
	for _, test := range []struct {
		members, text string
		want          events.Truth
	}{
		{bare, `data == null && subject == ''`, events.True},
		{bare, `data.x == 1`, events.Failed},
		{bare, `time > timestamp('2026-01-01T00:00:00Z')`, events.Failed},
		{bare, `'time' in attributes`, events.False},
		{bare + `,"data":"text"`, `data == 'text'`, events.True},
		{bare + `,"data":null`, `data == null`, events.True},
		{bare + `,"data":5`, `data == 5 && data > 4.5`, events.True},
		{bare + `,"data":[1,2]`, `data[0] == 1 && data.all(x, x > 0)`, events.True},
		{bare + `,"datacontenttype":"text/plain","data":"{\"a\":1}"`, `data == '{"a":1}'`, events.True},
		{bare + `,"datacontenttype":"text/plain","data":"x"`, `data.a == 1`, events.Failed},
		{bare + `,"data_base64":"AAE="`, `data == b'\000\001' && size(data) == 2`, events.True},
		{bare + `,"data_base64":"AAE="`, `data in ['a']`, events.Failed}, // bytes are no key of a set
	} {
		if got := judge(t, event(t, test.members), events.LanguageCEL, test.text); got != test.want {
			t.Errorf("%s of %s is %v, want %v", test.text, test.members, got, test.want)
		}
	}
	e, err := events.ParseNATS(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-priority": {"5"},
	}, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := judge(t, e, events.LanguageCEL, `attributes.priority == '5' && int(attributes.priority) > 3 && data.a == 1`); got != events.True {
		t.Errorf("of an event in binary mode it is %v", got)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	e := event(t, order)
	for text, want := range map[string]events.Truth{
		`Order.Lines(Code=A1).Price=10000;Order.Type=SALE`: events.True,
		`Order.Lines(Code=A1).Price=7`:                     events.True,
		`Order.Lines(Code=A1).Price=5`:                     events.False,
		`Order.Lines(Code=A2).Price=5`:                     events.False,
		`Order.Lines(*).Price=5`:                           events.True,
		`Order.Lines(*).Code=A1; Order.Lines(*).Code=A0`:   events.True,
		`Order.Lines.Code=A1`:                              events.False,
		`Order.Lines(*)=A1`:                                events.False,
		`Order.Lines(Code=A1)=A1`:                          events.False,
		`Order.Tags(*)=b`:                                  events.True,
		`Order.Tags=b`:                                     events.False,
		`Order(*)=SALE`:                                    events.False,
		`Order=SALE`:                                       events.False,
		`Order.Type=sale`:                                  events.False,
		`Order.Total=1.50`:                                 events.True,
		`Order.Total=1.5`:                                  events.False,
		`amount=100.5;count=150;ok=true;none=null`:         events.True,
		`name=Müller`:                                      events.True,
		`order-id=A/1`:                                     events.True,
		`absent=`:                                          events.False,
		`absent.deep(*).x=1`:                               events.False,
		`list(*)=x`:                                        events.True,
		`list(*)=2.0`:                                      events.True,
		`list(*)=null`:                                     events.True,
		`data.ok=true`:                                     events.False,
	} {
		if got := judge(t, e, events.LanguageMatch, text); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	odd := small(t, `{"a b":"x=y;z","":"empty","e":"","p":[{"f":"a;b=c","g":1}],"n":[[1],[2,[3]]]}`)
	for text, want := range map[string]events.Truth{
		`a b=x=y`:          events.False,
		`e=`:               events.True,
		`e= `:              events.False,
		`p(f=a;b=c).g=1`:   events.True,
		`p(*).f=a`:         events.False,
		`n(*)=1`:           events.False,
		"\n e=;\tp(*).g=1": events.True,
	} {
		if got := judge(t, odd, events.LanguageMatch, text); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
	for _, members := range []string{``, `,"data":[{"a":1}]`, `,"data":"a"`, `,"data_base64":"AA=="`, `,"datacontenttype":"text/plain","data":"{\"a\":1}"`} {
		if got := judge(t, event(t, `"id":"1","source":"/s","type":"t"`+members), events.LanguageMatch, "a=1"); got != events.False {
			t.Errorf("of %s it is %v", members, got)
		}
	}
}

func TestSQL(t *testing.T) {
	t.Parallel()
	e := event(t, order)
	for text, want := range map[string]events.Truth{
		`EXISTS priority AND INT(priority) > 3`:          events.True,
		`priority > 3`:                                   events.True,
		`priority = 5 AND urgent`:                        events.True,
		`EXISTS other`:                                   events.False,
		`other = 'x'`:                                    events.Failed,
		`NOT (other = 'x')`:                              events.Failed,
		`source = 'https://orders.example/acme'`:         events.True,
		`type LIKE 'order.%'`:                            events.True,
		`type IN ('a', 'order.status')`:                  events.True,
		`region = 'us'`:                                  events.False,
		`'text'`:                                         events.Failed,
		`priority / 0 = 1`:                               events.Failed,
		`SUBSTRING(region, 1, -1) = 'x'`:                 events.Failed, // the SDK panics
		`subject LIKE 'order-_' AND LENGTH(subject) = 7`: events.True,
		`EXISTS data`:                                    events.False,
		`EXISTS time AND EXISTS subject AND NOT EXISTS dataschema`: events.True,
		`specversion = '1.0' AND id = 1`:                           events.True,
	} {
		if got := judge(t, e, events.LanguageSQL, text); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

// What is refused when a subscription is registered, and how it is said.
func TestWrong(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("(", 150) + "1" + strings.Repeat(")", 150)
	for _, test := range []struct {
		l          events.Language
		text, want string
	}{
		{"cel", `data.amount >`, "unexpected end at line 1, column 14"},
		{"cel", `foo == 1`, "undeclared reference to 'foo' at line 1, column 1"},
		{"cel", "id == 'x' &&\n  foo == 1", "undeclared reference to 'foo' at line 2, column 3"},
		{"cel", `id + 1 == 2`, "no matching overload"},
		{"cel", `id`, "it gives string, and must give a bool"},
		{"cel", `1`, "it gives int"},
		{"cel", `id.nothing()`, "undeclared reference to 'nothing'"},
		{"cel", `id.matches('(')`, "pattern is wrong"},
		{"cel", `id.matches(subject)`, "must be a literal"},
		{"cel", `id.matches('(a{1000}){1000}')`, "pattern"},
		{"cel", `id.matches('a{900}')`, "too large"},
		{"cel", `duration('x') > duration('1s')`, "duration"},
		{"cel", `timestamp('x') > time`, "timestamp"},
		{"cel", deep + ` == 1`, "recursion"},
		{"cel", "\xff", ""},
		{"sql", `a = 'b`, "line 1, column"},
		{"sql", `1 +`, "unexpected end at line 1, column 4"},
		{"sql", `id IN ()`, "line 1, column 8"},
		{"sql", `type ==`, "unexpected '=' at line 1, column 7"},
		{"sql", `(a = ')'`, "a parenthesis is not closed at byte 0"},
		{"sql", `a = 1)`, "unexpected ')' at line 1, column 6"},
		{"sql", deep + ` = 1`, "parentheses nest deeper than 100 levels at byte 100"},
		{"sql", `NOSUCH(id)`, "there is no function NOSUCH with 1 arguments at line 1, column 1"},
		{"sql", `TRUE AND LENGTH(id, id) = 1`, "there is no function LENGTH with 2 arguments at line 1, column 10"},
		{"sql", `id = 99999999999`, "99999999999 does not fit into 32 bits at line 1, column 6"},
		{"sql", `@`, "line 1"},
		{"sql", ` `, "line 1"},
		{"match", `a`, `a path must be followed by = and a value, not by the end at byte 1`},
		{"match", ``, `a condition is missing at byte 0`},
		{"match", `a=1;`, `a condition is missing at byte 4`},
		{"match", `a=1;;b=2`, `a condition is missing at byte 4`},
		{"match", `=1`, `a path lacks a member name before '=' at byte 0`},
		{"match", `a.=1`, `a path lacks a member name before '=' at byte 2`},
		{"match", `a..b=1`, `lacks a member name before '.' at byte 2`},
		{"match", `.a=1`, `lacks a member name before '.' at byte 0`},
		{"match", `a(=1`, `lacks a member name before '=' at byte 2`},
		{"match", `a(b)=1`, `parentheses must have * or Field=Value in them at byte 1`},
		{"match", `a(0)=1`, `parentheses must have * or Field=Value in them at byte 1`},
		{"match", `a(**)=1`, `lacks a member name before '*' at byte 2`},
		{"match", `a(b.c=1).d=1`, `parentheses must have * or Field=Value in them at byte 1`},
		{"match", `a(b=1.d=1`, `a parenthesis is not closed at byte 1`},
		{"match", `a(*)b=1`, `a path must be followed by = and a value, not by 'b' at byte 4`},
		{"match", `a(*)(*)=1`, `not by '(' at byte 4`},
		{"match", `a)=1`, `not by ')' at byte 1`},
		{"match", `a =1`, `white space`},
		{"match", `a. b=1`, `white space`},
	} {
		got := Wrong(test.l, test.text)
		if !strings.Contains(got, test.want) || !strings.HasPrefix(got, "is no valid "+string(test.l)+" expression: ") {
			t.Errorf("%s %q: %q, want %q", test.l, test.text, got, test.want)
		}
		t.Logf("%s %q: %s", test.l, test.text, got)
	}
}
