package partners

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hookfleet/hookfleet/deploy/examples"
)

// Settings are the members of an example, to be used with other addresses and shorter times.
type Settings map[string]any

// Examples are the documents of deploy/examples/<system>, by their ids.
func Examples(system string) (map[string]Settings, error) {
	files, err := examples.Files.ReadDir(system)
	if err != nil {
		return nil, err
	}
	docs := map[string]Settings{}
	for _, f := range files {
		text, err := examples.Files.ReadFile(system + "/" + f.Name())
		if err != nil {
			return nil, err
		}
		for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
			doc := Settings{}
			if err := d.Decode(&doc); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name(), err)
			}
			id, ok := doc["id"].(string)
			if !ok {
				return nil, fmt.Errorf("%s: a document without an id", f.Name())
			}
			docs[id] = doc
		}
	}
	return docs, nil
}

// Set changes the member at a path, a.b.c; nil takes it away. What is not there on the way is made.
func (s Settings) Set(path string, value any) Settings {
	names := strings.Split(path, ".")
	at := s
	for _, name := range names[:len(names)-1] {
		inner, ok := at[name].(Settings)
		if !ok {
			inner = Settings{}
			at[name] = inner
		}
		at = inner
	}
	last := names[len(names)-1]
	if value == nil {
		delete(at, last)
	} else {
		at[last] = value
	}
	return s
}
