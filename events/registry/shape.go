package registry

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// Bounds of what a rule compares in its key; the rest is found by evaluating it.
const (
	// maxNames is how many attributes: each costs every event of the tenant a hash, and two or three tell enough.
	maxNames = 4
	// maxPlaces is how many places one rule may take for its types and for one attribute with several values.
	maxPlaces = 256
)

type typeKind uint8

const (
	anyType typeKind = iota
	exactType
	prefixType
)

type affixKind uint8

const (
	noAffix affixKind = iota
	prefixAffix
	suffixAffix
)

// def is what a shape compares.
type def struct {
	typ       typeKind
	dots      int // prefixType: how many dots the prefix has
	source    bool
	names     string // attributes compared for equality, in order, joined by commas
	affix     affixKind
	affixName string
}

// shape is a def in use by some rules of a tenant.
type shape struct {
	id     uint64
	def    def
	names  []string
	home   string  // the attribute under which shapes.byName has it; "" = in plain
	places int     // how many use it
	widths []width // lengths of affixes in use, ascending
}

type width struct{ width, places int }

// shapes are those of one tenant. Those that compare an extension attribute are listed under its name, so that an event
// only meets those that it can fit.
type shapes struct {
	byDef  map[def]*shape
	plain  []*shape
	byName map[string][]*shape
}

func newShapes() *shapes { return &shapes{byDef: make(map[def]*shape)} }

// use returns the shape of d, made if need be.
func (t *shapes) use(d def, next *uint64) *shape {
	if sh := t.byDef[d]; sh != nil {
		return sh
	}
	*next++
	sh := &shape{id: *next, def: d}
	if d.names != "" {
		sh.names = strings.Split(d.names, ",")
	}
	t.byDef[d] = sh
	for _, name := range append(slices.Clone(sh.names), d.affixName) {
		if name == "" || isCore(name) {
			continue
		}
		if sh.home == "" || len(t.byName[name]) < len(t.byName[sh.home]) {
			sh.home = name
		}
	}
	if sh.home == "" {
		t.plain = append(t.plain, sh)
		return sh
	}
	if t.byName == nil {
		t.byName = make(map[string][]*shape)
	}
	t.byName[sh.home] = append(t.byName[sh.home], sh)
	return sh
}

// drop forgets a shape that nothing uses.
func (t *shapes) drop(sh *shape) {
	delete(t.byDef, sh.def)
	list := t.plain
	if sh.home != "" {
		list = t.byName[sh.home]
	}
	i := slices.Index(list, sh)
	list[i] = list[len(list)-1]
	list[len(list)-1] = nil
	list = list[:len(list)-1]
	switch {
	case sh.home == "":
		t.plain = list
	case len(list) == 0:
		delete(t.byName, sh.home)
	default:
		t.byName[sh.home] = list
	}
}

// isCore reports whether every event has the attribute or may well have it.
func isCore(name string) bool {
	switch name {
	case "id", "source", "type", "subject", "time", "specversion", "datacontenttype", "dataschema":
		return true
	default:
		return false
	}
}

// grow counts a place with an affix of this length.
func (sh *shape) grow(length int) {
	sh.places++
	i, found := slices.BinarySearchFunc(sh.widths, length, func(w width, n int) int { return w.width - n })
	switch {
	case sh.def.affix == noAffix:
	case found:
		sh.widths[i].places++
	default:
		sh.widths = slices.Insert(sh.widths, i, width{length, 1})
	}
}

func (sh *shape) shrink(length int) {
	sh.places--
	i, found := slices.BinarySearchFunc(sh.widths, length, func(w width, n int) int { return w.width - n })
	if !found {
		return
	}
	if sh.widths[i].places--; sh.widths[i].places == 0 {
		sh.widths = slices.Delete(sh.widths, i, i+1)
	}
}

// keyOf is the key that e has for the shape, without the affix; false when no rule of the shape can hold.
func (sh *shape) keyOf(seed maphash.Seed, e *events.Event) (key uint64, ok bool) {
	key = sh.id
	switch sh.def.typ {
	case anyType:
	case exactType:
		key = mix(key, maphash.String(seed, e.Type()))
	case prefixType:
		prefix, ok := cutDots(e.Type(), sh.def.dots)
		if !ok {
			return 0, false
		}
		key = mix(key, maphash.String(seed, prefix))
	}
	if sh.def.source {
		key = mix(key, maphash.String(seed, e.Source()))
	}
	for _, name := range sh.names {
		value, has := e.Attribute(name)
		if !has {
			return 0, false
		}
		key = mix(key, maphash.String(seed, value))
	}
	return key, true
}

// cutDots returns typ up to its n-th dot, the dot included.
func cutDots(typ string, n int) (prefix string, ok bool) {
	for i := range len(typ) {
		if typ[i] == '.' {
			if n--; n == 0 {
				return typ[:i+1], true
			}
		}
	}
	return "", false
}

