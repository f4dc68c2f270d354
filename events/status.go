package events

import (
	"bytes"
	"strings"
)

// Status is what the event says of its subject, for look-ups of statuses: the member status of its data. ok is false when
// the event has no subject, its data is not JSON, or that member is missing, empty, null, an object or an array. A number
// or a truth value is taken in its own spelling.
func (e *Event) Status() (status string, ok bool) {
	if e.subject == "" {
		return "", false
	}
	data, ok := e.JSON()
	if !ok {
		return "", false
	}
	member, ok := data.Member("status")
	if !ok {
		return "", false
	}
	switch member.Kind() {
	case ValueString, ValueNumber, ValueBool:
		status = member.Text()
		return status, status != ""
	default:
		return "", false
	}
}

var (
	statusName  = []byte(`"status"`)
	subjectName = []byte(`"subject"`)
	anyEscape   = []byte(`\u`) // the only way to write a letter of a name as something else
)

// MayHaveStatus reports whether a stored message may hold an event with a Status: it is a look at the bytes alone, at some
// dozens of nanoseconds for each KiB, so that all other events need not be read.
func MayHaveStatus(header map[string][]string, payload []byte) bool {
	if !bytes.Contains(payload, statusName) && !bytes.Contains(payload, anyEscape) {
		return false
	}
	for name := range header {
		if strings.EqualFold(name, "ce-subject") {
			return true
		}
	}
	return bytes.Contains(payload, subjectName) || bytes.Contains(payload, anyEscape)
}
