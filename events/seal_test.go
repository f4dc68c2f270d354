package events

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/vault"
)

func newVault(t testing.TB, keys ...secret.Text) *vault.Vault {
	t.Helper()
	v, err := vault.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// withSecrets is a subscription with every secret there is.
func withSecrets(tenant, id string) *Subscription {
	s := signed("https://a.example", testSecret)
	s.Tenant, s.ID = tenant, id
	s.ProtocolSettings.TLS = &TLS{ClientCert: "a certificate"}
	s.SinkCredential = &Credential{Type: "PLAIN", Identifier: "somebody"}
	for _, f := range s.secrets() {
		*f.text = secret.New("planted at " + f.pointer)
	}
	return s
}

func TestSealEncrypts(t *testing.T) {
	t.Parallel()
	v, s := newVault(t, vault.NewKey()), withSecrets("acme", "a")
	text, err := Seal(s, 5, v)
	if err != nil || strings.Contains(string(text), "planted") || strings.Count(string(text), "v1.") != len(s.secrets()) {
		t.Fatalf("%s, %v", text, err)
	}
	o := Opener{Sealer: v}
	back, note, err := o.Open(text)
	if err != nil || o.Locked() != nil || o.Stale() || string(note) != "5" {
		t.Fatal(err, o.Locked(), o.Stale(), string(note))
	}
	if diff := cmp.Diff(s, back, showSecrets); diff != "" {
		t.Error(diff)
	}
}

// withParameters is a subscription whose token server is told more.
func withParameters() *Subscription {
	s := signed("https://a.example", testSecret)
	s.Tenant, s.ID = "acme", "a"
	s.SinkCredential = &Credential{
		Type: CredentialTokenServer, GrantType: GrantClientCredentials, TokenEndpoint: "https://auth.example", ClientID: "c", ClientSecret: secret.New("planted too"),
		Parameters: secret.Texts{
			{Name: "blank"}, {Name: strings.Repeat("long", 60) + "1", Text: secret.New("planted 1")},
			{Name: strings.Repeat("long", 60) + "2", Text: secret.New("planted 2")}, {Name: "~x/y", Text: secret.New("planted 3")},
		},
	}
	return s
}

func TestSealEncryptsParameters(t *testing.T) {
	t.Parallel()
	v, s := newVault(t, vault.NewKey()), withParameters()
	o := Opener{Sealer: v}
	for range 2 {
		text, err := Seal(s, nil, v)
		if err != nil || strings.Contains(string(text), "planted") || strings.Count(string(text), "v1.") != 5 {
			t.Fatalf("%s, %v", text, err)
		}
		back, _, err := o.Open(text)
		if err != nil || o.Locked() != nil || o.Stale() {
			t.Fatal(err, o.Locked(), o.Stale())
		}
		if diff := cmp.Diff(s, back, showSecrets); diff != "" {
			t.Error(diff)
		}
	}
	if shown := encoded(t, s); strings.Contains(shown, "planted") || strings.Count(shown, `"••••"`) != 4 {
		t.Errorf("shown %s", shown)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := encodeJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Earlier releases stored parameters in the clear: they open, and are to be stored anew.
func TestParametersInTheClear(t *testing.T) {
	t.Parallel()
	v := newVault(t, vault.NewKey())
	const credential = `{"credentialtype":"TOKENSERVER","granttype":"client_credentials","tokenendpoint":"https://auth.example","clientid":"c","parameters":{"audience":"x","blank":""}}`
	opened := func(sealer Sealer) (*Opener, secret.Texts) {
		o := &Opener{Sealer: sealer}
		s, _, err := o.Open([]byte(`{"subscription":{"id":"a","tenant":"b","sink":"https://a.example","config":{},"protocolsettings":{},"sinkcredential":` +
			credential + `},"secrets":{"/sinkcredential/clientsecret":"y"}}`))
		if err != nil || o.Locked() != nil {
			t.Fatal(err, o.Locked())
		}
		return o, s.SinkCredential.Parameters
	}
	want := secret.Texts{{Name: "audience", Text: secret.New("x")}, {Name: "blank"}}
	if o, got := opened(v); !slices.Equal(got, want) || !o.Stale() {
		t.Errorf("%d parameters, stale: %v", len(got), o.Stale())
	}
	if o, got := opened(nil); !slices.Equal(got, want) || o.Stale() {
		t.Errorf("without keys: %d parameters, stale: %v", len(got), o.Stale())
	}
	o := Opener{Sealer: v}
	source, _, err := o.OpenSource([]byte(`{"source":{"id":"a","tenant":"b","url":"https://a.example/${key}","every":"5m","concurrency":1,"credential":` + credential + `},"secrets":{"/credential/clientsecret":"y"}}`))
	if err != nil || !slices.Equal(source.Credential.Parameters, want) || !o.Stale() {
		t.Fatal(source, err, o.Stale())
	}
	text, err := SealSource(source, nil, v)
	if err != nil || strings.Contains(string(text), `"x"`) {
		t.Errorf("%s, %v", text, err)
	}
	if back, _, err := o.OpenSource(text); err != nil || !slices.Equal(back.Credential.Parameters, want) || o.Stale() {
		t.Error(back, err, o.Stale())
	}
}

// Parameters that do not open are not lost by a change that says nothing of them.
func TestLockedParameters(t *testing.T) {
	t.Parallel()
	text, err := Seal(withParameters(), nil, newVault(t, vault.NewKey()))
	if err != nil {
		t.Fatal(err)
	}
	var o Opener
	if _, _, err := o.Open(text); err != nil || len(o.Locked().Pointers) != 5 {
		t.Fatal(err, o.Locked())
	}
	for name, test := range map[string]struct {
		change func(c *Credential)
		faults int
	}{
		"left out":     {func(c *Credential) { c.Parameters = nil }, 3},
		"none":         {func(c *Credential) { c.Parameters = secret.Texts{} }, 0},
		"one is blank": {func(c *Credential) { c.Parameters = secret.Texts{{Name: "~x/y"}} }, 0},
		"a mask":       {func(c *Credential) { c.Parameters = secret.Texts{{Name: "~x/y", Text: secret.New("••••")}} }, 1},
		"another type": {func(c *Credential) { *c = Credential{Type: CredentialBearer, AccessToken: secret.New("t")} }, 0},
	} {
		s := withParameters()
		test.change(s.SinkCredential)
		faults := 0
		if err := s.Unlocked(o.Locked()); err != nil {
			faults = len(faultsOf(t, err).Faults)
		}
		if faults != test.faults {
			t.Errorf("%s: %d faults, want %d", name, faults, test.faults)
		}
	}
}

// What is stored as it is, or with another key, opens; and is to be stored anew.
func TestStale(t *testing.T) {
	t.Parallel()
	older, newer := vault.NewKey(), vault.NewKey()
	s := withSecrets("acme", "a")
	o := Opener{Sealer: newVault(t, newer, older)}
	for name, sealer := range map[string]Sealer{"plain": nil, "older": newVault(t, older), "newer": newVault(t, newer)} {
		text, err := Seal(s, nil, sealer)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := o.Open(text)
		if err != nil || o.Locked() != nil || o.Stale() != (name != "newer") {
			t.Errorf("%s: stale %v, %v, %v", name, o.Stale(), o.Locked(), err)
		}
		if diff := cmp.Diff(s, back, showSecrets); diff != "" {
			t.Error(name, diff)
		}
	}
	unsigned := defaultSubscription("")
	unsigned.ID, unsigned.Sink = "a", "https://a.example"
	text, err := Seal(unsigned, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.Open(text); err != nil || o.Stale() {
		t.Error("what has no secrets is stale", err)
	}
}

// A secret that does not open leaves the rest readable, and says why.
func TestLocked(t *testing.T) {
	t.Parallel()
	v, s := newVault(t, vault.NewKey()), withSecrets("acme", "a")
	seal := func(s *Subscription) string {
		text, err := Seal(s, nil, v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text := seal(s)
	moved := strings.Replace(seal(withSecrets("other", "a")), `"tenant":"other"`, `"tenant":"acme"`, 1)
	const one, another = "/protocolsettings/signing/secret", "/protocolsettings/tls/clientkey"
	swapped := strings.NewReplacer(one, another, another, one).Replace(text)
	for name, test := range map[string]struct {
		text   string
		sealer Sealer
		want   string
	}{
		"no keys":        {text, nil, "there are no keys"},
		"another key":    {text, newVault(t, vault.NewKey()), "needs the key " + v.KeyID()},
		"of a tenant":    {moved, v, "was changed, or is of another place"},
		"of a member":    {swapped, v, "was changed, or is of another place"},
		"a bit is bent":  {strings.ReplaceAll(text, "v1."+v.KeyID()+".", "v1."+v.KeyID()+".A"), v, "was changed, or is of another place"},
		"another prefix": {strings.ReplaceAll(text, "v1.", "v9."), v, "was changed, or is of another place"},
	} {
		o := Opener{Sealer: test.sealer}
		back, _, err := o.Open([]byte(test.text))
		if err != nil || back == nil || back.ID != "a" || o.Locked() == nil || !strings.Contains(o.Locked().Error(), test.want) {
			t.Errorf("%s: %v, locked: %v", name, err, o.Locked())
		}
		if faults := faultsOf(t, back.Unlocked(o.Locked())).Faults; !slices.ContainsFunc(faults, func(f Fault) bool { return f.Pointer == one }) {
			t.Errorf("%s: %v for %v", name, faults, o.Locked().Pointers)
		}
		if err := s.Unlocked(o.Locked()); err != nil {
			t.Errorf("%s: all are sent, and still %v", name, err)
		}
		if missing, ok := errors.AsType[*vault.MissingKeyError](o.Locked()); ok != (name == "another key") || ok && missing.ID != v.KeyID() {
			t.Errorf("%s: %v", name, o.Locked())
		}
		if _, _, err := o.Open([]byte(seal(nil))); err != nil || o.Locked() != nil {
			t.Errorf("%s: still locked: %v", name, o.Locked())
		}
	}
}
