package events

import (
	"slices"
	"unsafe"
)

// Detached returns an equal event that holds no memory of others: those of a batch all hold the text of the whole batch.
func (e *Event) Detached() *Event {
	one := new(struct {
		Event
		room [usualRoom]Attribute
	})
	d := &one.Event
	d.kind, d.owner = e.kind, e.owner
	d.id, d.source, d.typ, d.subject, d.tenant, d.contentType, d.time = e.id, e.source, e.typ, e.subject, e.tenant, e.contentType, e.time
	d.attrs = append(one.room[:0], e.attrs...)
	d.text = slices.Clone(e.text)
	if at, ok := within(e.data, e.text); ok {
		d.data = d.text[at : at+len(e.data) : at+len(e.data)]
	} else {
		d.data = slices.Clone(e.data)
	}
	return d
}

// within reports whether part lies in the memory of whole, and where.
func within(part, whole []byte) (at int, ok bool) {
	if len(part) == 0 || len(whole) == 0 {
		return 0, false
	}
	from, to := uintptr(unsafe.Pointer(unsafe.SliceData(whole))), uintptr(unsafe.Pointer(unsafe.SliceData(part))) //nolint:gosec // compared, not followed
	if to < from || to-from+uintptr(len(part)) > uintptr(len(whole)) {
		return 0, false
	}
	return int(to - from), true
}
