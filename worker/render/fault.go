package render

import "fmt"

// Fault says that an event does not fit a template: nothing can be sent. It names no values.
type Fault struct {
	Where string // sink, header X-Order, body
	Why   string
}

// Error implements error.
func (f *Fault) Error() string { return f.Where + ": " + f.Why }

func faulty(where, format string, args ...any) error {
	return &Fault{Where: where, Why: fmt.Sprintf(format, args...)}
}
