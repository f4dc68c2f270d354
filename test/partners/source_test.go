package partners_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/steadfast"
)

func init() { steadfastRows["S8"], steadfastRows["S9"], steadfastRows["S10"] = testS8, testS9, testS10 }

// courier is the example of an internal system that is asked, with its partner.
type courier struct {
	*row
	system  *steadfast.System
	partner *steadfast.Partner
	source  string
	id      string // of the subscription
}

func (r *row) newCourier() *courier {
	r.Helper()
	c := &courier{row: r, system: steadfast.NewSystem(), partner: lanePartner()}
	source := r.example("steadfast-orders").Set("url", sinkURL(r, c.system)+"/orders/${key}/status").Set("every", rowTick.String())
	c.source = r.own(source)
	r.client.Must(r, http.StatusCreated, http.MethodPut, "/v1/sources/"+c.source, source, nil)
	c.id = r.put(r.example("steadfast-partner").Set("sink", r.serve(c.partner)+orderPath).Set("source", "/sources/"+c.source).
		Set("config.schedule.source", c.source).Set("sinkcredential", nil).Set("config.retry.initial", "200ms"))
	return c
}

// book starts to watch orders, which the system knows as booked.
func (c *courier) book(orders ...string) {
	c.Helper()
	var items []map[string]string
	for _, order := range orders {
		c.system.Set(order, "Booked")
		items = append(items, map[string]string{"key": order})
	}
	c.client.Must(c, http.StatusCreated, http.MethodPost, "/v1/sources/"+c.source+"/items", map[string]any{"items": items}, nil)
}

// polled returns when an order was asked for n more times.
func (c *courier) polled(order string, n int) {
	c.Helper()
	before := len(c.system.Asked(order))
	fleettest.Eventually(c, order+" is asked for", func() (bool, any) { return len(c.system.Asked(order)) >= before+n, nil })
}

// is sets the status of an order and waits until the partner was told.
func (c *courier) is(order, status string, n int) {
	c.Helper()
	c.system.Set(order, status)
	c.wait(c.partner, n, taken)
}

// skipped are the reasons of what was skipped, oldest first.
func (c *courier) skipped() (reasons []string) {
	for _, d := range fleettest.List[fleettest.Delivery](c, c.client, "/v1/deliveries?state=skipped&subscription="+c.id) {
		reasons = append([]string{d.Reason}, reasons...)
	}
	return reasons
}

// sinkURL runs a server that judges nothing.
func sinkURL(r *row, h http.Handler) string { return r.serve(noFaults{h}) }

// testS8: what an order starts with is not sent; each change is sent once, and a status that was sent is never sent again.
func testS8(r *row) {
	c := r.newCourier()
	c.book("order-1")
	c.polled("order-1", 2)
	if calls := c.partner.Calls(); len(calls) != 0 {
		r.Errorf("told of a booked order: %v", said(calls))
	}
	c.is("order-1", "Packed", 1)
	c.polled("order-1", 2) // the same status again is nothing new
	c.is("order-1", "Sent", 2)
	c.system.Set("order-1", "Packed")
	fleettest.Eventually(r, "the status that was sent before is skipped", func() (bool, any) {
		got := strings.Join(c.skipped(), " ")
		return got == "duplicate_status", got
	})
	c.is("order-1", "Ended", 3)
	r.ended(c.id, c.partner, 3)
	if got := strings.Join(said(c.partner.Calls()), ", "); got != "order-1 Packed, order-1 Sent, order-1 Ended" {
		r.Error(got)
	}
}

// testS9: after Cancelled or Ended an order is completed, and nothing more is sent for it.
func testS9(r *row) {
	c := r.newCourier()
	c.book("order-1", "order-2", "order-3")
	c.system.Set("order-1", "Ended")
	c.is("order-2", "Cancelled", 2)
	fleettest.Eventually(r, "both are completed", func() (bool, any) {
		items := fleettest.List[struct{ Key, Status string }](r, r.client, "/v1/sources/"+c.source+"/items?state=completed")
		return len(items) == 2, fmt.Sprint(items)
	})
	asked := len(c.system.Asked("order-1"))
	c.system.Set("order-1", "Packed")
	c.polled("order-3", 2)
	if again := len(c.system.Asked("order-1")); again != asked {
		r.Errorf("a completed order was asked for %d times more", again-asked)
	}
	r.ended(c.id, c.partner, 2)
	// An internal system that publishes by itself, and goes on after the end.
	p := lanePartner()
	pushed := r.put(r.scheduled(r.serve(p)))
	r.await(r.change("order-4", "Ended"), "delivered")
	for _, status := range []string{"Packed", "Ended", "Cancelled"} {
		if d := r.await(r.change("order-4", status), "skipped"); d.Reason != "completed" || d.AttemptCount != 0 {
			r.Errorf("%s: %+v", status, d)
		}
	}
	r.ended(pushed, p, 1)
}

// testS10: statuses are asked for at each interval, and what changed goes out in the same one. What could not be asked for
// sends nothing and is asked for again at the next.
func testS10(r *row) {
	c := r.newCourier()
	c.book("order-1", "order-2")
	c.system.Break("order-1", http.StatusInternalServerError)
	c.system.Set("order-1", "Packed")
	c.is("order-2", "Packed", 1)
	c.polled("order-1", 2)
	if got := strings.Join(said(c.partner.Calls()), ", "); got != "order-2 Packed" {
		r.Errorf("told %s while the internal system fails for order-1", got)
	}
	c.system.Break("order-1", 0)
	c.wait(c.partner, 2, taken)
	c.system.Set("order-2", "") // it has no status: the same as an error
	c.polled("order-2", 2)
	c.is("order-2", "Ended", 3)
	r.ended(c.id, c.partner, 3)
	for _, call := range c.partner.Calls() {
		if !c.sameTick(call) {
			r.Errorf("%v: was asked for at %v", &call, c.system.Asked(call.Key))
		}
	}
}

// sameTick reports whether what a call says was asked for in the interval in which it came.
func (c *courier) sameTick(call partners.Call) bool {
	tick := call.At.Truncate(rowTick)
	for _, at := range c.system.Asked(call.Key) {
		if at.Truncate(rowTick).Equal(tick) && !at.After(call.At.Add(time.Millisecond)) {
			return true
		}
	}
	return false
}
