package events

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
)

func decodeSource(t *testing.T, text string) *StatusSource {
	t.Helper()
	s, err := DecodeSource([]byte(text), "", SinkPolicy{PlainHTTP: true})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestDecodeSource(t *testing.T) {
	t.Parallel()
	got := decodeSource(t, `{"url":"https://internal.example/orders/${key}","type":"order.status"}`)
	want := &StatusSource{
		Tenant: "default", URL: "https://internal.example/orders/${key}", Type: "order.status", Every: Duration(5 * time.Minute),
		Status: "status", Initial: "Booked", Concurrency: 64, Timeout: Duration(15 * time.Second),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	got = decodeSource(t, `{"id":"orders","tenant":"acme","url":"http://internal.example/?id=${key}&k=${key}","type":"t","every":"10s","status":"data.orders[0].status",
		"initial":"New","terminal":["Ended","Cancelled"],"concurrency":500,"timeout":"1s","lastpoll":{"at":"x"},
		"credential":{"credentialtype":"APIKEY","name":"X-Key","value":"opensesame"}}`)
	want = &StatusSource{
		ID: "orders", Tenant: "acme", URL: "http://internal.example/?id=${key}&k=${key}", Type: "t", Every: Duration(10 * time.Second),
		Status: "data.orders[0].status", Initial: "New", Terminal: []string{"Ended", "Cancelled"}, Concurrency: 500, Timeout: Duration(time.Second),
		Credential: &Credential{Type: CredentialAPIKey, In: InHeader, Name: "X-Key", Value: secret.New("opensesame")},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() })); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
}

func TestDecodeSourceFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:   "/type /url",
		`[]`:   "",
		`null`: "",
		`{"url":"https://a.example/","type":"t"}`:                                                                                        "/url",
		`{"url":"https://a.example/${orderId}","type":"t"}`:                                                                              "/url",
		`{"url":"https://a.example/${key:-x}","type":"t"}`:                                                                               "/url",
		`{"url":"https://a.example/${key?}","type":"t"}`:                                                                                 "/url",
		`{"url":"https://a.example/{key}","type":"t"}`:                                                                                   "/url",
		`{"url":"https://a.example/${key order}","type":"t"}`:                                                                            "/url",
		`{"url":"https://${key}.example/","type":"t"}`:                                                                                   "/url",
		`{"url":"https://u:p@a.example/${key}#x","type":"t"}`:                                                                            "/url /url",
		`{"url":"ftp://a.example/${key}","type":"*"}`:                                                                                    "/type /url",
		`{"url":"https://a.example/${key}","type":"hookfleet.test","sink":"x","Every":"5m"}`:                                             "/Every /sink /type",
		`{"url":"https://a.example/${key}","type":"","every":"1ms","timeout":"6m"}`:                                                      "/every /timeout /type",
		`{"url":"https://a.example/${key}","type":"t","concurrency":0,"status":"a b"}`:                                                   "/concurrency /status",
		`{"url":"https://a.example/${key}","type":"t","status":"","initial":"","terminal":[1]}`:                                          "/initial /status /terminal/0",
		`{"url":"https://a.example/${key}","type":"t","id":"A","tenant":"B"}`:                                                            "/id /tenant",
		`{"url":"https://a.example/${key}","type":"t","credential":{"credentialtype":"TOKENSERVER","tokenendpoint":"http://a.example"}}`: "/credential/clientid /credential/tokenendpoint",
	} {
		_, err := DecodeSource([]byte(text), "", SinkPolicy{})
		invalid, ok := errors.AsType[*Invalid](err)
		if !ok || invalid.Status != 422 || invalid.Code != "invalid_source" {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var at []string
		for _, f := range invalid.Faults {
			at = append(at, f.Pointer)
		}
		slices.Sort(at)
		if got := strings.Join(at, " "); got != want {
			t.Errorf("%s: faults at %s, want %s", text, got, want)
		}
	}
	if _, err := DecodeSource([]byte(`{"url"`), "", SinkPolicy{}); err == nil || !strings.Contains(err.Error(), "invalid_json") {
		t.Errorf("no JSON: %v", err)
	}
}

func TestSourceSecrets(t *testing.T) {
	t.Parallel()
	const head = `{"id":"orders","type":"t","url":"https://a.example/${key}","credential":{"credentialtype":`
	old := decodeSource(t, head+`"BEARER","accesstoken":"opensesame"}}`)
	for text, want := range map[string]string{
		head + `"BEARER"}}`: "",
		head + `"BEARER","accesstoken":"••••"}}`:                             "",
		head + `"BEARER","accesstoken":"another"}}`:                          "",
		head + `"PLAIN","secret":"••••"}}`:                                   "/credential/secret",
		strings.Replace(head, "a.example", "b.example", 1) + `"BEARER"}}`:    "/credential/accesstoken",
		strings.Replace(head, "a.example/", "a.example/x", 1) + `"BEARER"}}`: "",
	} {
		s := decodeSource(t, text)
		err := s.KeepSecrets(old)
		invalid, _ := errors.AsType[*Invalid](err)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (invalid == nil || invalid.Faults[0].Pointer != want):
			t.Errorf("%s: %v, want a fault at %s", text, err, want)
		}
	}
	if err := decodeSource(t, head+`"BEARER"}}`).KeepSecrets(nil); err == nil {
		t.Error("a new source needs no secret")
	}
	text, err := SealSource(old, map[string]int{"n": 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var o Opener
	back, note, err := o.OpenSource(text)
	if err != nil || string(note) != `{"n":1}` || back.Credential.AccessToken.Reveal() != "opensesame" || old.Credential.AccessToken.IsZero() {
		t.Errorf("opened %+v, %s, %v", back, note, err)
	}
}

func TestDecodeItems(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", MaxItemKey)
	for text, want := range map[string]string{
		`{"key":"order-1"}`: "order-1",
		`{"items":[{"key":"a b/ü"},{"key":"` + long + `"}]}`: "a b/ü|" + long,
		`{"items":[]}`: "",
	} {
		keys, err := DecodeItems([]byte(text))
		if err != nil || strings.Join(keys, "|") != want {
			t.Errorf("%s: %v, %v", text, keys, err)
		}
	}
	for text, want := range map[string]string{
		`{}`: "/key", `{"key":""}`: "/key", `{"key":1}`: "/key", `{"key":"a","items":[]}`: "/key", `{"key":"a\n"}`: "/key", `{"keys":["a"]}`: "/keys",
		`{"items":[{}]}`: "/items/0/key", `{"items":[{"key":"a"},{"key":"` + long + `k"}]}`: "/items/1/key", `{"items":["a"]}`: "/items/0",
		`{"items":[` + strings.Repeat(`{"key":"a"},`, MaxItemBatch) + `{"key":"a"}]}`: "/items",
	} {
		_, err := DecodeItems([]byte(text))
		invalid, ok := errors.AsType[*Invalid](err)
		if !ok || invalid.Code != "invalid_item" || invalid.Faults[0].Pointer != want {
			t.Errorf("%.80s: %v, want a fault at %s", text, err, want)
		}
	}
}
