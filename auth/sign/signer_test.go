package sign_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/sign"
)

func signer(t testing.TB, s sign.Settings) *sign.Signer {
	t.Helper()
	g, err := sign.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func signed(g *sign.Signer, at time.Time, body string) http.Header {
	h := http.Header{}
	g.Sign(h, vectorID, at, []byte(body))
	return h
}

// seed of the first test of RFC 8032, 7.1, with its public key.
const (
	seedKey   = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	otherKey  = "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs="
	publicKey = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

func private64(t testing.TB) string {
	t.Helper()
	seed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(seedKey, "whsk_"))
	if err != nil {
		t.Fatal(err)
	}
	return "whsk_" + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed))
}

func TestSignerStandardWebhooks(t *testing.T) {
	t.Parallel()
	g := signer(t, sign.Settings{Scheme: sign.StandardWebhooks, Secret: secret.New(vectorSecret)})
	want := http.Header{"Webhook-Signature": {vectorSignature}}
	if diff := cmp.Diff(want, signed(g, time.Unix(vectorTime, 999), vectorBody)); diff != "" {
		t.Error(diff)
	}
}

// SW-5: what is signed is what v1 signs.
func TestSignerEd25519(t *testing.T) {
	t.Parallel()
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(publicKey, "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{seedKey, private64(t)} {
		if got, err := sign.PublicKey(secret.New(key)); err != nil || got != publicKey {
			t.Errorf("public key %s, %v", got, err)
		}
		g := signer(t, sign.Settings{Scheme: sign.Ed25519, Secret: secret.New(key)})
		for _, body := range []string{"", vectorBody, strings.Repeat("x", 200<<10)} {
			value, ok := strings.CutPrefix(signed(g, time.Unix(vectorTime, 0), body).Get("Webhook-Signature"), "v1a,")
			got, err := base64.StdEncoding.DecodeString(value)
			text := fmt.Sprintf("%s.%d.%s", vectorID, vectorTime, body)
			if !ok || err != nil || !ed25519.Verify(public, []byte(text), got) {
				t.Errorf("%d bytes: signature %q does not verify", len(body), value)
			}
		}
	}
}

