package main

import (
	"encoding/json"
	"io"
	"testing"
)

// Whatever a file holds, it becomes JSON or an error; and JSON can be shown as YAML and read back.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{"id: a\n---\nid: b", "{\"a\":1}{\"b\":[null]}", "a: &x {b: 1}\nc: {<<: *x}", "a: 2026-01-01", "? 1\n: 2", "a: !!binary x", "\t", "- &a [*a]", "a: 1e400"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := toJSON(text)
		if err != nil {
			return
		}
		for _, doc := range docs {
			if !json.Valid(doc) {
				t.Errorf("not JSON: %s", doc)
			}
			if err := writeYAML(io.Discard, doc); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	})
}
