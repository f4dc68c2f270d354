package filter

import (
	"errors"
	"fmt"
	"regexp/syntax"
)

// maxRegexSize bounds the instructions of a pattern.
const maxRegexSize = 500

// regexSize estimates how many instructions a pattern has, without compiling it: a thousand bytes could have a hundred
// thousand.
func regexSize(pattern string) (int, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, fmt.Errorf("the pattern is wrong: %w", err)
	}
	size := instructions(parsed)
	if size > maxRegexSize {
		return 0, errors.New("the pattern is too large")
	}
	return int(size), nil
}

func instructions(re *syntax.Regexp) float64 {
	n := 1 + float64(len(re.Rune))
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= float64(max(re.Min, re.Max, 1))
	}
	return n
}
