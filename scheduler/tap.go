package scheduler

import (
	"sync/atomic"

	"github.com/hookfleet/hookfleet/events"
)

// Tap takes what this process stores of events straight to the index of statuses, which else reads them from the broker,
// parses them once more, and pays ten times as much for it. The zero value is ready; while this process keeps no index,
// what is offered is passed over. It is safe for concurrent use.
type Tap struct {
	to atomic.Pointer[intake]
}

// Offer says that events are stored, the first at a sequence and the others behind it. It waits for nothing, and keeps
// nothing of them but copies.
func (t *Tap) Offer(first uint64, evts []*events.Event) {
	if in := t.to.Load(); in != nil {
		in.offer(first, evts)
	}
}
