package keys_test

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookfleet/hookfleet/auth/keys"
)

func TestGenerate(t *testing.T) {
	t.Parallel()
	form, idForm := regexp.MustCompile(`^hf_[0-9A-Za-z]{49}$`), regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	seen := map[string]bool{}
	for range 1000 {
		id, text := keys.Generate()
		if !form.MatchString(text.Reveal()) || !idForm.MatchString(id) || !keys.WellFormed(text.Reveal()) {
			t.Fatalf("id %s, text %s", id, text.Reveal())
		}
		if seen[id] || seen[text.Reveal()] {
			t.Fatal("twice the same")
		}
		seen[id], seen[text.Reveal()] = true, true
	}
}

func TestWellFormedTellsChanges(t *testing.T) {
	t.Parallel()
	_, made := keys.Generate()
	text := made.Reveal()
	for _, bad := range []string{"", "hf_", text[:len(text)-1], text + "0", "xx_" + text[3:], "HF_" + text[3:], " " + text} {
		if keys.WellFormed(bad) {
			t.Errorf("%q passes", bad)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(text)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "by")
		if keys.WellFormed(string(b)) {
			t.Fatalf("%q passes as %q", b, text)
		}
	})
}
