package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// filtered are the filters that are tried, by their last path segment, and the ids of the events that they let through.
var filtered = map[string]struct{ filters, want string }{
	"sql":         {`[{"sql":"EXISTS priority AND INT(priority) > 3"}]`, "large binary"},
	"sql-fails":   {`[{"sql":"INT(priority) > 3"}]`, "large binary"},
	"sql-not":     {`[{"not":{"sql":"priority > 3"}}]`, "small"}, // the others have no priority, which fails
	"cel":         {`[{"cel":"data.amount > 100 && type.startsWith('flow')"}]`, "large fraction binary"},
	"cel-not":     {`[{"not":{"cel":"data.amount > 100"}}]`, "small"},
	"cel-time":    {`[{"cel":"time >= timestamp('2026-03-01T00:00:00Z') && attributes.region == 'eu'"}]`, "large"},
	"cel-loop":    {`[{"cel":"data.lines.exists(l, l.code == 'A1')"}]`, "large"},
	"match":       {`[{"match":"lines(code=A1).price=10000;kind=SALE"}]`, "large"},
	"match-any":   {`[{"match":"lines(*).price=5"}]`, "large small"},
	"match-not":   {`[{"not":{"match":"kind=SALE"}}]`, "small fraction binary text"},
	"nested":      {`[{"any":[{"match":"kind=SALE"},{"all":[{"sql":"EXISTS priority"},{"not":{"cel":"data.amount > 100"}}]}]}]`, "large small"},
	"all-of-them": {`[{"cel":"data.amount == 150"},{"sql":"region = 'eu'"},{"match":"kind=SALE"},{"prefix":{"type":"flow"}}]`, "large"},
	"bomb":        {`[{"cel":"[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, true))))))"}]`, ""},
}

// testFilters: each kind of filter lets through what it should, one that fails nothing, and failures are counted.
func testFilters(t *testing.T, s *fleettest.Server) {
	c, sink, typ := s.Client(), sinktest.New(t), unique("flow")
	before := failures(t, s)
	var subscriptions []string
	for name, f := range filtered {
		id := unique("filter")
		subscriptions = append(subscriptions, id)
		c.Subscribe(t, id, fmt.Sprintf(`{"types":[%q],"sink":%q,"filters":%s}`, typ, sink.URL("/"+name), f.filters))
	}
	for i, id := range subscriptions { // what is stored is what was sent
		var stored struct{ Filters any }
		c.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+id, nil, &stored)
		if stored.Filters == nil {
			t.Errorf("subscription %d has no filters", i)
		}
	}
	receipts := publishFiltered(t, c, typ)
	for name, f := range filtered {
		want := strings.Fields(f.want)
		slices.Sort(want)
		var got []string
		for _, r := range sink.WaitAnswered("/"+name, len(want)) {
			got = append(got, eventName(r.Body))
		}
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s lets through %v, want %v", name, got, want)
		}
	}
	for event, r := range receipts { // nothing comes late: each event has as many deliveries as filters that let it through
		want := 0
		for _, f := range filtered {
			if slices.Contains(strings.Fields(f.want), event) {
				want++
			}
		}
		if got := c.DeliveriesOf(t, r.Sequence); len(got) != want {
			t.Errorf("%s has %d deliveries, want %d", event, len(got), want)
		}
	}
	after := failures(t, s)
	for _, kind := range []string{"sql", "cel"} {
		if after[kind] <= before[kind] {
			t.Errorf("%v failures of %s after %v", after[kind], kind, before[kind])
		}
	}
}

