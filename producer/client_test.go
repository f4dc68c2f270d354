package producer_test

import (
	"errors"
	"fmt"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/producer"
)

func sdkEvent(id string, data any) cloudevents.Event {
	e := cloudevents.New()
	e.SetID(id)
	e.SetSource("/orders")
	e.SetType("order.status")
	_ = e.SetData(cloudevents.ApplicationJSON, data)
	return e
}

func TestClient(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for name, c := range map[string]*producer.Client{
		"fleet": producer.New(f.nc, producer.Tenant("fleet")), "direct": producer.New(f.nc, producer.Tenant("direct"), producer.Direct()),
	} {
		first, err := c.Publish(t.Context(), sdkEvent("1", "a"))
		if err != nil || first.Duplicate || first.Tenant != name {
			t.Fatalf("%s: %+v, %v", name, first, err)
		}
		again, err := c.Publish(t.Context(), sdkEvent("1", "a"))
		if err != nil || !again.Duplicate || again.Sequence != first.Sequence {
			t.Errorf("%s again: %+v, %v", name, again, err)
		}
		if _, err := c.Publish(t.Context(), sdkEvent("1", "b")); !errors.Is(err, producer.ErrReuse) {
			t.Errorf("%s: another event under the id: %v", name, err)
		}
		bad := sdkEvent("2", "a")
		bad.SetType("")
		if _, err := c.Publish(t.Context(), bad); !isInvalid(err) {
			t.Errorf("%s: no type: %v", name, err)
		}
		batch := make([]cloudevents.Event, 600)
		for i := range batch {
			batch[i] = sdkEvent(fmt.Sprint("b", i%500), "a")
		}
		receipts, err := c.PublishBatch(t.Context(), batch)
		if err != nil || receipts[0].Sequence != receipts[500].Sequence {
			t.Errorf("%s batch: %v", name, err)
		}
		c.Wait()
	}
	if n := f.stored(t); n != 2*501 {
		t.Errorf("%d events stored", n)
	}
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*events.Invalid](err)
	return ok
}
