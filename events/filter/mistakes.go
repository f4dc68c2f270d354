package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// mistakes are what is wrong with an expression.
type mistakes []string

// maxMistakes is how many of one expression are told: those that follow are mostly the first one's.
const maxMistakes = 3

// add adds one that is at a line from 1 and a column from 0; a line below 1 is not known.
func (m *mistakes) add(line, column int, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if line > 0 {
		what += fmt.Sprintf(" at line %d, column %d", line, column+1)
	}
	if len(*m) < maxMistakes {
		*m = append(*m, what)
	}
}

// err is all of them in one line; nil when there is none.
func (m *mistakes) err() error {
	if len(*m) == 0 {
		return nil
	}
	return errors.New(strings.Join(*m, "; "))
}

// maxMessage bounds what is said of one expression: it may quote the expression.
const maxMessage = 500

// oneLine is a message without line breaks and other control characters, cut.
func oneLine(message string) string {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, message)
}

// syntaxError says in our words what the parsers of both languages say with the names of their tokens.
func syntaxError(message string) string {
	message, _, _ = strings.Cut(message, " expecting ")
	for _, prefix := range []string{"mismatched input ", "extraneous input ", "no viable alternative at input ", "token recognition error at: "} {
		if what, ok := strings.CutPrefix(message, prefix); ok {
			message = "unexpected " + what
		}
	}
	return strings.ReplaceAll(message, "'<EOF>'", "end")
}
