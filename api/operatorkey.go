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
	if err := secret.WriteFile(path, text); err != nil {
		return OperatorKey{}, fmt.Errorf("write the operator key: %w", err)
	}
	return OperatorKey{Text: text, Path: path, Made: true}, nil
}
