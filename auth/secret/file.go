package secret

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteFile makes a file with t as its one line, readable by its owner only. It is there whole or not at all, also after
// a power cut.
func WriteFile(path string, t Text) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // made with 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(t.text + "\n")
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
