package render

import "fmt"

// Error says that an event does not fit a template: nothing can be sent. It names no values.
type Error struct {
	Where string // sink, header X-Order, body
	Why   string
}

// Error implements error.
func (f *Error) Error() string { return f.Where + ": " + f.Why }

func faulty(where, format string, args ...any) error {
	return &Error{Where: where, Why: fmt.Sprintf(format, args...)}
}
