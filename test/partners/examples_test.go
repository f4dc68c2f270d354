package partners_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
)

const examplesDir = "../../deploy/examples/"

// TestExamplesApply: a fleet with the default settings takes every file of every example as it is, twice.
func TestExamplesApply(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	for system := range systems {
		files, err := filepath.Glob(examplesDir + system + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no examples: %v", system, err)
		}
		slices.SortFunc(files, sourcesFirst)
		for _, done := range []string{"created", "updated"} {
			var args []string
			for _, file := range files {
				path, err := filepath.Abs(file)
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, "-f", path)
			}
			docs, err := partners.Examples(system)
			if err != nil {
				t.Fatal(err)
			}
			r := s.CLI(t, "", append([]string{"subscription", "apply"}, args...)...)
			for id := range docs {
				r.Says(t, 0, "/"+id+" "+done)
			}
		}
	}
}

// sourcesFirst puts a source before the subscriptions that name it.
func sourcesFirst(a, b string) int {
	return strings.Compare(strings.Replace(a, "source", " source", 1), strings.Replace(b, "source", " source", 1))
}

// TestEveryRowIsTested: what the READMEs promise is what the tests hold, row by row.
func TestEveryRowIsTested(t *testing.T) {
	t.Parallel()
	for system, rows := range systems {
		text, err := os.ReadFile(examplesDir + system + "/README.md")
		if err != nil {
			t.Fatal(err)
		}
		promised := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z]\d+b?) \|`).FindAllStringSubmatch(string(text), -1) {
			promised[m[1]] = true
			if rows[m[1]] == nil {
				t.Errorf("%s: row %s has no test", system, m[1])
			}
		}
		for name := range rows {
			if !promised[name] {
				t.Errorf("%s: the README has no row %s", system, name)
			}
		}
	}
}
