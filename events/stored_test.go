package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestStored(t *testing.T) {
	t.Parallel()
	var o Opener
	for range 2 { // as it is read, and as it is remembered
		for _, s := range []*Subscription{decode(t, full), signed("https://a.example", testSecret), signed("https://a.example", "whsec_other")} {
			st, err := Seal(s)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(st)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), `"filters":[{"exact"`) && s.Filters != nil {
				t.Errorf("%s", text)
			}
			var read Stored
			if err := json.Unmarshal(text, &read); err != nil {
				t.Fatal(err)
			}
			back, err := o.Open(read)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s, back, showSecrets); diff != "" {
				t.Error(diff)
			}
		}
	}
	if len(o.configs) != 2 || len(o.settings) != 1 {
		t.Errorf("remembers %d configs and %d settings", len(o.configs), len(o.settings))
	}
}

func TestStoredBroken(t *testing.T) {
	t.Parallel()
	const good = `"id":"a","tenant":"b","sink":"https://a.example"`
	for _, text := range []string{
		`{}`, `{"subscription":null}`, `{"subscription":{"id":"a"}}`, `{"subscription":{"tenant":"b","sink":"https://a.example"}}`,
		`{"subscription":{` + good + `}}`, `{"subscription":{` + good + `,"config":{}}}`,
		`{"subscription":{` + good + `,"config":{"timeout":1},"protocolsettings":{}}}`,
		`{"subscription":{` + good + `,"config":{},"protocolsettings":{"signing":{"secret":"••••"}}}}`,
	} {
		var st Stored
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			t.Fatal(err)
		}
		if s, err := new(Opener).Open(st); err == nil {
			t.Errorf("%s: %v", text, s)
		}
	}
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
