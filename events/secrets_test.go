package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookfleet/hookfleet/auth/secret"
)

func signed(sink, text string) *Subscription {
	s := defaultSubscription("")
	s.ID, s.Sink = "a", sink
	s.ProtocolSettings.Signing = &Signing{Scheme: SchemeStandardWebhooks, Secret: secret.New(text)}
	return s
}

func TestKeepSecrets(t *testing.T) {
	t.Parallel()
	const here, other = "https://partner.example/hook", "https://other.example/hook"
	unsigned := signed(here, "")
	unsigned.ProtocolSettings.Signing = nil
	tests := map[string]struct {
		s, old *Subscription
		want   string // the secret, or "refused: " and what for
	}{
		"omitted":                {signed(here, ""), signed(here, testSecret), testSecret},
		"masked":                 {signed(here, secret.New(testSecret).Mask()), signed(here, testSecret), testSecret},
		"short mask":             {signed(here, "••••"), signed(here, testSecret), testSecret},
		"sent anew":              {signed(here, "whsec_new"), signed(here, testSecret), "whsec_new"},
		"new":                    {signed(here, ""), nil, ""},
		"new with a mask":        {signed(here, "••••LaSw"), nil, "refused: is a mask, and there is no secret to keep"},
		"was unsigned":           {signed(here, ""), unsigned, ""},
		"was unsigned, masked":   {signed(here, "••••LaSw"), unsigned, "refused: is a mask, and there is no secret to keep"},
		"same origin":            {signed("https://PARTNER.example.:443/else?x", ""), signed(here, testSecret), testSecret},
		"other origin":           {signed(other, ""), signed(here, testSecret), "refused: must be sent again, because the origin of sink has changed"},
		"other origin, masked":   {signed(other, "••••LaSw"), signed(here, testSecret), "refused: must be sent again, because the origin of sink has changed"},
		"other port":             {signed("https://partner.example:8443/hook", ""), signed(here, testSecret), "refused: must be sent again, because the origin of sink has changed"},
		"other origin and anew":  {signed(other, "whsec_new"), signed(here, testSecret), "whsec_new"},
		"other origin, unsigned": {signed(other, ""), unsigned, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.s.KeepSecrets(test.old)
			got := test.s.ProtocolSettings.Signing.Secret.Reveal()
			if err != nil {
				invalid := faultsOf(t, err)
				if len(invalid.Faults) != 1 || invalid.Status != 422 || invalid.Faults[0].Pointer != "/protocolsettings/signing/secret" {
					t.Errorf("%+v", invalid)
				}
				got = "refused: " + invalid.Faults[0].Detail
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestMakeSecrets(t *testing.T) {
	t.Parallel()
	s, again := signed("https://a.example", ""), signed("https://a.example", "")
	if !s.MakeSecrets() || !again.MakeSecrets() {
		t.Fatal("made none")
	}
	text := s.ProtocolSettings.Signing.Secret.Reveal()
	if wrong := wrongSigningSecret(text); wrong != "" {
		t.Errorf("what is made %s", wrong)
	}
	if text == again.ProtocolSettings.Signing.Secret.Reveal() {
		t.Error("made the same twice")
	}
	if s.MakeSecrets() || s.ProtocolSettings.Signing.Secret.Reveal() != text {
		t.Error("made one over another")
	}
	if defaultSubscription("").MakeSecrets() {
		t.Error("made one for an unsigned subscription")
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	escaped := signed("https://a.example", testSecret)
	escaped.Description, escaped.Types = "a \"b\"\n<é😀>", []string{`a\b`}
	var o Opener
	for range 2 { // as it is read, and as it is remembered
		for _, s := range []*Subscription{
			decode(t, full), signed("https://a.example", testSecret), signed("https://a.example", "whsec_other"), escaped,
		} {
			text, err := Seal(s, map[string]int{"a": 1}, nil)
			if err != nil {
				t.Fatal(err)
			}
			back, note, err := o.Open(text)
			if err != nil || string(note) != `{"a":1}` {
				t.Fatal(string(note), err)
			}
			if diff := cmp.Diff(s, back, showSecrets); diff != "" {
				t.Error(diff)
			}
		}
	}
	if len(o.configs) != 2 || len(o.settings) != 1 {
		t.Errorf("remembers %d configs and %d settings", len(o.configs), len(o.settings))
	}
	text, err := Seal(nil, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, note, err := o.Open(text); s != nil || string(note) != "5" || err != nil {
		t.Error(s, note, err)
	}
}

func TestSealedBroken(t *testing.T) {
	t.Parallel()
	const good, settings = `"id":"a","tenant":"b","sink":"https://a.example"`, `,"config":{},"protocolsettings":{}`
	tests := map[string]bool{
		`{"subscription":{` + good + settings + `}}`:                                                 true,
		` { "subscription" : { "later" : [ 1 , { } ] , ` + good + settings + ` } , "else" : null } `: true,
		``: false, `garbage`: false, `null`: false, `[]`: false, `{} x`: false, `{"subscription":null}`: false, `{"subscription":{}}`: false,
		`{"subscription":{"id":"a"}}`: false, `{"subscription":{"tenant":"b","sink":"https://a.example"` + settings + `}}`: false,
		`{"subscription":{` + good + `}}`: false, `{"subscription":{` + good + `,"config":{}}}`: false,
		`{"subscription":{` + good + `,"config":{"timeout":1},"protocolsettings":{}}}`:                                                   false,
		`{"subscription":{` + good + settings + `,"types":[5]}}`:                                                                         false,
		`{"subscription":{` + good + settings + `,"types":{}}}`:                                                                          false,
		`{"subscription":{` + good + settings + `,"filters":[{"later":"a"}]}}`:                                                           false,
		`{"subscription":{` + good + settings + `,"filters":[{"exact":["a"]}]}}`:                                                         false,
		`{"subscription":{` + good + `,"config":{},"protocolsettings":{"signing":{"secret":"••••"}}}}`:                                   false,
		`{"subscription":{` + good + `,"config":{},"protocolsettings":{"signing":{}}},"secrets":{"/protocolsettings/signing/secret":5}}`: false,
	}
	for text, want := range tests {
		if s, _, err := new(Opener).Open([]byte(text)); (err == nil) != want {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
}

// Whatever is in the store, reading it does not panic, and what is read can be stored and read again.
func FuzzOpen(f *testing.F) {
	for _, s := range []*Subscription{signed("https://a.example", testSecret), {ID: "a", Tenant: "b", Sink: "c", Filters: []Filter{{}}}} {
		text, err := Seal(s, nil, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var o Opener
		s, note, err := o.Open(text)
		if err != nil {
			return
		}
		text, err = Seal(s, note, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := o.Open(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, again, showSecrets, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSubscriptionShowsNoSecret(t *testing.T) {
	t.Parallel()
	s := signed("https://a.example", testSecret)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all := string(text) + fmt.Sprintf("%v %+v %#v %s", s, s.ProtocolSettings.Signing, *s.ProtocolSettings.Signing, s.ProtocolSettings.Signing)
	if strings.Contains(all, testSecret[8:20]) {
		t.Error(all)
	}
}
