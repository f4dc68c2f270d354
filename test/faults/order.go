package faults

import (
	"fmt"
	"slices"
)

// CheckOrder compares what came for each key with the order in which it was accepted, and names what came out of it: a
// request for an event while an earlier one of its key had not been taken yet, or after a later one.
func (l *Ledger) CheckOrder() (faults []string, requests int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := make(map[string]*Accepted, len(l.accepted))
	lines := map[string]*line{}
	for i := range l.accepted {
		a := &l.accepted[i]
		if a.Key == "" {
			continue
		}
		known[a.ID] = a
		if lines[a.Key] == nil {
			lines[a.Key] = &line{key: a.Key}
		}
		lines[a.Key].order = append(lines[a.Key].order, a.Sequence)
	}
	for _, l := range lines {
		slices.Sort(l.order)
	}
	for i := range l.received {
		r := &l.received[i]
		a := known[r.ID]
		if a == nil {
			continue
		}
		requests++
		if fault := lines[a.Key].take(a.Sequence, r); fault != "" {
			faults = append(faults, fault)
		}
	}
	return faults, requests
}

// line is what is to come for a key, in order.
type line struct {
	key   string
	order []uint64 // sequences
	next  int      // the first that was not taken
}

func (l *line) take(sequence uint64, r *Received) (fault string) {
	at, _ := slices.BinarySearch(l.order, sequence)
	switch {
	case at > l.next:
		return fmt.Sprintf("%s: event %d came at %v before %d was taken", l.key, sequence, r.At, l.order[l.next])
	case at < l.next-1:
		return fmt.Sprintf("%s: event %d came at %v again after %d was taken", l.key, sequence, r.At, l.order[l.next-1])
	}
	if r.OK() && at == l.next {
		l.next++
	}
	return ""
}
