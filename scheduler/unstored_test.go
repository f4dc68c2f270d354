package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// event is one in structured mode.
func event(t testing.TB, subject, typ, more string) *events.Event {
	t.Helper()
	e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"1","source":"/s","type":%q,"tenant":"acme","subject":%q%s}`, typ, subject, more))
	must(t, err)
	return e
}

func mark(second, sequence int) stream.Mark {
	return stream.Mark{At: noon.Add(time.Duration(second) * time.Second), Sequence: uint64(sequence)}
}

func (u *unstored) texts(taken []*pending) string {
	var all []string
	for _, p := range taken {
		all = append(all, fmt.Sprint(p.subject, "/", p.typ, "@", p.Sequence))
	}
	return strings.Join(all, " ")
}

func TestUnstoredKeepsTheNewest(t *testing.T) {
	t.Parallel()
	u := newUnstored()
	for _, c := range []struct {
		subject, typ string
		mark         stream.Mark
	}{
		{"a", "t", mark(1, 1)}, {"b", "t", mark(1, 2)}, {"a", "u", mark(1, 3)}, {"a", "t", mark(5, 4)}, {"a", "t", mark(3, 5)}, {"c", "t", mark(1, 6)},
		{"b", "t", mark(1, 7)},
	} {
		if !u.put(event(t, c.subject, c.typ, ""), c.mark) {
			t.Fatal("no room")
		}
	}
	last := u.last()
	u.put(event(t, "d", "t", ""), mark(1, 8))
	if got := u.texts(u.takeOf([]stream.StatusName{{Tenant: "acme", Subject: "b"}, {Tenant: "other", Subject: "a"}})); got != "b/t@7" {
		t.Errorf("of b: %s", got)
	}
	if !u.has(stream.StatusName{Tenant: "acme", Subject: "b", Type: "t"}) || u.has(stream.StatusName{Tenant: "acme", Subject: "b", Type: "u"}) {
		t.Error("what is being written is not there")
	}
	u.stored()
	if got := u.texts(u.take(2, last)); got != "a/t@4 a/u@3" {
		t.Errorf("first: %s", got)
	}
	u.stored()
	if got := u.texts(u.take(2, last)); got != "c/t@6" {
		t.Errorf("then: %s", got)
	}
	u.stored()
	if got := u.texts(u.take(2, u.last())); got != "d/t@8" {
		t.Errorf("at last: %s", got)
	}
	u.stored()
	if u.bytes != 0 || u.count() != 0 || len(u.subjects) != 0 {
		t.Errorf("left: %d bytes, %d, %d subjects", u.bytes, u.count(), len(u.subjects))
	}
}

// TestUnstoredBack: what could not be stored keeps its place, also where a newer one has come meanwhile, as it stands for the
// events of both.
func TestUnstoredBack(t *testing.T) {
	t.Parallel()
	u := newUnstored()
	for i, subject := range []string{"a", "b", "c"} {
		u.put(event(t, subject, "t", `,"data":"long enough to be told from others"`), mark(5, i+1))
	}
	last := u.last()
	u.take(2, last)
	u.put(event(t, "a", "t", ""), mark(9, 4))
	u.put(event(t, "b", "t", ""), mark(2, 5)) // older than what is being written
	u.put(event(t, "d", "t", ""), mark(1, 6))
	u.back()
	if got := u.texts(u.take(9, last)); got != "a/t@4 b/t@2 c/t@3" {
		t.Errorf("up to the third: %s", got)
	}
	u.stored()
	if got := u.texts(u.take(9, u.last())); got != "d/t@6" {
		t.Errorf("behind: %s", got)
	}
	u.stored()
	if u.bytes != 0 || len(u.subjects) != 0 {
		t.Errorf("left: %d bytes, %d subjects", u.bytes, len(u.subjects))
	}
}

func TestUnstoredIsBounded(t *testing.T) {
	t.Parallel()
	u := newUnstored()
	u.most = 64 << 10
	more := `,"data":"` + strings.Repeat("x", 1000) + `"`
	n := 0
	for ; u.put(event(t, fmt.Sprint(n), "t", more), mark(1, n)); n++ {
	}
	if u.bytes > u.most || u.bytes < u.most-2048 || n < 40 {
		t.Errorf("%d events take %d bytes of %d", n, u.bytes, u.most)
	}
	select {
	case <-u.much:
	default:
		t.Error("nobody is told that it is full")
	}
	if !u.put(event(t, "0", "t", more), mark(2, n)) {
		t.Error("no room for a newer one in its place")
	}
	if u.put(event(t, "0", "t", `,"data":"`+strings.Repeat("x", 9000)+`"`), mark(3, n)) {
		t.Error("room for a larger one")
	}
	u.take(1, u.last())
	if u.put(event(t, "new", "t", more), mark(1, n)) {
		t.Error("room while the first is being written")
	}
	room := u.roomier()
	u.stored()
	select {
	case <-room:
	default:
		t.Error("nobody is told of the room")
	}
	if !u.put(event(t, "new", "t", more), mark(1, n)) {
		t.Error("no room after the first was stored")
	}
	u = newUnstored()
	u.most = 100
	if !u.put(event(t, "large", "t", more), mark(1, 1)) {
		t.Error("one alone must have room")
	}
}
