package filter

import (
	"slices"

	"github.com/hookfleet/hookfleet/events"
)

// Set is the filters of one subscription, ready to be evaluated: what is cheap comes first. It is immutable and safe for
// concurrent use. A hundred thousand subscriptions have one each: its nodes are pointers to what is there anyway.
type Set struct {
	cache *Cache
	all   every
}

// node is a filter.
type node interface {
	judge(c *Cache, ev *Evaluation) events.Truth
	rank() rank
}

// The kinds of nodes, beside *program.
type (
	plain    events.Filter // without an expression in it
	negation struct{ node }
	every    []node // all must hold
	some     []node // one must
)

// rank is what is evaluated before what.
type rank uint8

const (
	rankPlain rank = iota // comparisons of attributes: some 20 ns
	rankMatch             // some 100 ns
	rankSQL               // some 100 ns, and the event in the SDK's clothes
	rankCEL               // a microsecond
)

// Set prepares filters, which must not be changed. It is nil when there is no expression in them: they are evaluated as
// they are.
func (c *Cache) Set(filters []events.Filter) *Set {
	if !slices.ContainsFunc(filters, func(f events.Filter) bool { return hasExpression(&f) }) {
		return nil
	}
	return &Set{c, every(c.nodes(filters))}
}

func hasExpression(f *events.Filter) bool {
	in := func(f events.Filter) bool { return hasExpression(&f) }
	l, _ := f.Expression()
	return l != "" || f.Not != nil && hasExpression(f.Not) || slices.ContainsFunc(f.All, in) || slices.ContainsFunc(f.Any, in)
}

func (c *Cache) nodes(filters []events.Filter) []node {
	all := make([]node, len(filters))
	for i := range filters {
		all[i] = c.node(&filters[i])
	}
	slices.SortStableFunc(all, func(a, b node) int { return int(a.rank()) - int(b.rank()) })
	return all
}

func (c *Cache) node(f *events.Filter) node {
	l, text := f.Expression()
	switch {
	case !hasExpression(f):
		return (*plain)(f)
	case l != "":
		return c.program(l, text)
	case f.Not != nil:
		return negation{c.node(f.Not)}
	case f.Any != nil:
		return some(c.nodes(f.Any))
	default:
		return every(c.nodes(f.All))
	}
}

// Judge is True when all filters hold for the event. An expression that fails is counted.
func (s *Set) Judge(ev *Evaluation) events.Truth { return s.all.judge(s.cache, ev) }

func (f *plain) judge(_ *Cache, ev *Evaluation) events.Truth {
	return (*events.Filter)(f).Judge(ev.event, nil)
}

func (f *plain) rank() rank { return rankPlain }

func (p *program) judge(c *Cache, ev *Evaluation) events.Truth { return c.judge(p, ev) }

func (p *program) rank() rank {
	switch p.language {
	case events.LanguageCEL:
		return rankCEL
	case events.LanguageSQL:
		return rankSQL
	default:
		return rankMatch
	}
}

func (n negation) judge(c *Cache, ev *Evaluation) events.Truth { return n.node.judge(c, ev).Not() }

func (n every) judge(c *Cache, ev *Evaluation) events.Truth {
	all := events.True
	for _, one := range n {
		if all = min(all, one.judge(c, ev)); all == events.False {
			break
		}
	}
	return all
}

func (n every) rank() rank { return n[len(n)-1].rank() }

func (n some) judge(c *Cache, ev *Evaluation) events.Truth {
	one := events.False
	for _, next := range n {
		if one = max(one, next.judge(c, ev)); one == events.True {
			break
		}
	}
	return one
}

func (n some) rank() rank { return n[len(n)-1].rank() }
