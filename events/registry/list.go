package registry

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// List returns the newest subscriptions of a tenant ("" = all) after the cursor ("" = from the start), at most limit,
// and the cursor of the next page; "" when there is none. A cursor that IsCursor refuses reads as "".
func (r *Registry) List(tenant, after string, limit int) (page []*Entry, next string) {
	from, some := parseCursor(after)
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := r.order.of[tenant]
	if some {
		i, _ := slices.BinarySearchFunc(all, from, func(it *item, p position) int { return comparePositions(it.position(), p) })
		all = all[:i]
	}
	for _, it := range slices.Backward(all) {
		if len(page) == limit {
			return page, next
		}
		page = append(page, &it.Entry)
		next = it.position().String()
	}
	return page, ""
}

// IsCursor reports whether s is a cursor of List.
func IsCursor(s string) bool {
	_, ok := parseCursor(s)
	return ok
}

// position is an item's place in lists. It stays what it is when the subscription changes or goes.
type position struct {
	created int64 // nanoseconds
	id      string
}

func (it *item) position() position { return position{it.CreatedAt.UnixNano(), it.id} }

func comparePositions(a, b position) int {
	return cmp.Or(cmp.Compare(a.created, b.created), strings.Compare(a.id, b.id))
}

func compareItems(a, b *item) int { return comparePositions(a.position(), b.position()) }

func (p position) String() string { return strconv.FormatInt(p.created, 36) + "." + p.id }

func parseCursor(s string) (position, bool) {
	created, id, ok := strings.Cut(s, ".")
	at, err := strconv.ParseInt(created, 36, 64)
	if !ok || err != nil || !events.IsID(id) {
		return position{}, false
	}
	return position{at, id}, true
}

// order holds the subscriptions by age, the oldest first: those of each tenant, and all under "". A new one is appended;
// one that goes moves what is behind it, 800 KB at most for 100,000.
type order struct {
	of     map[string][]*item
	sorted bool // false while the bucket is read the first time: then sort makes it at once
}

// sort makes the order, the first time.
func (o *order) sort(items map[string]*item) {
	if o.sorted {
		return
	}
	o.sorted, o.of = true, make(map[string][]*item)
	for _, it := range items {
		if it.live() {
			o.of[""] = append(o.of[""], it)
		}
	}
	slices.SortFunc(o.of[""], compareItems)
	for _, it := range o.of[""] {
		o.of[it.Subscription.Tenant] = append(o.of[it.Subscription.Tenant], it)
	}
}

func (o *order) add(it *item) {
	if !o.sorted || !it.live() {
		return
	}
	for _, tenant := range [...]string{"", it.Subscription.Tenant} {
		list := o.of[tenant]
		i := len(list)
		if i > 0 && compareItems(list[i-1], it) > 0 {
			i, _ = slices.BinarySearchFunc(list, it, compareItems)
		}
		o.of[tenant] = slices.Insert(list, i, it)
	}
}

func (o *order) remove(it *item) {
	if !o.sorted || !it.live() {
		return
	}
	for _, tenant := range [...]string{"", it.Subscription.Tenant} {
		list := o.of[tenant]
		if i, found := slices.BinarySearchFunc(list, it, compareItems); found {
			list = slices.Delete(list, i, i+1)
		}
		if o.of[tenant] = list; len(list) == 0 {
			delete(o.of, tenant)
		}
	}
}
