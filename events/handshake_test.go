package events

import "testing"

func TestHandshakeAllows(t *testing.T) {
	t.Parallel()
	h := &Handshake{Origin: "Events.Example.com"}
	for _, tt := range []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"*"}, true},
		{[]string{"events.example.com"}, true},
		{[]string{"EVENTS.EXAMPLE.COM"}, true},
		{[]string{"other.example", "events.example.com"}, true}, // a line for each
		{[]string{"other.example, events.example.com"}, true},
		{[]string{"example.com"}, false},
		{[]string{"events.example.com.evil.org"}, false},
		{[]string{"events.example"}, false},
		{[]string{"*.example.com"}, false},
		{[]string{"https://events.example.com"}, false},
	} {
		if got := h.Allows(tt.values); got != tt.want {
			t.Errorf("%q: %t", tt.values, got)
		}
	}
}

func TestHandshakeAllowedRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asked int
		value string
		want  int
		ok    bool
	}{
		{600, "120", 120, true}, {600, "6000", 600, true}, {600, "*", 600, true}, {600, " 1 ", 1, true},
		{600, "", 600, false}, {600, "0", 600, false}, {600, "-5", 600, false}, {600, "+5", 600, false}, {600, "many", 600, false}, {600, "1.5", 600, false},
		{0, "120", 120, true}, {0, "*", 0, true}, {0, "", 0, false},
	} {
		h := &Handshake{Rate: tt.asked}
		if got, ok := h.AllowedRate(tt.value); got != tt.want || ok != tt.ok {
			t.Errorf("asked for %d, answered %q: %d %t", tt.asked, tt.value, got, ok)
		}
	}
}

func TestHandshakeKey(t *testing.T) {
	t.Parallel()
	key := func(sink, origin string, rate int) string {
		s := &Subscription{Sink: sink}
		s.ProtocolSettings.Handshake = &Handshake{Mode: HandshakeOptional, Origin: origin, Rate: rate}
		return s.HandshakeKey()
	}
	is := key("https://a.example/x", "us.example", 5)
	if is != key("https://a.example/x", "US.example", 5) {
		t.Error("the origin's case is another question")
	}
	for _, other := range []string{key("https://a.example/y", "us.example", 5), key("https://a.example/x", "we.example", 5), key("https://a.example/x", "us.example", 6)} {
		if is == other {
			t.Error("another question has the same key")
		}
	}
}
