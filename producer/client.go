package producer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Defaults of a Client.
const (
	defaultTimeout  = 10 * time.Second // one publish, until it is durable
	defaultInFlight = 256              // events of PublishBatch that await their answers at a time
)

// Client publishes events and waits until they are durable. It is safe for concurrent use.
type Client struct {
	nc      *nats.Conn
	js      jetstream.JetStream // Direct only
	tenant  string
	timeout time.Duration
	window  chan struct{}
	flying  sync.WaitGroup
}

// Option changes how a Client publishes.
type Option func(*Client) error

// Direct publishes straight into the event stream instead of through the fleet's API processes: for trusted services on a
// cluster, where the quorum's acknowledgement is durable and publishing must not depend on an API process. On the
// embedded broker the acknowledgement comes before the sync to disk; do not use it there.
func Direct() Option {
	return func(c *Client) (err error) {
		c.js, err = jetstream.New(c.nc)
		return err
	}
}

// Tenant publishes events that name no tenant for this one. Without it they are the tenant `default`'s.
func Tenant(tenant string) Option {
	return func(c *Client) error {
		if !events.IsID(tenant) {
			return fmt.Errorf("%q is no tenant", tenant)
		}
		c.tenant = tenant
		return nil
	}
}

// Timeout bounds one publish. Without it that is 10 s, or what the context says if that is sooner.
func Timeout(d time.Duration) Option {
	return func(c *Client) error {
		if d <= 0 {
			return fmt.Errorf("timeout %s is not positive", d)
		}
		c.timeout = d
		return nil
	}
}

// New makes a client on nc, which stays the caller's. It panics for an option that cannot be, such as a tenant that is
// no id: that is a mistake in the program.
func New(nc *nats.Conn, opts ...Option) *Client {
	c := &Client{nc: nc, tenant: events.DefaultTenant, timeout: defaultTimeout, window: make(chan struct{}, defaultInFlight)}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			panic("producer: " + err.Error())
		}
	}
	return c
}

// Publish publishes one event and returns when it is durable. The same id and source again is no error: the receipt says
// Duplicate and the sequence of the first. Errors: *events.Invalid (it will never be taken), ErrReuse, and ErrUnavailable,
// after which publishing the same event again is safe.
func (c *Client) Publish(ctx context.Context, e cloudevents.Event) (Receipt, error) {
	parsed, err := parse(e)
	if err != nil {
		return Receipt{}, err
	}
	return c.PublishParsed(ctx, parsed)
}

// Result is what became of one event that was published asynchronously.
type Result struct {
	Receipt Receipt
	Err     error // as Publish returns it
}

// PublishAsync publishes one event and returns at once, unless 256 are under way already. The channel gets one Result.
func (c *Client) PublishAsync(ctx context.Context, e cloudevents.Event) <-chan Result {
	done := make(chan Result, 1)
	select {
	case c.window <- struct{}{}:
	case <-ctx.Done():
		done <- Result{Err: fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())}
		return done
	}
	c.flying.Go(func() {
		defer func() { <-c.window }()
		r, err := c.Publish(ctx, e)
		done <- Result{r, err}
	})
	return done
}

// Wait returns when nothing that PublishAsync began is under way any more.
func (c *Client) Wait() { c.flying.Wait() }

// PublishBatch publishes events together and returns when all are durable, with a receipt for each in order. It is not
// all or nothing: each event stands for itself, and the error joins those of the events that were not taken, whose
// receipts are zero. Publishing the batch again is safe.
func (c *Client) PublishBatch(ctx context.Context, evts []cloudevents.Event) ([]Receipt, error) {
	results := make([]<-chan Result, len(evts))
	for i, e := range evts {
		results[i] = c.PublishAsync(ctx, e)
	}
	receipts := make([]Receipt, len(evts))
	var errs []error
	for i, done := range results {
		r := <-done
		receipts[i] = r.Receipt
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("event %d: %w", i, r.Err))
		}
	}
	return receipts, errors.Join(errs...)
}

// PublishParsed is Publish for an event whose bytes must stay as they are.
func (c *Client) PublishParsed(ctx context.Context, e *events.Event) (Receipt, error) {
	if !e.HasTenant() {
		e.Own(c.tenant)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.js != nil {
		return c.direct(ctx, e)
	}
	header, payload := e.Message()
	m := &nats.Msg{
		Subject: stream.SubjectPublish + e.Tenant() + "." + stream.EncodeType(e.Type()), Header: nats.Header(header), Data: payload,
	}
	answer, err := c.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: publish %s: %w", ErrUnavailable, e.ID(), err)
	}
	return readAnswer(e, answer.Data)
}

// direct stores the event itself.
func (c *Client) direct(ctx context.Context, e *events.Event) (Receipt, error) {
	ack, err := c.js.PublishMsg(ctx, message(e), jetstream.WithExpectStream(stream.Events))
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: publish %s: %w", ErrUnavailable, e.ID(), err)
	}
	r := Receipt{ID: e.ID(), Source: e.Source(), Tenant: e.Tenant(), Sequence: ack.Sequence, Duplicate: ack.Duplicate}
	if !ack.Duplicate {
		return r, nil
	}
	same, err := isStored(ctx, c.js, e, ack.Sequence)
	switch {
	case err != nil:
		return Receipt{}, err
	case !same:
		return Receipt{}, fmt.Errorf("%w: %s of %s", ErrReuse, e.ID(), e.Source())
	}
	return r, nil
}

// readAnswer reads what the fleet answered to a publisher.
func readAnswer(e *events.Event, data []byte) (Receipt, error) {
	var a pubAck
	if err := json.Unmarshal(data, &a); err != nil {
		return Receipt{}, fmt.Errorf("%w: publish %s: answer %.100q", ErrUnavailable, e.ID(), data)
	}
	if a.Error == nil {
		return Receipt{ID: e.ID(), Source: e.Source(), Tenant: e.Tenant(), Sequence: a.Sequence, Duplicate: a.Duplicate}, nil
	}
	switch a.Error.Code {
	case codeInvalid, codeTooLarge:
		return Receipt{}, &events.Invalid{Status: 422, Code: "invalid_event", Faults: []events.Fault{{Detail: a.Error.Description}}}
	case codeReuse:
		return Receipt{}, fmt.Errorf("%w: %s of %s", ErrReuse, e.ID(), e.Source())
	default:
		return Receipt{}, fmt.Errorf("%w: %s", ErrUnavailable, a.Error.Description)
	}
}

// parse writes the SDK's event as JSON and checks it as strictly as the fleet does. WriteJson keeps the bytes of data;
// json.Marshal would compact and escape them.
func parse(e cloudevents.Event) (*events.Event, error) {
	var b bytes.Buffer
	if err := cloudevents.WriteJson(&e, &b); err != nil {
		return nil, &events.Invalid{Status: 422, Code: "invalid_event", Faults: []events.Fault{{Detail: err.Error()}}}
	}
	return events.ParseStructured(b.Bytes())
}
