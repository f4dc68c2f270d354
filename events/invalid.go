package events

import "strings"

// Fault is one thing that is wrong with an input.
type Fault struct {
	Pointer string `json:"pointer"` // JSON pointer, or the name of the header or query parameter
	Detail  string `json:"detail"`  // what is wrong, for people
}

// Invalid is the error of an input that is refused. It names all faults at once.
type Invalid struct {
	Status int    // HTTP status: 400 not parseable, 413 too large, 415 media type, 422 parseable but invalid
	Code   string // stable machine code in snake case
	Faults []Fault
}

// Error joins the faults into one line.
func (e *Invalid) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	for i, f := range e.Faults {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		if f.Pointer != "" {
			b.WriteString(f.Pointer + " ")
		}
		b.WriteString(f.Detail)
	}
	return b.String()
}
