package events

import (
	"regexp"
	"testing"
)

func identified(t testing.TB, tenant, source, id string) *Event {
	t.Helper()
	text := string(appendString(appendString([]byte(`{"specversion":"1.0","type":"t","source":`), source), ""))
	text = text[:len(text)-2] + `,"id":` + string(appendString(nil, id))
	if tenant != "" {
		text += `,"tenant":"` + tenant + `"`
	}
	return mustParse(t, text+"}")
}

func TestMsgID(t *testing.T) {
	t.Parallel()
	base := identified(t, "acme", "/a", "b")
	// The values are on the wire and in stored streams: a change of them lets duplicates in.
	if got := base.MsgID(); got != "uTNgkx8ZjXmsFnN47BLlpqjAUgeJSbt4" {
		t.Errorf("NB-11: MsgID is %q", got)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{32}$`).MatchString(base.MsgID()) {
		t.Errorf("NB-11: MsgID is %q", base.MsgID())
	}
	for name, other := range map[string]*Event{
		"CE-2 other id":               identified(t, "acme", "/a", "c"),
		"CE-2 other source":           identified(t, "acme", "/b", "b"),
		"NB-11 other tenant":          identified(t, "acme2", "/a", "b"),
		"NB-11 no tenant":             identified(t, "", "/a", "b"),
		"NB-11 boundary moved":        identified(t, "acme", "/ab", ""+"b"),
		"NB-11 boundary moved back":   identified(t, "acme", "/", "ab"),
		"NB-11 source not normalised": identified(t, "acme", "/%61", "b"),
	} {
		if other.MsgID() == base.MsgID() {
			t.Errorf("%s: same MsgID", name)
		}
	}
	if identified(t, "", "/a", "b").MsgID() != identified(t, DefaultTenant, "/a", "b").MsgID() {
		t.Error("the default tenant is another when it is named")
	}
}

func TestWebhookID(t *testing.T) {
	t.Parallel()
	base := identified(t, "acme", "/a", "b.c d")
	got := base.WebhookID("orders")
	if got != "msg_gmoe6p3qu7jrhaxrbrou5l3blqg" {
		t.Errorf("SW-2: WebhookID is %q", got)
	}
	if !regexp.MustCompile(`^msg_[a-z2-7]{27}$`).MatchString(got) {
		t.Errorf("SW-2: WebhookID is %q", got)
	}
	if base.WebhookID("orders") != got || base.WebhookID("orders2") == got ||
		identified(t, "acme", "/a", "b.c").WebhookID("orders") == got {
		t.Error("SW-2: constant for one delivery, other for others")
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	binary, err := ParseNATS(natsHeader("ce-n", "5", "ce-datacontenttype", "text/plain"), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		a, b *Event
		want bool
	}{
		{"order and white space between members", mustParse(t, minimal(`,"a":"1","b":"2"`)), mustParse(t, minimal(` , "b":"2","a":"1"`)), true},
		{"escapes", mustParse(t, minimal(`,"a":"\u0031"`)), mustParse(t, minimal(`,"a":"1"`)), true},
		{"null", mustParse(t, minimal(`,"a":null`)), mustParse(t, minimal(``)), true},
		{"the default tenant named", mustParse(t, minimal(`,"tenant":"default"`)), mustParse(t, minimal(``)), true},
		{"other mode", mustParse(t, minimal(`,"datacontenttype":"text/plain","n":5,"data":"x"`)), binary, true},
		{"other tenant", mustParse(t, minimal(`,"tenant":"a"`)), mustParse(t, minimal(``)), false},
		{"other attribute", mustParse(t, minimal(`,"a":"1"`)), mustParse(t, minimal(`,"a":"2"`)), false},
		{"one attribute more", mustParse(t, minimal(`,"a":"1"`)), mustParse(t, minimal(``)), false},
		{"NB-14 other data", mustParse(t, minimal(`,"data":1`)), mustParse(t, minimal(`,"data":2`)), false},
		{"NB-14 other bytes of data", mustParse(t, minimal(`,"data":1`)), mustParse(t, minimal(`,"data":1.0`)), false},
		{"data and none", mustParse(t, minimal(`,"data":null`)), mustParse(t, minimal(``)), false},
		{"many attributes", mustParse(t, minimal(manyAttributes(5000))), mustParse(t, minimal(`,"x":1`+manyAttributes(5000))), false},
	} {
		if got := tt.a.Same(tt.b); got != tt.want || tt.b.Same(tt.a) != tt.want || !tt.a.Same(tt.a) {
			t.Errorf("%s: Same is %t", tt.name, got)
		}
	}
}