// What a receiver has checks what is signed, each scheme its own.
func TestVerifiers(t *testing.T) {
	t.Parallel()
	now := time.Unix(vectorTime, 0)
	verifier := func(text string) sign.Verifier {
		v, err := sign.ParseVerifier(secret.New(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	of := func(s sign.Settings) http.Header {
		h := signed(signer(t, s), now, vectorBody)
		h.Set(sign.HeaderID, vectorID)
		h.Set(sign.HeaderTimestamp, fmt.Sprint(vectorTime))
		return h
	}
	symmetric := of(sign.Settings{Scheme: sign.StandardWebhooks, Secret: secret.New(vectorSecret)})
	asymmetric := of(sign.Settings{Scheme: sign.Ed25519, Secret: secret.New(seedKey), Previous: secret.New(otherKey), Until: now.Add(1)})
	for text, want := range map[string]struct{ v1, v1a error }{vectorSecret: {nil, sign.ErrSignature}, publicKey: {sign.ErrSignature, nil}} {
		v := verifier(text)
		if got := v.Verify(symmetric, []byte(vectorBody), now); !errors.Is(got, want.v1) {
			t.Errorf("%s: v1: %v", text, got)
		}
		if got := v.Verify(asymmetric, []byte(vectorBody), now); !errors.Is(got, want.v1a) {
			t.Errorf("%s: v1a: %v", text, got)
		}
		if got := v.Verify(asymmetric, []byte(vectorBody+" "), now); !errors.Is(got, sign.ErrSignature) {
			t.Errorf("%s: another body: %v", text, got)
		}
		if got := v.Verify(asymmetric, []byte(vectorBody), now.Add(time.Hour)); !errors.Is(got, sign.ErrTooOld) {
			t.Errorf("%s: an hour later: %v", text, got)
		}
	}
	before, err := sign.PublicKey(secret.New(otherKey))
	if err != nil || verifier(before).Verify(asymmetric, []byte(vectorBody), now) != nil {
		t.Errorf("the key before a rotation does not verify: %v", err)
	}
	for _, text := range []string{"", "whpk_", "whpk_AAAA", "whpk_*", seedKey} {
		if _, err := sign.ParseVerifier(secret.New(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestEd25519Keys(t *testing.T) {
	t.Parallel()
	other := bytes.Repeat([]byte{7}, 64)
	for name, text := range map[string]string{
		"none": "", "no prefix": seedKey[5:], "secret of v1": vectorSecret, "short": "whsk_AAAA", "not base64": "whsk_*", "line end": seedKey + "\n",
		"public half of another key": "whsk_" + base64.StdEncoding.EncodeToString(other), "cut": seedKey[:len(seedKey)-4],
	} {
		_, err := sign.New(sign.Settings{Scheme: sign.Ed25519, Secret: secret.New(text)})
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if len(text) > 8 && strings.Contains(err.Error(), text[5:]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

// The first value is that of GitHub's documentation, the last that of openssl dgst -sha512 -hmac.
func TestSignerHMAC(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		s    sign.Settings
		body string
		want http.Header
	}{
		"GitHub": {
			sign.Settings{Secret: secret.New("It's a Secret to Everybody"), Header: "x-hub-signature-256", Hash: "sha256", Encoding: "hex", Prefix: "sha256="},
			"Hello, World!",
			http.Header{"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}},
		},
		"defaults": {
			sign.Settings{Secret: secret.New("It's a Secret to Everybody"), Header: "X-Sig"}, "Hello, World!",
			http.Header{"X-Sig": {"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}},
		},
		"sha512 in base64": {
			sign.Settings{Secret: secret.New("key"), Header: "x-sig", Hash: "sha512", Encoding: "base64"}, "The quick brown fox jumps over the lazy dog",
			http.Header{"X-Sig": {"tCrwkFe6weLUFwjkipAuCbX/fxKrQopP6GZTxz3SSPuC+UilSfe3kaW0GRXuTR7Dk1NX5OIxclDQNyr6Lr7rOg=="}},
		},
	} {
		tt.s.Scheme = sign.HMAC
		got := signed(signer(t, tt.s), time.Unix(vectorTime, 0), tt.body)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, s := range []sign.Settings{
		{Secret: secret.New("a")}, {Header: "x"}, {Secret: secret.New("a"), Header: "x", Hash: "md5"}, {Secret: secret.New("a"), Header: "x", Encoding: "utf-8"},
	} {
		s.Scheme = sign.HMAC
		if _, err := sign.New(s); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	if _, err := sign.New(sign.Settings{Scheme: "rsa", Secret: secret.New("a")}); err == nil {
		t.Error("an unknown scheme is taken")
	}
}

// SW-6: while it counts, the secret before signs too, behind the new one.
func TestRotation(t *testing.T) {
	t.Parallel()
	until := time.Unix(vectorTime, 500e6)
	newSecret := sign.NewSecret()
	both := signer(t, sign.Settings{Scheme: sign.StandardWebhooks, Secret: newSecret, Previous: secret.New(vectorSecret), Until: until})
	alone := signer(t, sign.Settings{Scheme: sign.StandardWebhooks, Secret: newSecret})
	during, after := signed(both, time.Unix(vectorTime, 0), vectorBody), signed(both, until, vectorBody)
	mine := signed(alone, until, vectorBody).Get(sign.HeaderSignature)
	if got := during.Get(sign.HeaderSignature); got != mine+" "+vectorSignature {
		t.Errorf("during the overlap: %s", got)
	}
	if got := after.Get(sign.HeaderSignature); got != mine {
		t.Errorf("after it: %s", got)
	}
	for _, text := range []string{newSecret.Reveal(), vectorSecret} {
		theirs, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		g := signer(t, sign.Settings{Scheme: sign.StandardWebhooks, Secret: newSecret, Previous: secret.New(vectorSecret), Until: now.Add(time.Hour)})
		h := signed(g, now, vectorBody)
		h.Set(sign.HeaderID, vectorID)
		h.Set(sign.HeaderTimestamp, fmt.Sprint(now.Unix()))
		if err := theirs.Verify([]byte(vectorBody), h); err != nil {
			t.Errorf("the library refuses it: %v", err)
		}
	}
	if _, err := sign.New(sign.Settings{Scheme: sign.StandardWebhooks, Secret: newSecret, Previous: secret.New("x")}); err == nil {
		t.Error("a broken secret before is taken")
	}
}

// The header of an HMAC is compared as a whole, so it never has a second value: the secret before signs in a header of its own.
func TestRotationHMAC(t *testing.T) {
	t.Parallel()
	until := time.Unix(vectorTime, 0)
	s := sign.Settings{Scheme: sign.HMAC, Secret: secret.New("new"), Header: "x-sig", Prefix: "v="}
	now := signed(signer(t, s), until, vectorBody).Get("X-Sig")
	s.Secret = secret.New("old")
	old := signed(signer(t, s), until, vectorBody).Get("X-Sig")
	s.Secret, s.Previous, s.Until = secret.New("new"), secret.New("old"), until
	g := signer(t, s)
	if diff := cmp.Diff(http.Header{"X-Sig": {now}, "X-Sig-Previous": {old}}, signed(g, until.Add(-1), vectorBody)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(http.Header{"X-Sig": {now}}, signed(g, until, vectorBody)); diff != "" {
		t.Error(diff)
	}
}

func TestSignerConcurrentUse(t *testing.T) {
	t.Parallel()
	for _, s := range []sign.Settings{
		{Scheme: sign.StandardWebhooks, Secret: secret.New(vectorSecret)},
		{Scheme: sign.Ed25519, Secret: secret.New(seedKey)},
		{Scheme: sign.HMAC, Secret: secret.New("a"), Header: "x"},
	} {
		s.Previous, s.Until = s.Secret, time.Unix(vectorTime+1, 0)
		g := signer(t, s)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				body := strings.Repeat("x", 100*i)
				want := signed(signer(t, s), time.Unix(vectorTime, 0), body)
				for range 100 {
					if diff := cmp.Diff(want, signed(g, time.Unix(vectorTime, 0), body)); diff != "" {
						t.Error(s.Scheme, diff)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func BenchmarkSigner(b *testing.B) {
	body := make([]byte, 1024)
	for _, s := range []sign.Settings{
		{Scheme: sign.StandardWebhooks, Secret: secret.New(vectorSecret)},
		{Scheme: sign.Ed25519, Secret: secret.New(seedKey)},
		{Scheme: sign.HMAC, Secret: secret.New("a"), Header: "x-sig", Prefix: "sha256="},
		{Scheme: sign.HMAC, Secret: secret.New("a"), Header: "x-sig", Hash: "sha512", Encoding: "base64"},
	} {
		for _, overlap := range []bool{false, true} {
			name := s.Scheme + s.Hash
			if overlap {
				s.Previous, s.Until = s.Secret, time.Unix(vectorTime+1, 0)
				name += "/overlap"
			}
			g := signer(b, s)
			b.Run(name, func(b *testing.B) {
				h := make(http.Header, 4)
				b.ReportAllocs()
				for b.Loop() {
					g.Sign(h, vectorID, time.Unix(vectorTime, 0), body)
				}
			})
		}
	}
}
