package stream

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/hookfleet/hookfleet/auth/credential"
)

// turned seals by turning bytes around, which is enough to see that it is done, and for which place.
type turned struct{}

func (turned) Seal(text []byte, aad string) string {
	return aad + " " + base64.StdEncoding.EncodeToString(text)
}

func (turned) Open(sealed, aad string) ([]byte, error) {
	text, ok := bytes.CutPrefix([]byte(sealed), []byte(aad+" "))
	if !ok {
		return nil, errors.New("of another place")
	}
	return base64.StdEncoding.DecodeString(string(text))
}

func TestTokens(t *testing.T) {
	t.Parallel()
	js := setup(t).js
	for name, sealer := range map[string]Sealer{"plain": nil, "sealed": turned{}} {
		tokens := NewTokens(js, sealer)
		if text, revision, err := tokens.Load(t.Context(), name); text != nil || revision != 0 || err != nil {
			t.Fatalf("%s: %q %d %v", name, text, revision, err)
		}
		first, err := tokens.Save(t.Context(), name, []byte("canary"), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, revision := range []uint64{0, first + 100} {
			if _, err := tokens.Save(t.Context(), name, []byte("x"), revision); !errors.Is(err, credential.ErrConflict) {
				t.Errorf("%s: over %d: %v", name, revision, err)
			}
		}
		second, err := tokens.Save(t.Context(), name, []byte("canary 2"), first)
		if err != nil {
			t.Fatal(err)
		}
		if text, revision, err := tokens.Load(t.Context(), name); string(text) != "canary 2" || revision != second || err != nil {
			t.Errorf("%s: %q %d %v", name, text, revision, err)
		}
		kv, err := js.KeyValue(t.Context(), BucketTokens)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := kv.Get(t.Context(), name)
		if err != nil || bytes.Contains(entry.Value(), []byte("canary")) == (sealer != nil) {
			t.Errorf("%s: stored is %q, %v", name, entry.Value(), err)
		}
	}
	// What was stored for another place, or before there was a sealer, is nothing, and can be replaced.
	sealed := NewTokens(js, turned{})
	text, revision, err := sealed.Load(t.Context(), "plain")
	if text != nil || revision == 0 || err != nil {
		t.Errorf("%q %d %v", text, revision, err)
	}
	if _, err := sealed.Save(t.Context(), "plain", []byte("x"), revision); err != nil {
		t.Error(err)
	}
	if err := sealed.Forget(t.Context(), "plain"); err != nil {
		t.Fatal(err)
	}
	if text, revision, err := sealed.Load(t.Context(), "plain"); text != nil || revision != 0 || err != nil {
		t.Errorf("after it was forgotten: %q %d %v", text, revision, err)
	}
	if _, err := sealed.Save(t.Context(), "plain", []byte("x"), 0); err != nil {
		t.Error(err)
	}
}
