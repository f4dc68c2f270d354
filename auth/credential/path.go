package credential

import (
	"fmt"
	"strconv"
	"strings"
)

// path is where something is in a JSON value: names and indexes, such as data.tokens[0].value.
type path []step

type step struct {
	name  string
	index int // when name is ""
}

func parsePath(text string) (p path, err error) {
	for segment := range strings.SplitSeq(text, ".") {
		name, rest, found := strings.Cut(segment, "[")
		if name == "" {
			return nil, fmt.Errorf("path %q has an empty name", text)
		}
		p = append(p, step{name: name})
		for found {
			var index string
			index, rest, found = strings.Cut(rest, "]")
			n, err := strconv.ParseUint(index, 10, 16)
			if err != nil || !found {
				return nil, fmt.Errorf("path %q has a wrong index", text)
			}
			p = append(p, step{index: int(n)})
			if rest == "" {
				break
			}
			if rest, found = strings.CutPrefix(rest, "["); !found {
				return nil, fmt.Errorf("path %q has a wrong index", text)
			}
		}
	}
	return p, nil
}

// in is the value at the path; nil when there is none.
func (p path) in(v any) any {
	for _, s := range p {
		switch at := v.(type) {
		case map[string]any:
			if s.name == "" {
				return nil
			}
			v = at[s.name]
		case []any:
			if s.name != "" || s.index >= len(at) {
				return nil
			}
			v = at[s.index]
		default:
			return nil
		}
	}
	return v
}
