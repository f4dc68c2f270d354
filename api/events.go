package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// receipt is what a publisher is answered for one event.
type receipt struct {
	ID        string `json:"id"`
	Source    string `json:"source"`
	Tenant    string `json:"tenant"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate" doc:"it was stored before, under this sequence, and is not delivered again"`
}

// eventView is a stored event in a list. Its last member is filled in by withEvent.
type eventView struct {
	Sequence   uint64      `json:"sequence"`
	Tenant     string      `json:"tenant"`
	AcceptedAt Time        `json:"acceptedat"`
	Event      *cloudEvent `json:"event"`
}

// eventDetail is one event with its deliveries.
type eventDetail struct {
	Sequence   uint64         `json:"sequence"`
	Tenant     string         `json:"tenant"`
	AcceptedAt Time           `json:"acceptedat"`
	Deliveries []deliveryView `json:"deliveries" doc:"newest first, replays included; at most 1000"`
	Event      *cloudEvent    `json:"event"`
}

func (a *API) eventRoutes() []route {
	return []route{
		{
			method: "POST", path: "/v1/events", id: "publish", tag: "events", summary: "Publish an event or a batch", roles: publishers,
			text: publishText, mount: a.publish,
			body: &content{media: []string{"application/cloudevents+json", "application/cloudevents-batch+json", "*/*"}, text: publishBodyText, maxBytes: 8 << 20},
			codes: []Code{
				CodeInvalidJSON, CodeInvalidHeader, CodeBodyCut, CodeTooLarge, CodeMediaType, CodeInvalidEvent, CodeInvalidParameter, CodeIDReuse,
				CodeUnavailable, CodeStorageFull,
			},
			answers: []answer{{status: 202, text: "durable; a batch answers {\"items\": [...]} in order", value: typeOf[receipt]()}},
		},
		{
			method: "GET", path: "/v1/events", id: "listEvents", tag: "events", summary: "Find events", roles: managers,
			text: "Events are kept as long as events.retention says, and until they are settled. tenant and type are looked up in an index; " +
				"id, source and subject are compared event by event, so a search for them takes several pages when there are many.",
			query: append([]param{
				{name: "tenant", kind: kindID, text: "whose"},
				{name: "type", text: "exactly this type"},
				{name: "id", text: "exactly this id"},
				{name: "source", text: "exactly this source"},
				{name: "subject", text: "exactly this subject"},
				{name: "since", kind: kindTime, text: "accepted at this time or later"},
				{name: "until", kind: kindTime, text: "accepted before this time"},
			}, pageParams...),
			handle:  a.listEvents,
			answers: []answer{{status: 200, text: "a page of events; it ends early after some 4 MiB", value: typeOf[page[eventView]]()}},
		},
		{
			method: "GET", path: "/v1/events/{sequence}", id: "getEvent", tag: "events", summary: "Read an event and its deliveries", roles: managers,
			codes: []Code{CodeBadID}, handle: a.getEvent,
			answers: []answer{{status: 200, text: "the event", value: typeOf[eventDetail]()}},
		},
	}
}

const (
	publishText = "Answered when the event is on disk. Publishing the same tenant, source and id again is harmless: 202, duplicate true, the same " +
		"sequence, and nothing is delivered again; other data or attributes under them are refused with id_reuse. A batch is all or nothing. " +
		"From its expirytime on an event is not sent any more: deliveries that have not ended are skipped, reason expired; a value that is no RFC 3339 time is none. " +
		"traceparent and tracestate are attributes like others; HTTP headers of these names are neither read nor made."
	publishBodyText = "One event in structured mode, a batch, or any other media type in binary mode, with the attributes in ce-* headers; all headers " +
		"together may have 32 KiB, so that longer attributes need structured mode."
)

