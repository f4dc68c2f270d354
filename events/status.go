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
	if e.kind != DataJSON || !bytes.Contains(e.data, statusName) && !bytes.Contains(e.data, anyEscape) {
		return "", false
	}
	data := rawJSON(trimSpace(e.data))
	if data.kind() != jsonObject {
		return "", false
	}
	var member rawJSON
	for name, value := range data.members() { // no tree of it: this is asked of every event, for nothing else of its data
		if string(name) == "status" {
			member = value
		}
	}
	if member == nil {
		return "", false
	}
	switch member.kind() {
	case jsonString:
		status = member.text()
	case jsonNumber, jsonBool:
		status = string(member)
	default:
	}
	return status, status != ""
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
