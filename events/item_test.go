package events

import (
	"strings"
	"testing"
	"time"
)

func TestStatusPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, answer, want, wrong string }{
		{"status", `{"status":"Ended"}`, "Ended", ""},
		{"data.orders[1].state", ` {"data":{"orders":[{"state":1},{"state":2.50}]}} `, "2.50", ""},
		{"done", `{"done":true}`, "true", ""},
		{"status", `{"status":null}`, "", "no status"},
		{"status", `{"state":"x"}`, "", "no status"},
		{"status", `{"status":""}`, "", "empty"},
		{"status", `{"status":{"a":1}}`, "", "an object"},
		{"status", `{"status":[1]}`, "", "an array"},
		{"status", `{"status":"` + strings.Repeat("x", 1025) + `"}`, "", "longer"},
		{"status", `{"status":"x"`, "", "not JSON"},
		{"status", `{"status":"x"} y`, "", "not JSON"},
		{"status", ``, "", "not JSON"},
		{"status", `"x"`, "", "no status"},
	} {
		p, err := NewStatusPath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Find([]byte(c.answer))
		if c.wrong == "" && (err != nil || v.Text() != c.want) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s in %.60s: %q, %v", c.path, c.answer, v.Text(), err)
		}
	}
	for _, path := range []string{"", ".", "a.", "a b", "a[x]", "[0]", "a[0", "$.a"} {
		if _, err := NewStatusPath(path); err == nil {
			t.Errorf("path %q is taken", path)
		}
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	s := &StatusSource{ID: "orders", Tenant: "acme", Type: "order.status"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	item := &Item{Key: `order "1"`, AddedAt: at}
	change := func(s *StatusSource, i *Item, status string, at time.Time) *Event {
		e, err := s.Change(i, TextValue(status), at)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := change(s, item, "Ended", at)
	want := `{"specversion":"1.0","id":"` + e.ID() + `","source":"/sources/orders","type":"order.status","subject":"order \"1\"","time":"2026-01-02T03:04:05.006Z",` +
		`"tenant":"acme","datacontenttype":"application/json","data":{"status":"Ended"}}`
	if got := string(e.Structured()); got != want || len(e.ID()) != 32 {
		t.Errorf("event\n%s\nwant\n%s", got, want)
	}
	if change(s, item, "Ended", at.Add(time.Hour)).ID() != e.ID() {
		t.Error("the same change has another id")
	}
	for name, other := range map[string]*Event{
		"status": change(s, item, "Cancelled", at),
		"change": change(s, &Item{Key: item.Key, AddedAt: at, Changes: 1}, "Ended", at),
		"key":    change(s, &Item{Key: "order-2", AddedAt: at}, "Ended", at),
		"item":   change(s, &Item{Key: item.Key, AddedAt: at.Add(1)}, "Ended", at),
	} {
		if other.ID() == e.ID() {
			t.Errorf("another %s has the same id", name)
		}
	}
	if e := change(&StatusSource{ID: "a", Tenant: DefaultTenant, Type: "t"}, item, "x", at); e.HasTenant() {
		t.Error("the default tenant is said")
	}
}

func TestSourceTick(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for every, want := range map[time.Duration]time.Time{
		5 * time.Minute:    time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC),
		time.Second:        time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		7 * 24 * time.Hour: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), // a Thursday, as 1970-01-01 was
	} {
		if got := (&StatusSource{Every: Duration(every)}).Tick(now); !got.Equal(want) {
			t.Errorf("every %s: %s, want %s", every, got, want)
		}
	}
}
