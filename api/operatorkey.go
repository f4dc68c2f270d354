package api

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/auth/secret"
)

// operatorKeyFile is where the operator's key is, in the data directory.
const operatorKeyFile = "operator.key"

// OperatorKey is the key that may do everything, and where it came from.
type OperatorKey struct {
	Text secret.Text
	Path string // the file it is in; "" when the environment set it
	Made bool   // this start made it
}

// EnsureOperatorKey returns the operator's key: env when it is set, else the one in dir, which the first start makes
// there (readable by the owner only).
func EnsureOperatorKey(dir string, env secret.Text) (OperatorKey, error) {
	if !env.IsZero() {
		return OperatorKey{Text: env}, nil
	}
	path := filepath.Join(dir, operatorKeyFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeOperatorKey(dir, path)
	case err != nil:
		return OperatorKey{}, fmt.Errorf("read the operator key: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return OperatorKey{}, fmt.Errorf("the operator key file %s is empty: delete it to have a new one made", path)
	}
	return OperatorKey{Text: secret.New(text), Path: path}, nil
}

func makeOperatorKey(dir, path string) (OperatorKey, error) {
	_, text := keys.Generate()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return OperatorKey{}, fmt.Errorf("make the data directory: %w", err)
	}
	if err := writeDurably(dir, path, text.Reveal()+"\n"); err != nil {
		return OperatorKey{}, fmt.Errorf("write the operator key: %w", err)
	}
	return OperatorKey{Text: text, Path: path, Made: true}, nil
}

// writeDurably writes a file that is there whole or not at all.
func writeDurably(dir, path, text string) error {
	f, err := os.CreateTemp(dir, ".operator-*") // made with 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
