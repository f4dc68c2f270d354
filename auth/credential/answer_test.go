package credential

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	base := Spec{Type: typeTokenServer, TokenPath: "access_token", ExpiresPath: "expires_in"}
	with := func(change func(*Spec)) Spec {
		s := base
		change(&s)
		return s
	}
	user := func(s *Spec) {
		s.GrantType, s.Username, s.Password, s.UsernameField, s.PasswordField = "password", "ü&", secret.New("p="), "username", "password"
	}
	tests := map[string]struct {
		spec          Spec
		body          string
		authorization string
	}{
		"client": {
			with(func(s *Spec) {
				s.GrantType, s.ClientID, s.ClientSecret, s.AuthStyle = "client_credentials", "a b", secret.New("c:d"), "header"
			}),
			"grant_type=client_credentials", "Basic YStiOmMlM0Fk", // a+b:c%3Ad
		},
		"client, params": {
			with(func(s *Spec) {
				s.GrantType, s.ClientID, s.ClientSecret, s.AuthStyle = "client_credentials", "a b", secret.New("c:d"), "params"
				s.Scopes, s.Parameters = []string{"x", "y:z"}, secret.Texts{{Name: "audience", Text: secret.New("https://x/")}}
			}),
			"audience=https%3A%2F%2Fx%2F&client_id=a+b&client_secret=c%3Ad&grant_type=client_credentials&scope=x+y%3Az", "",
		},
		"password":                {with(user), "grant_type=password&password=p%3D&username=%C3%BC%26", ""},
		"password, public client": {with(func(s *Spec) { user(s); s.ClientID = "c" }), "client_id=c&grant_type=password&password=p%3D&username=%C3%BC%26", ""},
		"password, other names": {
			with(func(s *Spec) {
				user(s)
				s.UsernameField, s.PasswordField, s.ClientID, s.ClientSecret = "login", "pin", "c", secret.New("s")
			}),
			"grant_type=password&login=%C3%BC%26&pin=p%3D", "Basic Yzpz",
		},
		"json": {
			with(func(s *Spec) {
				user(s)
				s.GrantType, s.UsernameField, s.Parameters = "json", "user", secret.Texts{{Name: "<realm>", Text: secret.New("a\"b")}}
			}),
			`{"<realm>":"a\"b","password":"p=","user":"ü&"}`, "",
		},
	}
	for name, test := range tests {
		server := newTokenServer(t, gives("60"))
		test.spec.TokenEndpoint = server.url + "?x=1"
		token(t, source(t, &test.spec, newMemory()))
		got := server.got[0]
		contentType := "application/x-www-form-urlencoded"
		if test.spec.GrantType == "json" {
			contentType = "application/json"
		}
		if server.bodies[0] != test.body || got.Header.Get("Authorization") != test.authorization || got.Method != "POST" ||
			got.Header.Get("Content-Type") != contentType || got.Header.Get("Accept") != "application/json" || got.URL.RawQuery != "x=1" {
			t.Errorf("%s: %s %s %v %s", name, got.Method, got.URL, got.Header, server.bodies[0])
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	long := strings.Repeat("x", maxTokenBytes+1)
	tests := []struct {
		status int
		body   string
		want   string // token and life, or outcome
	}{
		{200, `{"access_token":"t","token_type":"bearer","expires_in":3600}`, "t 1h0m0s"},
		{201, `{"access_token":"t","expires_in":"90"}`, "t 1m30s"},
		{200, `{"access_token":"t","token_type":"BearerToken","expires_in":" 1.5 "}`, "t 1.5s"},
		{200, `{"access_token":"t","token_type":null}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":null}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":0}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":-1}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":1e12}`, "t 24h0m0s"},
		{200, `{"access_token":"t","expires_in":1e400}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":"NaN"}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":"soon"}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":{}}`, "t 0s"},
		{200, `{"access_token":"t","expires_in":"2026-01-01T00:10:00Z"}`, "t 10m0s"},
		{200, `{"access_token":"t","expires_in":"2025-01-01T00:10:00Z"}`, "t 0s"},
		{200, `{"token_type":"bearer"}`, "invalid"},
		{200, `{"access_token":""}`, "invalid"},
		{200, `{"access_token":7}`, "invalid"},
		{200, `{"access_token":"a b"}`, "invalid"},
		{200, `{"access_token":"a\r\nX: y"}`, "invalid"},
		{200, `{"access_token":"é"}`, "invalid"},
		{200, `{"access_token":"` + long + `"}`, "invalid"},
		{200, `{"access_token":"t","token_type":"mac"}`, "invalid"},
		{200, `{"access_token":"t","token_type":5}`, "invalid"},
		{200, `{"access_token":"t"} x`, "invalid"},
		{200, `{"access_token":"t"`, "invalid"},
		{200, `<html>`, "invalid"},
		{204, ``, "invalid"},
		{200, `[]`, "invalid"},
		{302, `{"access_token":"t"}`, "redirect"},
		{400, `{"error":"invalid_client"}`, "rejected invalid_client"},
		{401, `{"error":"canary secret","error_description":"canary"}`, "rejected"},
		{403, `canary`, "rejected"},
		{500, ``, "server_error"},
		{999, ``, "server_error"},
	}
	s := source(t, clientSpec("https://auth.example/"), newMemory())
	for _, test := range tests {
		text, life, err := s.read(&egress.Response{Status: test.status, Header: http.Header{}, Body: []byte(test.body)}, now)
		got := fmt.Sprint(text, " ", life)
		if err != nil {
			got = outcomeOf(err)
			if strings.Contains(err.Error(), "invalid_client") {
				got += " invalid_client"
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: says %v", test.body, err)
			}
		}
		if got != test.want {
			t.Errorf("%d %.60s: %s, want %s", test.status, test.body, got, test.want)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	spec := clientSpec("https://auth.example/")
	spec.GrantType, spec.TokenPath, spec.ExpiresPath = "json", "data.tokens[1][0].value", "data.ttl"
	s := source(t, spec, newMemory())
	text, life, err := s.read(&egress.Response{Status: 200, Body: []byte(
		`{"token_type":"jwt","data":{"ttl":"60","tokens":[{},[{"value":"t"}]]}}`)}, time.Now())
	if text != "t" || life != time.Minute || err != nil {
		t.Errorf("%q %v %v", text, life, err)
	}
	for _, body := range []string{`{}`, `{"data":[]}`, `{"data":{"tokens":{"1":[{"value":"t"}]}}}`, `{"data":{"tokens":[1,[]]}}`, `{"data":{"tokens":[]}}`, `null`} {
		if _, _, err := s.read(&egress.Response{Status: 200, Body: []byte(body)}, time.Now()); err == nil {
			t.Errorf("%s has a token", body)
		}
	}
	for text, want := range map[string]path{
		"a": {{name: "a"}}, "a.b": {{name: "a"}, {name: "b"}}, "a[0]": {{name: "a"}, {}}, "a[12][3].b": {{name: "a"}, {index: 12}, {index: 3}, {name: "b"}},
		"": nil, ".": nil, "a.": nil, "[0]": nil, "a[": nil, "a[]": nil, "a[x]": nil, "a[0": nil, "a[0]b": nil, "a[-1]": nil, "a[99999]": nil,
	} {
		p, err := parsePath(text)
		if diff := cmp.Diff(want, p, cmp.AllowUnexported(step{})); (err == nil) != (want != nil) || err == nil && diff != "" {
			t.Errorf("%q: %v %v", text, p, err)
		}
	}
}

// Whatever a server answers, what is taken can be a header's value, and what is not has no part of the answer.
func FuzzRead(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"t","token_type":"bearer","expires_in":3600}`), "access_token")
	f.Add(200, []byte(`{"data":[{"t":"x"}]}`), "data[0].t")
	f.Add(400, []byte(`{"error":"invalid_client"}`), "a")
	f.Fuzz(func(t *testing.T, status int, body []byte, at string) {
		p, err := parsePath(at)
		if err != nil {
			return
		}
		s := &Source{spec: &Spec{GrantType: grantPassword}, token: p, expires: path{{name: "expires_in"}}}
		text, life, err := s.read(&egress.Response{Status: status, Body: body}, time.Now())
		switch {
		case err != nil && len(err.Error()) > 100:
			t.Errorf("says %s", err)
		case err == nil && (text == "" || strings.ContainsAny(text, "\r\n \x00") || life < 0 || life > maxLife):
			t.Errorf("%q %v", text, life)
		}
	})
}