// publishFiltered publishes the events that filters are tried with.
func publishFiltered(t *testing.T, c *fleettest.Client, typ string) map[string]fleettest.Receipt {
	t.Helper()
	run := unique("run")
	all := make(map[string]fleettest.Receipt)
	for name, members := range map[string]string{
		"large":    `"priority":5,"region":"eu","time":"2026-03-01T10:00:00+02:00","data":{"amount":150,"kind":"SALE","lines":[{"code":"A0","price":5},{"code":"A1","price":10000}]}`,
		"small":    `"priority":1,"data":{"amount":50,"lines":[{"code":"A2","price":"5"}]}`,
		"fraction": `"region":"us","data":{"amount":100.5}`,
		"text":     `"datacontenttype":"text/plain","data":"amount"`,
	} {
		all[name] = c.Publish(t, fmt.Sprintf(`{"specversion":"1.0","id":"%s.%s","source":"/e2e","type":%q,%s}`, run, name, typ, members))
	}
	h := binary(run+".binary", typ, "application/json")
	h.Set("Ce-Priority", "7")
	var r fleettest.Receipt
	c.Send(t, http.MethodPost, "/v1/events", h, `{"amount":1e3}`).Must(t, http.StatusAccepted, &r)
	all["binary"] = r
	return all
}

// eventName is what is behind the dot of an event's id.
func eventName(body []byte) string {
	_, name, _ := strings.Cut(eventID(body), ".")
	return name
}

var failureLine = regexp.MustCompile(`(?m)^hookfleet_filter_errors_total\{kind="(\w+)"\} (\S+)$`)

// failures are the filters that failed so far, by kind.
func failures(t *testing.T, s *fleettest.Server) map[string]float64 {
	t.Helper()
	all := make(map[string]float64)
	text := s.Client().Do(t, http.MethodGet, "/metrics", nil).Body
	for _, m := range failureLine.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			t.Fatal(err)
		}
		all[string(m[1])] = n
	}
	if len(all) != 3 {
		t.Errorf("failures %v", all)
	}
	return all
}

// testRefusedFilters: what is no valid expression is refused, all at once and with the place.
func testRefusedFilters(t *testing.T, s *fleettest.Server) {
	refused := func(filters string) map[string]string {
		p := s.Client().Do(t, http.MethodPost, "/v1/subscriptions", `{"sink":"https://partner.example/","filters":`+filters+`}`).
			Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
		all := make(map[string]string)
		for _, e := range p.Errors {
			all[e.Pointer] = e.Detail
		}
		return all
	}
	long := strings.Repeat("a", 4096)
	for filters, want := range map[string]map[string]string{
		`[{"sql":"a = 'b"},{"cel":"data.amount >"},{"match":"Order.Type"},{"cel":"amount > 5"},{"sql":"NOSUCH(id)"}]`: {
			"/filters/0/sql": "line 1, column 5", "/filters/1/cel": "unexpected end at line 1, column 14", "/filters/2/match": "at byte 10",
			"/filters/3/cel": "undeclared reference to 'amount' at line 1, column 1", "/filters/4/sql": "no function NOSUCH",
		},
		`[{"any":[{"not":{"cel":"id"}},{"all":[{"match":"a(b)=c"}]}]}]`: {
			"/filters/0/any/0/not/cel": "must give a bool", "/filters/0/any/1/all/0/match": "at byte 1",
		},
		`[{"sql":""},{"cel":5},{"match":"a=b","sql":"TRUE"}]`:                                {"/filters/0/sql": "empty", "/filters/1/cel": "a string", "/filters/2": "exactly one"},
		`[{"cel":"id == '` + long + `'"}]`:                                                   {"/filters/0": "4096 bytes"},
		`[` + strings.Repeat(`{"match":"a=b"},`, 64) + `{"match":"a=b"}]`:                    {"/filters": "at most 64"},
		`[` + strings.Repeat(`{"not":`, 8) + `{"sql":"TRUE"}` + strings.Repeat(`}`, 8) + `]`: {"/filters/0" + strings.Repeat("/not", 8): "8 levels"},
	} {
		got := refused(filters)
		if len(got) != len(want) {
			t.Errorf("%.100s: %v, want %v", filters, got, want)
		}
		for pointer, detail := range want {
			if !strings.Contains(got[pointer], detail) {
				t.Errorf("%.100s: %s is %q, want %q", filters, pointer, got[pointer], detail)
			}
		}
	}
}
