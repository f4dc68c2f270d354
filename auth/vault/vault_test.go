package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/auth/secret"
)

func open(t testing.TB, keys ...secret.Text) *Vault {
	t.Helper()
	v, err := New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The published vectors of XAES-256-GCM (c2sp.org/XAES-256-GCM): one for each value of the mask's top bit.
func TestVectors(t *testing.T) {
	t.Parallel()
	const nonce, text = "ABCDEFGHIJKLMNOPQRSTUVWX", "XAES-256-GCM"
	for _, test := range []struct {
		key       byte
		aad, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		k, err := parseKey(secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{test.key}, keySize))))
		if err != nil {
			t.Fatal(err)
		}
		got := k.gcm([]byte(nonce)).Seal(nil, []byte(nonce)[derivedSize:], []byte(text), []byte(test.aad))
		if hex.EncodeToString(got) != test.want {
			t.Errorf("key %d: %x, want %s", test.key, got, test.want)
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	v := open(t, NewKey())
	seen := map[string]bool{}
	for _, text := range []string{"", "a", "whsec_abc", "••••\x00\xff", strings.Repeat("long", 10_000)} {
		sealed := v.Seal([]byte(text), "acme/a")
		if len(text) > 4 && strings.Contains(sealed, text) || seen[sealed] || !v.Current(sealed) || !strings.HasPrefix(sealed, "v1."+v.KeyID()+".") {
			t.Errorf("%.20q is sealed as %.60s", text, sealed)
		}
		seen[sealed] = true
		if again := v.Seal([]byte(text), "acme/a"); seen[again] {
			t.Error("the same twice is the same")
		}
		got, err := v.Open(sealed, "acme/a")
		if err != nil || string(got) != text {
			t.Errorf("%.20q opens as %.20q, %v", text, got, err)
		}
	}
}

// Every bit and every other place counts.
func TestTampered(t *testing.T) {
	t.Parallel()
	v := open(t, NewKey())
	sealed := v.Seal([]byte("whsec_secret"), "acme/a")
	for _, aad := range []string{"", "acme/b", "acme/a ", "other/a"} {
		if got, err := v.Open(sealed, aad); !errors.Is(err, ErrBroken) {
			t.Errorf("opens at %q as %q, %v", aad, got, err)
		}
	}
	head := len("v1.") + idDigits + len(".")
	raw, err := base64.RawURLEncoding.DecodeString(sealed[head:])
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		bent := bytes.Clone(raw)
		bent[i/8] ^= 1 << (i % 8)
		if got, err := v.Open(sealed[:head]+base64.RawURLEncoding.EncodeToString(bent), "acme/a"); !errors.Is(err, ErrBroken) {
			t.Fatalf("bit %d is bent and it opens as %q, %v", i, got, err)
		}
	}
	for n := range len(sealed) {
		if got, err := v.Open(sealed[:n], "acme/a"); err == nil {
			t.Fatalf("the first %d bytes open as %q", n, got)
		}
	}
	for _, text := range []string{"", "v1", "v1.", "v1..", "v2" + sealed[2:], sealed + "A", sealed + ".", sealed + "\n", "whsec_secret"} {
		if got, err := v.Open(text, "acme/a"); !errors.Is(err, ErrBroken) {
			t.Errorf("%q opens as %q, %v", text, got, err)
		}
	}
}

func TestKeysAreChanged(t *testing.T) {
	t.Parallel()
	older, newer := NewKey(), NewKey()
	before, during, after := open(t, older), open(t, newer, older), open(t, newer)
	old := before.Seal([]byte("text"), "a")
	if got, err := during.Open(old, "a"); err != nil || string(got) != "text" || during.Current(old) {
		t.Errorf("with both keys: %q, %v", got, err)
	}
	fresh := during.Seal([]byte("text"), "a")
	if got, err := after.Open(fresh, "a"); err != nil || string(got) != "text" || !after.Current(fresh) {
		t.Errorf("with the new key: %q, %v", got, err)
	}
	_, err := after.Open(old, "a")
	if missing, ok := errors.AsType[*MissingKeyError](err); !ok || missing.ID != before.KeyID() {
		t.Errorf("without the old key: %v", err)
	}
	if _, err = before.Open(fresh, "a"); err == nil || !strings.Contains(err.Error(), during.KeyID()) {
		t.Errorf("without the new key: %v", err)
	}
}

func TestKeyForms(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{0xfb, 0xff, 0x01, 0x3e}, 8)
	want := open(t, secret.New(hex.EncodeToString(raw))).KeyID()
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw),
		base64.RawURLEncoding.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), " " + hex.EncodeToString(raw) + "\n",
	} {
		if v, err := New([]secret.Text{secret.New(text)}); err != nil || v.KeyID() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	good := NewKey()
	for _, keys := range [][]string{
		nil, {""}, {"password"}, {strings.Repeat("k", 32)}, {base64.StdEncoding.EncodeToString(raw[:31])}, {base64.StdEncoding.EncodeToString(append(raw, 0))},
		{hex.EncodeToString(raw[:16])}, {good.Reveal(), good.Reveal()}, {good.Reveal(), "hunter2"}, make([]string, maxKeys+1),
	} {
		texts := make([]secret.Text, len(keys))
		for i := range keys {
			texts[i] = secret.New(keys[i])
		}
		_, err := New(texts)
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), good.Reveal()) {
			t.Errorf("%d keys: %v", len(keys), err)
		}
	}
	if _, err := New([]secret.Text{good, secret.New("x"), secret.New("y")}); err == nil || !strings.Contains(err.Error(), "key 2") || !strings.Contains(err.Error(), "key 3") {
		t.Errorf("not all faults at once: %v", err)
	}
}

// Whatever is stored ends in a text or in an error.
func FuzzOpen(f *testing.F) {
	v, err := New([]secret.Text{secret.New(strings.Repeat("ab", keySize))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(v.Seal([]byte("text"), "a"), "a")
	f.Add("v1."+v.KeyID()+".", "")
	f.Add("v1.000000000000.AAAA", "")
	f.Fuzz(func(t *testing.T, sealed, aad string) {
		text, err := v.Open(sealed, aad)
		if err == nil && string(text) != "text" {
			t.Errorf("%q opens as %q", sealed, text)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	v, text := open(b, NewKey()), []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	b.ReportAllocs()
	for b.Loop() {
		v.Seal(text, "hookfleet_subscriptions acme a /protocolsettings/signing/secret")
	}
}

func BenchmarkOpen(b *testing.B) {
	const aad = "hookfleet_subscriptions acme a /protocolsettings/signing/secret"
	v := open(b, NewKey())
	sealed := v.Seal([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), aad)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Open(sealed, aad); err != nil {
			b.Fatal(err)
		}
	}
}
