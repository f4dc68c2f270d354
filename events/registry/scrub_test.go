package registry

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// After a secret that was stored in the clear is encrypted it was still in the broker's files, where its record had been.
func TestSecretsOfBeforeAreNotLeftInTheFiles(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"one": 1, "many": 300, "more than a file": 6000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if n > 1000 && testing.Short() {
				t.Skip("it stores 30 MB")
			}
			scrubbed(t, n)
		})
	}
}

func scrubbed(t *testing.T, n int) {
	dir := t.TempDir()
	_, js := natstest.Connect(t, natstest.Server(t, dir))
	topology(t, js)
	bucketFleet(t, js)
	plain, stop := run(t, js)
	etags := map[string]uint64{}
	for i := range n {
		id := fmt.Sprintf("sub-%d", i)
		etags[id] = put(t, plain, signed(t, id, `,"description":"`+strings.Repeat("x", 900)+`"`)).Revision
	}
	put(t, plain, toType(t, "unsigned", "order"))
	put(t, plain, toType(t, "deleted", "order"))
	if err := plain.Delete(t.Context(), "deleted", 0); err != nil {
		t.Fatal(err)
	}
	stop()
	if found := filesWith(t, dir, planted); found == nil {
		t.Fatal("the secret is in no file before: the search is blind")
	}
	watching, stopWatching := runWith(t, js, keysOf(t, vault.NewKey())) // it has another key, and sees all that is written
	defer stopWatching()
	keys := keysOf(t, vault.NewKey())
	r, stop := runWith(t, js, keys)
	if _, err := r.CreateSource(t.Context(), source("a", "acme", "opensesame")); err != nil {
		t.Fatal(err)
	}
	for {
		done, err := r.Reseal(t.Context(), 2000)
		if err != nil {
			t.Fatal(err)
		}
		if done.Left == 0 {
			break
		}
	}
	natstest.Eventually(t, patience, func() bool { return filesWith(t, dir, planted) == nil })
	stop()
	r, stop = runWith(t, js, keys)
	defer stop()
	for id, etag := range etags {
		e, ok := r.Lookup(id)
		if !ok || e.Revision != etag || e.Subscription.ProtocolSettings.Signing.Secret.Reveal() != planted {
			t.Fatalf("%s is %+v", id, e)
		}
	}
	if _, ok := r.Lookup("unsigned"); !ok {
		t.Error("what has no secret is gone")
	}
	if _, ok := r.Source("a"); !ok {
		t.Error("the source is gone")
	}
	for _, one := range []*Registry{r, watching} {
		if all, _ := one.List("", "", n+10); len(all) != n+1 {
			t.Errorf("%d subscriptions are listed, want %d", len(all), n+1)
		}
		if broken := one.Broken(); len(broken) != 0 {
			t.Errorf("records that cannot be read: %v", broken)
		}
	}
}

// filesWith are the files below dir that have text in them.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // the broker removed it meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if bytes.Contains(b, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
