package vault

import (
	"fmt"
	"os"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// ReadFile reads the keys of a file, one a line, the first of which seals. Empty lines and those that begin with # are
// skipped. A file that is not there is an fs.ErrNotExist.
func ReadFile(path string) (*Vault, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the secrets' keys: %w", err)
	}
	var keys []secret.Text
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, secret.New(line))
		}
	}
	v, err := New(keys)
	if err != nil {
		return nil, fmt.Errorf("secrets' keys in %s: %w", path, err)
	}
	return v, nil
}

// MakeFile makes a file with a new key, readable by its owner only.
func MakeFile(path string) (*Vault, error) {
	key := NewKey()
	if err := secret.WriteFile(path, key); err != nil {
		return nil, fmt.Errorf("write the secrets' key: %w", err)
	}
	return New([]secret.Text{key})
}
