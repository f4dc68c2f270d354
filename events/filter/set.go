package filter

import (
	"slices"

	"github.com/hookfleet/hookfleet/events"
)

// Set is the filters of one subscription, ready to be evaluated: what is cheap comes first. It is immutable and safe for
// concurrent use.
type Set struct {
	cache *Cache
	all   []node
}

// node is a filter. Exactly one of its first members is set; none, and it is all of nodes, or any of them.
type node struct {
	plain   *events.Filter // without an expression in it
	program *program
	not     *node
	any     bool
	rank    rank
	nodes   []node
}

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
	return &Set{c, c.nodes(filters)}
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
	slices.SortStableFunc(all, func(a, b node) int { return int(a.rank) - int(b.rank) })
	return all
}

func (c *Cache) node(f *events.Filter) (n node) {
	l, text := f.Expression()
	switch {
	case !hasExpression(f):
		n.plain = f
	case l != "":
		n.program, n.rank = c.program(l, text), rankOf(l)
	case f.Not != nil:
		not := c.node(f.Not)
		n.not, n.rank = &not, not.rank
	default:
		members := f.All
		if n.any = f.Any != nil; n.any {
			members = f.Any
		}
		n.nodes = c.nodes(members)
		n.rank = n.nodes[len(n.nodes)-1].rank
	}
	return n
}

func rankOf(l events.Language) rank {
	switch l {
	case events.LanguageSQL:
		return rankSQL
	case events.LanguageCEL:
		return rankCEL
	default:
		return rankMatch
	}
}

// Judge is True when all filters hold for the event. An expression that fails is counted.
func (s *Set) Judge(ev *Evaluation) events.Truth { return s.judgeAll(s.all, ev) }

func (s *Set) judge(n *node, ev *Evaluation) events.Truth {
	switch {
	case n.plain != nil:
		return n.plain.Judge(ev.event, nil)
	case n.program != nil:
		return s.cache.judge(n.program, ev)
	case n.not != nil:
		return s.judge(n.not, ev).Not()
	case n.any:
		return s.judgeAny(n.nodes, ev)
	default:
		return s.judgeAll(n.nodes, ev)
	}
}

func (s *Set) judgeAll(nodes []node, ev *Evaluation) events.Truth {
	all := events.True
	for i := range nodes {
		if all = min(all, s.judge(&nodes[i], ev)); all == events.False {
			break
		}
	}
	return all
}

func (s *Set) judgeAny(nodes []node, ev *Evaluation) events.Truth {
	some := events.False
	for i := range nodes {
		if some = max(some, s.judge(&nodes[i], ev)); some == events.True {
			break
		}
	}
	return some
}
