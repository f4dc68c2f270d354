package events

// Truth is what a filter says of an event. There are three, because a filter may fail at run time, and what failed is
// neither true nor, in a not, false. Of all the lowest counts and of any the highest, in whatever order they are
// evaluated; only True lets an event through (API.md 3.2).
type Truth int8

// The truths, in order.
const (
	False Truth = iota - 1
	Failed
	True
)

// Not is the opposite. The opposite of Failed is Failed.
func (t Truth) Not() Truth { return -t }

func truth(yes bool) Truth {
	if yes {
		return True
	}
	return False
}

// String names it.
func (t Truth) String() string { return [...]string{"false", "failed", "true"}[t+1] }
