package events

import (
	"cmp"
	"encoding/base64"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// The private key of the first test of RFC 8032.
const testPrivateKey = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="

// pointersOf reads a subscription with this member, and returns where its faults are, in order; nil when it is taken.
func pointersOf(t *testing.T, member string) []string {
	t.Helper()
	_, err := DecodeSubscription([]byte(`{"sink":"https://a.example",`+member+`}`), "", SinkPolicy{})
	if err == nil {
		return nil
	}
	var at []string
	for _, f := range faultsOf(t, err).Faults {
		at = append(at, f.Pointer)
	}
	return at
}

func TestDecodeSigning(t *testing.T) {
	t.Parallel()
	seed := strings.TrimPrefix(testPrivateKey, "whsk_")
	long := "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 64))
	const at = "/protocolsettings/signing"
	tests := map[string]string{
		`{}`:                   "",
		`{"scheme":"ed25519"}`: "",
		`{"scheme":"hmac"}`:    "",
		`{"scheme":"standardwebhooks","secret":"` + testSecret + `"}`:                                                            "",
		`{"scheme":"ed25519","secret":"` + testPrivateKey + `","publickey":"whpk_x","previousuntil":"2026-01-01T00:00:00.000Z"}`: "",
		`{"scheme":"hmac","secret":"s","header":"X-Hub-Signature-256","hash":"sha512","encoding":"base64","prefix":"sha256="}`:   "",
		`{"secret":"s","scheme":"hmac"}`:                                                            "",
		`{"scheme":"hmac","header":"authorization","prefix":"HMAC "}`:                               "",
		`{"scheme":"ed25519","secret":"` + testSecret + `"}`:                                        "/secret",
		`{"scheme":"ed25519","secret":"` + seed + `"}`:                                              "/secret",
		`{"scheme":"ed25519","secret":"` + long + `"}`:                                              "/secret",
		`{"scheme":"standardwebhooks","secret":"` + testPrivateKey + `"}`:                           "/secret",
		`{"scheme":"hmac","secret":""}`:                                                             "/secret",
		`{"scheme":"hmac","secret":"s\n"}`:                                                          "/secret",
		`{"scheme":"hmac","secret":"` + strings.Repeat("s", 4097) + `"}`:                            "/secret",
		`{"scheme":"HMAC","secret":"s","header":"x-sig"}`:                                           "/scheme",
		`{"scheme":5,"secret":"` + testSecret + `"}`:                                                "/scheme",
		`{"header":"x-sig","hash":"sha256","encoding":"hex","prefix":""}`:                           "/header /hash /encoding /prefix",
		`{"scheme":"ed25519","header":"x-sig"}`:                                                     "/header",
		`{"scheme":"hmac","hash":"md5","encoding":"base64url","prefix":" a","x":1}`:                 "/hash /encoding /prefix /x",
		`{"scheme":"hmac","header":"webhook-signature","prefix":"` + strings.Repeat("a", 65) + `"}`: "/header /prefix",
		`{"scheme":"hmac","header":""}`:                                                             "/header",
		`{"scheme":"hmac","header":"x sig"}`:                                                        "/header",
		`{"scheme":"hmac","header":"Host"}`:                                                         "/header",
		`{"scheme":"hmac","header":"Content-Type"}`:                                                 "/header",
		`{"scheme":"hmac","header":"Transfer-Encoding"}`:                                            "/header",
		`{"scheme":"hmac","header":"ce-sig"}`:                                                       "/header",
		`{"scheme":"hmac","header":"Proxy-Authorization"}`:                                          "/header",
		`{"scheme":"hmac","header":"` + strings.Repeat("a", 65) + `"}`:                              "/header",
		`[]`: "/",
	}
	for text, pointers := range tests {
		t.Run(text[:min(len(text), 60)], func(t *testing.T) {
			t.Parallel()
			var want []string
			for p := range strings.FieldsSeq(pointers) {
				want = append(want, strings.TrimSuffix(at+p, "/"))
			}
			if diff := gocmp.Diff(want, pointersOf(t, `"protocolsettings":{"signing":`+text+`}`)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeSigningDefaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Signing{
		`{"scheme":"hmac"}`:                  {Scheme: "hmac", Header: "x-partner-signature", Hash: "sha256", Encoding: "hex"},
		`{"scheme":"hmac","header":"X-Sig"}`: {Scheme: "hmac", Header: "X-Sig", Hash: "sha256", Encoding: "hex"},
		`{"scheme":"ed25519"}`:               {Scheme: "ed25519"},
	} {
		s := decode(t, `{"sink":"https://a.example","protocolsettings":{"signing":`+text+`}}`)
		if diff := gocmp.Diff(&want, s.ProtocolSettings.Signing, showSecrets); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// A signature is in a header of its own.
func TestCheckSigning(t *testing.T) {
	t.Parallel()
	const signing = `"protocolsettings":{"signing":{"scheme":"hmac","header":"X-Sig"}`
	for member, want := range map[string]string{
		signing + `,"headers":{"other":"a","x-sig-before":"a"}}`:                                                                                   "",
		signing + `,"headers":{"x-sig":"a"}}`:                                                                                                      "/protocolsettings/headers/x-sig",
		signing + `,"headers":{"X-Sig-Previous":"a"}}`:                                                                                             "/protocolsettings/headers/X-Sig-Previous",
		signing + `},"sinkcredential":{"credentialtype":"APIKEY","name":"other","value":"a"}`:                                                      "",
		signing + `},"sinkcredential":{"credentialtype":"APIKEY","in":"query","name":"x-sig","value":"a"}`:                                         "",
		signing + `},"sinkcredential":{"credentialtype":"APIKEY","name":"x-sig","value":"a"}`:                                                      "/protocolsettings/signing/header",
		`"protocolsettings":{"signing":{"scheme":"hmac","header":"authorization"}},"sinkcredential":{"credentialtype":"BEARER","accesstoken":"a"}`: "/protocolsettings/signing/header",
		`"protocolsettings":{"signing":{}},"sinkcredential":{"credentialtype":"BEARER","accesstoken":"a"}`:                                         "",
	} {
		if got := strings.Join(pointersOf(t, member), " "); got != want {
			t.Errorf("%s: %s, want %s", member, got, want)
		}
	}
}

func TestMakeSecretsOfSchemes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, scheme := range schemes {
		for range 3 {
			s := signed("https://a.example", "")
			sg := s.ProtocolSettings.Signing
			sg.Scheme = scheme
			if !s.MakeSecrets() {
				t.Fatal("made none")
			}
			text := sg.Secret.Reveal()
			if wrong := sg.wrongSecret(text); wrong != "" || seen[text] || len(text) < 40 {
				t.Errorf("%s: %q %s", scheme, text, wrong)
			}
			seen[text] = true
		}
	}
}

// With the scheme, the secret changes: what was for the other is neither kept nor, as a mask, taken.
func TestKeepSecretsOfAnotherScheme(t *testing.T) {
	t.Parallel()
	old, s := signed("https://a.example", testSecret), signed("https://a.example", "")
	s.ProtocolSettings.Signing.Scheme = SchemeHMAC
	if err := s.KeepSecrets(old); err != nil || !s.ProtocolSettings.Signing.Secret.IsZero() {
		t.Errorf("%v, %s", err, s.ProtocolSettings.Signing.Secret.Reveal())
	}
	s.ProtocolSettings.Signing.Secret = secret.New(cmp.Or(old.ProtocolSettings.Signing.Secret.Mask(), "none"))
	if got := faultsOf(t, s.KeepSecrets(old)); got.Faults[0].Pointer != "/protocolsettings/signing/secret" {
		t.Error(got)
	}
}
