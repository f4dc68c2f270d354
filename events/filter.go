package events

// Filter is one condition on an event: exactly one member is set. The zero value holds for every event.
type Filter struct {
	Exact  Conditions `json:"exact,omitempty"`
	Prefix Conditions `json:"prefix,omitempty"`
	Suffix Conditions `json:"suffix,omitempty"`
	All    []Filter   `json:"all,omitempty"`
	Any    []Filter   `json:"any,omitempty"`
	Not    *Filter    `json:"not,omitempty"`
}

// Conditions are attributes and what to compare them with, sorted by name; all must hold. In JSON they are an object.
// A slice, not a map: a subscription's filters are held in memory by the hundred thousand.
type Conditions []Condition

// Condition is one attribute and what it is compared with, case-sensitively and in canonical string form.
type Condition struct{ Name, Value string }

// Match reports whether the filter holds for e (SU-4). An attribute that e does not have makes its condition false;
// data is not accessible. It allocates nothing.
func (f *Filter) Match(e *Event) bool { panic("not yet") }