// plan is what can be compared by key of a rule.
type plan struct {
	types     []string // disjoint; one "" = any
	source    string
	equal     []events.Condition // by name; the value of listed is one of values
	listed    string             // the attribute that may have one of several values; "" = none
	values    []string           // of listed; one "" when there is none
	affix     events.Condition
	affixKind affixKind
}

// planOf reads what can be compared by key from the conditions that must all hold.
func planOf(s *events.Subscription) plan {
	p := plan{types: disjoint(s.Types), source: s.Source, values: []string{""}}
	if len(p.types) == 0 {
		p.types = []string{""}
	}
	p.read(s.Filters)
	if p.listed != "" && (len(p.equal) > 0 || len(p.types)*len(p.values) > maxPlaces) {
		p.listed, p.values = "", []string{""}
	}
	if p.listed != "" {
		p.equal = []events.Condition{{Name: p.listed}}
	}
	if len(p.equal) > 0 {
		p.affix, p.affixKind = events.Condition{}, noAffix
	}
	// What tells most comes first: a subject, an extension, and then what many events share.
	slices.SortStableFunc(p.equal, func(a, b events.Condition) int {
		if d := rank(a.Name) - rank(b.Name); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	p.equal = p.equal[:min(len(p.equal), maxNames)]
	return p
}

func rank(name string) int {
	switch {
	case name == "subject":
		return 0
	case !isCore(name):
		return 1
	default:
		return 2
	}
}

func (p *plan) read(all []events.Filter) {
	for i := range all {
		f := &all[i]
		p.read(f.All)
		for _, c := range f.Exact {
			if !slices.ContainsFunc(p.equal, func(have events.Condition) bool { return have.Name == c.Name }) {
				p.equal = append(p.equal, c)
			}
		}
		p.readAffix(f.Prefix, prefixAffix)
		p.readAffix(f.Suffix, suffixAffix)
		p.readList(f.Any)
	}
}

// readAffix keeps the longest prefix or suffix: it tells most.
func (p *plan) readAffix(conditions []events.Condition, kind affixKind) {
	for _, c := range conditions {
		if len(c.Value) > len(p.affix.Value) {
			p.affix, p.affixKind = c, kind
		}
	}
}

// readList takes "any" whose members all compare the same attribute for equality.
func (p *plan) readList(members []events.Filter) {
	var values []string
	for i := range members {
		exact := members[i].Exact
		if len(exact) != 1 || exact[0].Name != members[0].Exact[0].Name {
			return
		}
		if !slices.Contains(values, exact[0].Value) {
			values = append(values, exact[0].Value)
		}
	}
	if len(values) > 0 && len(values) <= maxPlaces && (p.listed == "" || len(values) < len(p.values)) {
		p.listed, p.values = members[0].Exact[0].Name, values
	}
}

// disjoint returns patterns without those that others cover, so that a type fits one of them at most.
func disjoint(patterns []string) []string {
	if len(patterns) < 2 {
		return patterns
	}
	out := make([]string, 0, len(patterns))
	for i, p := range patterns {
		covered := slices.ContainsFunc(patterns, func(o string) bool { return o != p && covers(o, p) })
		if !covered && !slices.Contains(patterns[:i], p) {
			out = append(out, p)
		}
	}
	return out
}

// covers reports whether pattern a holds for all types that pattern b, another one, holds for.
func covers(a, b string) bool {
	prefix, ok := events.TypePrefix(a)
	return ok && strings.HasPrefix(b, prefix)
}

// def is the shape that the plan has for one of its types.
func (p *plan) def(typ string) def {
	d := def{source: p.source != "", affix: p.affixKind, affixName: p.affix.Name}
	if prefix, ok := events.TypePrefix(typ); ok {
		d.typ, d.dots = prefixType, strings.Count(prefix, ".")
	} else if typ != "" {
		d.typ = exactType
	}
	switch len(p.equal) {
	case 0:
	case 1:
		d.names = p.equal[0].Name
	default:
		names := make([]string, len(p.equal))
		for i, c := range p.equal {
			names[i] = c.Name
		}
		d.names = strings.Join(names, ",")
	}
	return d
}

// key is the key of the plan for one of its types and one of its values.
func (p *plan) key(seed maphash.Seed, sh *shape, typ, value string) uint64 {
	key := sh.id
	switch sh.def.typ {
	case anyType:
	case exactType:
		key = mix(key, maphash.String(seed, typ))
	case prefixType:
		key = mix(key, maphash.String(seed, strings.TrimSuffix(typ, "*")))
	}
	if sh.def.source {
		key = mix(key, maphash.String(seed, p.source))
	}
	for _, c := range p.equal {
		if c.Name == p.listed {
			c.Value = value
		}
		key = mix(key, maphash.String(seed, c.Value))
	}
	if sh.def.affix != noAffix {
		key = mix(key, maphash.String(seed, p.affix.Value))
	}
	return key
}
