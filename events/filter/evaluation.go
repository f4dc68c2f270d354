package filter

import "github.com/hookfleet/hookfleet/events"

// Evaluation is one event that filters are evaluated for. It remembers what the expressions said: what a thousand
// subscriptions ask is answered once. It is for one goroutine at a time.
type Evaluation struct {
	Quiet bool // failures are not counted: the event was evaluated before, and is only looked up

	event   *events.Event
	cel     celInput
	sql     sqlContext
	sqlSize int

	few  [8]answer // the first
	n    int
	many map[*program]events.Truth // the others
}

// answer is what an expression said.
type answer struct {
	program *program
	truth   events.Truth
}

// NewEvaluation returns one for e.
func NewEvaluation(e *events.Event) *Evaluation { return &Evaluation{event: e} }

func (ev *Evaluation) known(p *program) (t events.Truth, ok bool) {
	for i := range ev.n {
		if ev.few[i].program == p {
			return ev.few[i].truth, true
		}
	}
	t, ok = ev.many[p]
	return t, ok
}

func (ev *Evaluation) remember(p *program, t events.Truth) {
	if ev.n < len(ev.few) {
		ev.few[ev.n] = answer{p, t}
		ev.n++
		return
	}
	if ev.many == nil {
		ev.many = make(map[*program]events.Truth)
	}
	ev.many[p] = t
}

// judge is what p says of the event. Each failure is counted, of each subscription that has p.
func (c *Cache) judge(p *program, ev *Evaluation) events.Truth {
	t, ok := ev.known(p)
	if !ok {
		t = c.eval(p, ev)
		ev.remember(p, t)
	}
	if t == events.Failed && !ev.Quiet {
		c.failures[index(p.language)].Add(1)
	}
	return t
}
