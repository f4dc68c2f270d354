package credential

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
)

func TestApply(t *testing.T) {
	t.Parallel()
	const sink, withQuery = "https://partner.example/hook", "https://partner.example/hook?a=b"
	text := secret.New
	tests := []struct {
		spec             Spec
		sink, url, shown string
		header           http.Header
	}{
		{Spec{Type: "NONE"}, sink, sink, sink, http.Header{}},
		{Spec{Type: "APIKEY", In: "header", Name: "x-api-key", Value: text("k:v")}, sink, sink, sink, http.Header{"X-Api-Key": {"k:v"}}},
		{Spec{Type: "APIKEY", In: "header", Name: "Authorization", Value: text("Token x")}, sink, sink, sink, http.Header{"Authorization": {"Token x"}}},
		{Spec{Type: "APIKEY", In: "query", Name: "api key", Value: text("a&b=c d%é")}, sink, sink + "?api%20key=a%26b%3Dc%20d%25%C3%A9", sink + "?api%20key=****", http.Header{}},
		{Spec{Type: "APIKEY", In: "query", Name: "k", Value: text("v")}, withQuery, withQuery + "&k=v", withQuery + "&k=****", http.Header{}},
		{Spec{Type: "APIKEY", In: "query", Name: "access_token", Value: text("v")}, sink, sink + "?access_token=v", sink + "?access_token=****", http.Header{"Cache-Control": {"no-store"}}},
		{Spec{Type: "PLAIN", Identifier: "Aladdin", Secret: text("open sesame")}, sink, sink, sink, http.Header{"Authorization": {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}}},
		{Spec{Type: "PLAIN", Identifier: "test", Secret: text("123£")}, sink, sink, sink, http.Header{"Authorization": {"Basic dGVzdDoxMjPCow=="}}},
		{Spec{Type: "BEARER", AccessToken: text("t0k3n")}, sink, sink, sink, http.Header{"Authorization": {"Bearer t0k3n"}}},
		{Spec{Type: "ACCESSTOKEN", AccessToken: text("t0k3n")}, sink, sink, sink, http.Header{"Authorization": {"Bearer t0k3n"}}},
	}
	for _, test := range tests {
		c, err := New(&test.spec, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		u := parse(t, test.sink)
		r := &egress.Request{URL: u, Header: http.Header{}}
		c.Apply(r, nil)
		if diff := cmp.Diff(test.header, r.Header); diff != "" || r.URL.String() != test.url || u.String() != test.sink {
			t.Errorf("%s: url %s, sink %s, header %s", test.spec.Type, r.URL, u, diff)
		}
		if got := c.Shown(test.sink); got != test.shown {
			t.Errorf("%s is shown as %s", test.spec.Type, got)
		}
		if c.Source() != nil {
			t.Errorf("%s has a source", test.spec.Type)
		}
	}
	if _, err := New(&Spec{Type: "OTHER"}, Deps{}); err == nil {
		t.Error("takes a type that there is not")
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	text := secret.New
	tests := []struct {
		spec     Spec
		in, want string
	}{
		{Spec{Type: "NONE"}, "secret-value", "secret-value"},
		{Spec{Type: "BEARER", AccessToken: text("secret-value")}, "you sent Bearer secret-value, secret-value", "you sent Bearer ••••, ••••"},
		{Spec{Type: "PLAIN", Identifier: "user", Secret: text("secret-value")}, "Basic dXNlcjpzZWNyZXQtdmFsdWU= is secret-value", "Basic •••• is ••••"},
		{Spec{Type: "APIKEY", In: "query", Name: "k", Value: text("secret value")}, "/?k=secret%20value secret value", "/?k=•••• ••••"},
		{Spec{Type: "APIKEY", In: "header", Name: "k", Value: text("ok")}, "ok", "ok"}, // too short to mean anything
	}
	for _, test := range tests {
		c, err := New(&test.spec, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Redact(test.in, nil); got != test.want {
			t.Errorf("%s: %q", test.spec.Type, got)
		}
	}
	if got := (&Credential{}).Redact("got fetched-token", &Token{text: "fetched-token"}); got != "got ••••" {
		t.Errorf("%q", got)
	}
}

// What can be printed of a credential has no secret.
func TestPrintsNoSecret(t *testing.T) {
	t.Parallel()
	spec := clientSpec("https://auth.example/token")
	if all := fmt.Sprintf("%v %+v %#v", spec, *spec, *spec); strings.Contains(all, "canary") {
		t.Error(all)
	}
}

func BenchmarkApply(b *testing.B) {
	text := secret.New
	u := parse(b, "https://partner.example/hook?a=b")
	specs := map[string]Spec{
		"APIKEY header": {Type: "APIKEY", In: "header", Name: "x-api-key", Value: text("0123456789abcdef")},
		"APIKEY query":  {Type: "APIKEY", In: "query", Name: "key", Value: text("0123456789abcdef")},
		"PLAIN":         {Type: "PLAIN", Identifier: "user", Secret: text("0123456789abcdef")},
		"BEARER":        {Type: "BEARER", AccessToken: text("0123456789abcdef")},
		"TOKENSERVER":   *clientSpec(newTokenServer(b, gives("3600")).url),
	}
	for name, spec := range specs {
		b.Run(name, func(b *testing.B) {
			c, err := New(&spec, Deps{Client: client(b), Store: newMemory(), Key: testKey})
			if err != nil {
				b.Fatal(err)
			}
			h := make(http.Header, 6)
			b.ReportAllocs()
			for b.Loop() {
				r := &egress.Request{URL: u, Header: h}
				var t *Token
				if s := c.Source(); s != nil {
					if t, err = s.Token(b.Context(), 0); err != nil {
						b.Fatal(err)
					}
				}
				c.Apply(r, t)
			}
		})
	}
}
