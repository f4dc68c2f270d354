package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "secrets.key")
	if _, err := ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	made, err := MakeFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("made with mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	read, err := ReadFile(path)
	if err != nil || read.KeyID() != made.KeyID() {
		t.Errorf("read %v, %v", read, err)
	}
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := NewKey()
	for text, want := range map[string]string{
		"# the new one\n" + newer.Reveal() + "\r\n\n  " + string(older): open(t, newer).KeyID(),
		"":                                   "0 keys",
		"# " + string(older):                 "0 keys",
		string(older) + "hunter2":            "key 2 is not 32 bytes",
		string(older) + "\n" + string(older): "key 2 is there twice",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := ReadFile(path)
		switch {
		case err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%q: %v, want %s", text, err, want)
		case err == nil && v.KeyID() != want:
			t.Errorf("%q seals with %s, want %s", text, v.KeyID(), want)
		}
	}
	if _, err := MakeFile(filepath.Join(dir, "no", "such", "file")); err == nil {
		t.Error("made where there is no directory")
	}
}
