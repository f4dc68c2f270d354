package fleettest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Receipt is what a publisher is answered.
type Receipt struct {
	ID        string
	Source    string
	Tenant    string
	Sequence  uint64
	Duplicate bool
}

// Subscription is the part of one that tests look at.
type Subscription struct {
	ID               string
	Tenant           string
	Sink             string
	Paused           bool
	ProtocolSettings struct{ Signing struct{ Secret string } }
	Status           struct {
		State               string
		Reason              string
		ConsecutiveFailures int
		Waiting             int
	}
}

// Attempt is one try on the wire.
type Attempt struct {
	Number     int
	At         time.Time
	DurationMS float64
	Outcome    string
	Reason     string
	Status     int
	URL        string
	Response   *struct {
		Headers map[string]string
		Body    string
	}
	NextAt    time.Time
	WebhookID string // in content mode batch
}

// EventRef names an event.
type EventRef struct {
	Sequence                  uint64
	ID, Source, Type, Subject string
}

// Delivery is one event for one subscription.
type Delivery struct {
	ID, Subscription, Tenant, State, Reason string

	Event                      EventRef
	AttemptCount               int
	CreatedAt, EndedAt, NextAt time.Time
	ReplayOf                   string
	Attempts                   []Attempt // of one alone
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	ID, Subscription, Tenant, Reason string

	AttemptCount int
	LastAttempt  *Attempt
	Event        json.RawMessage
	DeadAt       time.Time
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T
	Next  string
}

// List reads a whole list.
func List[T any](t testing.TB, c *Client, path string) []T {
	t.Helper()
	var all []T
	for cursor := ""; ; {
		var p Page[T]
		c.Must(t, http.StatusOK, http.MethodGet, path+cursor, nil, &p)
		all = append(all, p.Items...)
		if p.Next == "" {
			return all
		}
		cursor = "&cursor=" + p.Next
	}
}

// Publish publishes one structured event, which has to be accepted.
func (c *Client) Publish(t testing.TB, event string) Receipt {
	t.Helper()
	var r Receipt
	c.Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {Structured}}, event).Must(t, http.StatusAccepted, &r)
	return r
}

// PublishBatch publishes a batch, which has to be accepted.
func (c *Client) PublishBatch(t testing.TB, batch string) []Receipt {
	t.Helper()
	var p Page[Receipt]
	c.Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {Batch}}, batch).Must(t, http.StatusAccepted, &p)
	return p.Items
}

// Subscribe makes or replaces a subscription, which is JSON with what it says beside its id.
func (c *Client) Subscribe(t testing.TB, id, subscription string) *Subscription {
	t.Helper()
	s := &Subscription{}
	r := c.Do(t, http.MethodPut, "/v1/subscriptions/"+id, subscription)
	if r.Status != http.StatusOK {
		r.Must(t, http.StatusCreated, s)
		return s
	}
	r.Must(t, http.StatusOK, s)
	return s
}

// Subscription reads one.
func (c *Client) Subscription(t testing.TB, id string) *Subscription {
	t.Helper()
	s := &Subscription{}
	c.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+id, nil, s)
	return s
}

// AwaitSubscription waits for a subscription to be as holds says.
func (c *Client) AwaitSubscription(t testing.TB, id, what string, holds func(*Subscription) bool) *Subscription {
	t.Helper()
	var s *Subscription
	Eventually(t, "subscription "+id+" "+what, func() (bool, any) {
		s = c.Subscription(t, id)
		return holds(s), fmt.Sprintf("%+v", s.Status)
	})
	return s
}

// AwaitState waits for a subscription's state.
func (c *Client) AwaitState(t testing.TB, id, state string) *Subscription {
	t.Helper()
	return c.AwaitSubscription(t, id, "is "+state, func(s *Subscription) bool { return s.Status.State == state })
}

// Delivery reads one with its attempts.
func (c *Client) Delivery(t testing.TB, id string) *Delivery {
	t.Helper()
	d := &Delivery{}
	c.Must(t, http.StatusOK, http.MethodGet, "/v1/deliveries/"+id, nil, d)
	return d
}

// AwaitDelivery waits for the one delivery of an event to be in a state, and gives it with its attempts.
func (c *Client) AwaitDelivery(t testing.TB, sequence uint64, state string) *Delivery {
	t.Helper()
	var id string
	Eventually(t, fmt.Sprintf("delivery of event %d is %s", sequence, state), func() (bool, any) {
		found := c.DeliveriesOf(t, sequence)
		if len(found) != 1 || found[0].State != state {
			return false, fmt.Sprintf("%+v", found)
		}
		id = found[0].ID
		return true, nil
	})
	return c.Delivery(t, id)
}

// AwaitAll waits for the deliveries of events to one subscription to be in a state, and gives them, without their
// attempts, in the order of the receipts.
func (c *Client) AwaitAll(t testing.TB, subscription string, receipts []Receipt, state string) []Delivery {
	t.Helper()
	all := make([]Delivery, len(receipts))
	Eventually(t, fmt.Sprintf("all %d deliveries of %s are %s", len(receipts), subscription, state), func() (bool, any) {
		found := map[uint64]Delivery{}
		for _, d := range List[Delivery](t, c, "/v1/deliveries?limit=1000&subscription="+subscription) {
			found[d.Event.Sequence] = d
		}
		for i, r := range receipts {
			if all[i] = found[r.Sequence]; all[i].State != state {
				return false, fmt.Sprintf("event %d is %+v", r.Sequence, all[i])
			}
		}
		return true, nil
	})
	return all
}

// DeliveriesOf are the deliveries of one event, without their attempts.
func (c *Client) DeliveriesOf(t testing.TB, sequence uint64) []Delivery {
	t.Helper()
	var e struct{ Deliveries []Delivery }
	c.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/v1/events/%d", sequence), nil, &e)
	return e.Deliveries
}

// DeadLetters are those of a subscription.
func (c *Client) DeadLetters(t testing.TB, subscription string) []DeadLetter {
	t.Helper()
	return List[DeadLetter](t, c, "/v1/dead-letters?subscription="+subscription)
}

// Replay is a job that delivers once more.
type Replay struct {
	ID, Tenant, Subscription, From, State, Reason      string
	Matched, Sent, Delivered, Dead, Skipped, Cancelled int
	DryRun, Again                                      bool
	CreatedAt, EndedAt, Since, Until                   time.Time
}

// Replay makes a replay, which has to be taken. body is JSON.
func (c *Client) Replay(t testing.TB, body string) *Replay {
	t.Helper()
	r := &Replay{}
	resp := c.Must(t, http.StatusCreated, http.MethodPost, "/v1/replays", body, r)
	if at := resp.Header.Get("Location"); at != "/v1/replays/"+r.ID {
		t.Errorf("Location %q of replay %s", at, r.ID)
	}
	return r
}

// AwaitReplay waits for a replay to be in a state, and of an end also for the last of its deliveries.
func (c *Client) AwaitReplay(t testing.TB, id, state string) *Replay {
	t.Helper()
	var r *Replay
	Eventually(t, "replay "+id+" is "+state, func() (bool, any) {
		r = &Replay{}
		raw := c.Must(t, http.StatusOK, http.MethodGet, "/v1/replays/"+id, nil, r)
		ended := state == "done" || state == "cancelled"
		return r.State == state && (!ended || !r.EndedAt.IsZero()), string(raw.Body)
	})
	return r
}
