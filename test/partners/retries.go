package partners

import "time"

// Early is how much before its time a call may come: what clocks and the way of the answer add.
const Early = 20 * time.Millisecond

// Gap checks that a call which repeats one that failed comes no earlier than wait after it, and, with late > 0, not much
// later than that. past are the calls before it.
func (c *Call) Gap(past []*Call, wait, late time.Duration) {
	if len(past) == 0 {
		return
	}
	gap := c.At.Sub(past[len(past)-1].At)
	if gap < wait-Early {
		c.Fault("came %v after the one before it, which is before its time: %v", gap, wait)
	}
	if late > 0 && gap > wait+late {
		c.Fault("came %v after the one before it: %v was agreed", gap, wait)
	}
}
