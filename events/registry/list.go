package registry

import (
	"cmp"
	"container/heap"
	"slices"
	"strconv"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// List returns the newest subscriptions of a tenant ("" = all) after the cursor ("" = from the start), at most limit,
// and the cursor of the next page; "" when there is none. A cursor that IsCursor refuses reads as "".
func (r *Registry) List(tenant, after string, limit int) (page []*Entry, next string) {
	from, _ := parseCursor(after)
	oldest := oldestFirst{}
	r.mu.RLock()
	for _, it := range r.items {
		if !it.live() || tenant != "" && it.Subscription.Tenant != tenant || from != nil && !newer(from, placeOf(&it.Entry)) {
			continue
		}
		// One more than wanted tells whether there is a next page.
		switch {
		case len(oldest) <= limit:
			heap.Push(&oldest, &it.Entry)
		case newer(placeOf(&it.Entry), placeOf(oldest[0])):
			oldest[0] = &it.Entry
			heap.Fix(&oldest, 0)
		}
	}
	r.mu.RUnlock()
	page = oldest
	slices.SortFunc(page, func(a, b *Entry) int { return compare(placeOf(b), placeOf(a)) })
	if len(page) > limit {
		page = page[:limit]
		if limit > 0 {
			next = placeOf(page[limit-1]).String()
		}
	}
	return page, next
}

// IsCursor reports whether s is a cursor of List.
func IsCursor(s string) bool {
	_, ok := parseCursor(s)
	return ok
}

// position is an entry's place in the list. It stays what it is when the entry changes or goes.
type position struct {
	created int64 // nanoseconds
	id      string
}

func placeOf(e *Entry) *position { return &position{e.CreatedAt.UnixNano(), e.Subscription.ID} }

func compare(a, b *position) int {
	return cmp.Or(cmp.Compare(a.created, b.created), strings.Compare(a.id, b.id))
}

func newer(a, b *position) bool { return compare(a, b) > 0 }

func (p *position) String() string { return strconv.FormatInt(p.created, 36) + "." + p.id }

func parseCursor(s string) (*position, bool) {
	created, id, ok := strings.Cut(s, ".")
	at, err := strconv.ParseInt(created, 36, 64)
	if !ok || err != nil || !events.IsID(id) {
		return nil, false
	}
	return &position{at, id}, true
}

// oldestFirst is a heap whose first is the oldest, the one to drop.
type oldestFirst []*Entry

func (h oldestFirst) Len() int           { return len(h) }
func (h oldestFirst) Less(i, j int) bool { return compare(placeOf(h[i]), placeOf(h[j])) < 0 }
func (h oldestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *oldestFirst) Push(e any) { *h = append(*h, e.(*Entry)) }

// Pop implements heap.Interface.
func (h *oldestFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
