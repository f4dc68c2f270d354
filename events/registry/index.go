package registry

import (
	"hash/maphash"
	"math/bits"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
)

// index finds the rules of an event without looking at all of them.
//
// A rule has a shape for each of its types: which things of an event it compares for equality (its type or a prefix of
// it, its source, attributes), and a key: the hash of what it compares them with. A tenant has few shapes, however many
// subscriptions it has. An event makes its own key for each shape and finds the rules in one map, all shapes and
// tenants together; each found rule is then evaluated in full, so that the index only ever has to find enough.
//
// Types that a rule names are made disjoint, so that an event finds a rule at most once.
//
// Its owner's lock guards it.
type index struct {
	seed    maphash.Seed
	next    uint64 // id of the next shape
	tenants map[string]*shapes
	places  map[uint64]*place
	filters *filter.Cache
}

// rule is one version of a subscription in the index.
type rule struct {
	item        *item
	criteria    *events.Subscription // tenant, source, types and filters of the version
	filters     *filter.Set          // nil when there is no expression in them
	from, until uint64
	gone        bool
	laned       bool     // its events are taken by the subscription's lane, not by dispatch
	first       place    // nearly all rules have one place
	more        *[]place // the others; a pointer because hardly any rule has them
}

// place is a rule's entry under one key, in a list of all with the same key.
type place struct {
	rule       *rule
	shape      *shape
	key        uint64
	width      int // length of the affix
	next, prev *place
}

func newIndex() index {
	return index{
		seed: maphash.MakeSeed(), tenants: make(map[string]*shapes), places: make(map[uint64]*place), filters: filter.NewCache(),
	}
}

// add puts an item's rules into the index.
func (x *index) add(it *item) {
	it.link()
	for r := range it.rules {
		r.filters = x.filters.Set(r.criteria.Filters)
		x.addRule(r)
	}
}

// remove takes an item's rules out of the index.
func (x *index) remove(it *item) {
	for r := range it.rules {
		x.removeRule(r)
	}
}

func (x *index) addRule(r *rule) {
	tenant := x.tenants[r.criteria.Tenant]
	if tenant == nil {
		tenant = newShapes()
		x.tenants[r.criteria.Tenant] = tenant
	}
	plan := planOf(r.criteria)
	n := len(plan.types) * len(plan.values)
	if n > 1 {
		r.more = new(make([]place, n-1))
	}
	i := 0
	for _, typ := range plan.types {
		sh := tenant.use(plan.def(typ), &x.next)
		for _, value := range plan.values {
			p := &r.first
			if i > 0 {
				p = &(*r.more)[i-1]
			}
			i++
			*p = place{rule: r, shape: sh, key: plan.key(x.seed, sh, typ, value), width: len(plan.affix.Value)}
			sh.grow(p.width)
			x.insert(p)
		}
	}
}

func (x *index) insert(p *place) {
	p.next = x.places[p.key]
	if p.next != nil {
		p.next.prev = p
	}
	x.places[p.key] = p
}

func (x *index) removeRule(r *rule) {
	tenant := x.tenants[r.criteria.Tenant]
	x.removePlace(tenant, &r.first)
	if r.more != nil {
		for i := range *r.more {
			x.removePlace(tenant, &(*r.more)[i])
		}
	}
	r.more = nil
	if len(tenant.byDef) == 0 {
		delete(x.tenants, r.criteria.Tenant)
	}
}

func (x *index) removePlace(tenant *shapes, p *place) {
	if p.next != nil {
		p.next.prev = p.prev
	}
	switch {
	case p.prev != nil:
		p.prev.next = p.next
	case p.next != nil:
		x.places[p.key] = p.next
	default:
		delete(x.places, p.key)
	}
	p.shape.shrink(p.width)
	if p.shape.places == 0 {
		tenant.drop(p.shape)
	}
	*p = place{}
}

// search is the look-up of one event.
type search struct {
	event    *events.Event
	sequence uint64
	lanes    bool // laned rules count too
	found    []Match
	open     []*rule // those whose filters are still to be evaluated, which may take long
}

// find appends to dst the rules that hold for e at sequence, as far as that can be told at once. What is returned needs
// the lock no more.
func (x *index) find(e *events.Event, sequence uint64, lanes bool, dst []Match) search {
	s := search{event: e, sequence: sequence, lanes: lanes, found: dst}
	tenant := x.tenants[e.Tenant()]
	if tenant == nil {
		return s
	}
	for _, sh := range tenant.plain {
		x.findShape(sh, &s)
	}
	if len(tenant.byName) > 0 {
		for a := range e.Attributes() {
			for _, sh := range tenant.byName[a.Name] {
				x.findShape(sh, &s)
			}
		}
	}
	return s
}

func (x *index) findShape(sh *shape, s *search) {
	key, ok := sh.keyOf(x.seed, s.event)
	if !ok {
		return
	}
	if sh.def.affix == noAffix {
		x.findKey(key, s)
		return
	}
	value, ok := s.event.Attribute(sh.def.affixName)
	for _, w := range sh.widths {
		if !ok || w.width > len(value) {
			break
		}
		part := value[:w.width]
		if sh.def.affix == suffixAffix {
			part = value[len(value)-w.width:]
		}
		x.findKey(mix(key, maphash.String(x.seed, part)), s)
	}
}

func (x *index) findKey(key uint64, s *search) {
	for p := x.places[key]; p != nil; p = p.next {
		r := p.rule
		switch {
		case s.sequence <= r.from || s.sequence > r.until || r.laned && !s.lanes || !r.criteria.Takes(s.event):
		case r.filters != nil:
			s.open = append(s.open, r)
		case events.JudgeAll(r.criteria.Filters, s.event, nil) == events.True:
			s.found = append(s.found, r.match())
		}
	}
}

func (r *rule) match() Match {
	m := Match{ID: r.item.id}
	if !r.gone && r.item.live() {
		m.Entry = &r.item.Entry
	}
	return m
}

// matches evaluates the filters that are open. When it is quiet, those that fail are neither counted nor logged.
func (s *search) matches(quiet bool, log zerolog.Logger) []Match {
	if len(s.open) == 0 {
		return s.found
	}
	evaluation := filter.NewEvaluation(s.event)
	evaluation.Quiet = quiet
	for _, r := range s.open {
		switch truth := r.filters.Judge(evaluation); {
		case truth == events.True:
			s.found = append(s.found, r.match())
		case truth == events.Failed && !quiet:
			log.Debug().Str("subscription", r.item.id).Uint64("sequence", s.sequence).Msg("a filter failed, and counts as false")
		}
	}
	return s.found
}

// mix folds another hash into a key. The order counts.
func mix(key, hash uint64) uint64 {
	high, low := bits.Mul64(key^0x9e3779b97f4a7c15, hash|1)
	return high ^ bits.RotateLeft64(low, 31) ^ hash
}