// publish hands a request to Ingest. What every route checks of a request, and Ingest does not, is checked here.
func (a *API) publish(c *call) error {
	if c.r.URL.RawQuery != "" {
		if _, err := parseQuery(c.route, c.r.URL.RawQuery); err != nil {
			return err
		}
	}
	if err := checkEncoding(c.r.Header); err != nil {
		return err
	}
	a.deps.Ingest.ServeHTTP(c.w, c.r)
	return nil
}

// eventFilter is what a search for events compares one by one.
type eventFilter struct {
	id, source, subject string
	since, until        time.Time
}

func (f *eventFilter) takes(at time.Time, e *events.Event) bool {
	return (f.id == "" || f.id == e.ID()) && (f.source == "" || f.source == e.Source()) && (f.subject == "" || f.subject == e.Subject()) &&
		!at.Before(f.since) && (f.until.IsZero() || at.Before(f.until))
}

func (a *API) listEvents(c *call) error {
	at, _, resumed, err := c.query.at(c.tenant(), 1)
	if err != nil {
		return err
	}
	var p rawPage
	tenant, none := c.wants()
	if none {
		return p.write(c)
	}
	q := &c.query
	r := stream.EventRange{Tenant: tenant, Type: q.text("type"), Before: at[0]}
	if err := a.bound(c, &r, resumed); err != nil {
		return err
	}
	f := eventFilter{id: q.text("id"), source: q.text("source"), subject: q.text("subject"), since: q.time("since"), until: q.time("until")}
	var failed error
	next, err := a.events.Walk(c.r.Context(), r, func(s *stream.StoredEvent) bool {
		if p.full(q.limit) {
			p.next = q.cursor(c.tenant(), "", s.Sequence+1)
			return false
		}
		e, err := s.Event()
		if err != nil || !f.takes(s.At, e) {
			return true // what is no event is a dead letter, not an event
		}
		var item []byte
		item, failed = withEvent(eventView{Sequence: s.Sequence, Tenant: s.Tenant, AcceptedAt: Time(s.At)}, e)
		p.add(item)
		return failed == nil
	})
	switch {
	case err != nil:
		return err
	case failed != nil:
		return failed
	case p.next == "" && next > r.First:
		p.next = q.cursor(c.tenant(), "", next)
	}
	return p.write(c)
}

// bound narrows the range to what since, until and the cursor leave.
func (a *API) bound(c *call, r *stream.EventRange, resumed bool) error {
	ctx := c.r.Context()
	first, end, err := a.events.Bounds(ctx)
	if err != nil {
		return err
	}
	r.First = first
	if until := c.query.time("until"); !until.IsZero() && !resumed {
		if end, err = a.events.Since(ctx, until, end); err != nil {
			return err
		}
	}
	if since := c.query.time("since"); !since.IsZero() {
		if r.First, err = a.events.Since(ctx, since, end); err != nil {
			return err
		}
	}
	if !resumed {
		r.Before = end
	}
	return nil
}

func (a *API) getEvent(c *call) error {
	sequence, err := strconv.ParseUint(c.id, 10, 63)
	if err != nil {
		return problem(CodeBadID, "a sequence is an integer from 1")
	}
	if sequence == 0 {
		return errNoEvent()
	}
	s, err := a.events.Get(c.r.Context(), sequence)
	if err != nil {
		return err
	}
	if s == nil || c.hidden(s.Tenant) {
		return errNoEvent()
	}
	e, err := s.Event()
	if err != nil {
		return problem(CodeNotFound, "what is stored there is not a valid event; it is a dead letter")
	}
	deliveries, err := a.deliveriesOf(c.r.Context(), s.Sequence, s.Tenant)
	if err != nil {
		return err
	}
	d := eventDetail{Sequence: s.Sequence, Tenant: s.Tenant, AcceptedAt: Time(s.At), Deliveries: deliveries}
	b, err := withEvent(d, e)
	if err != nil {
		return err
	}
	c.raw(http.StatusOK, append(b, '\n'))
	return nil
}

func errNoEvent() error { return problem(CodeNotFound, "there is no such event, or none any more") }
