package guide

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Snippet is a piece of code of a guide that is meant to be run.
type Snippet struct {
	Name string   // of the file, whose ending says what it is
	NPM  []string // packages that it needs
	Code string
}

// marked is a comment that names a snippet, and the block that follows it.
var marked = regexp.MustCompile("(?ms)^<!-- run: (\\S+)(?: npm: ([^>]*?))? -->\n```(\\w+)\n(.*?)^```$")

// block is the beginning of any block of a language that could be run.
var block = regexp.MustCompile("(?m)^```(sh|go|js|python)$")

// Read gives the snippets of a guide by name. A block that could be run and is not marked is an error: it would rot.
func Read(path string) (map[string]Snippet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := map[string]Snippet{}
	for _, m := range marked.FindAllStringSubmatch(string(text), -1) {
		if _, twice := all[m[1]]; twice {
			return nil, fmt.Errorf("%s: two snippets are called %s", path, m[1])
		}
		all[m[1]] = Snippet{Name: m[1], NPM: strings.Fields(m[2]), Code: m[4]}
	}
	if n := len(block.FindAllString(string(text), -1)); n != len(all) {
		return nil, fmt.Errorf("%s: %d blocks of code, and %d are named by a comment", path, n, len(all))
	}
	return all, nil
}
