package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// maxSubscriptionBody fits 64 filters of 4 KiB and as much again.
const maxSubscriptionBody = 512 << 10

func (a *API) subscriptionRoutes() []route {
	one := answer{status: 200, text: "the subscription", value: typeOf[subscriptionView](), headers: []string{"ETag"}}
	made := one
	made.status, made.text, made.headers = 201, "the new subscription, with the secret that was made up for it", []string{"ETag", "Location"}
	body := &content{media: []string{jsonType}, value: typeOf[events.Subscription](), maxBytes: maxSubscriptionBody, text: bodyText}
	rotation := &content{
		media: []string{jsonType}, value: typeOf[events.Rotation](), maxBytes: maxRotationBody, optional: true,
		text: "Without a body a secret is made up, and the one before signs for 24h more.",
	}
	conflicts := []Code{CodeBadID, CodeRevisionConflict, CodeInvalidHeader}
	return []route{
		{
			method: "GET", path: "/v1/subscriptions", id: "listSubscriptions", tag: "subscriptions", roles: managers,
			summary: "List subscriptions", handle: a.listSubscriptions,
			query:   append([]param{{name: "tenant", kind: kindID, text: "only this tenant's"}}, pageParams...),
			answers: []answer{{status: 200, text: "a page of subscriptions", value: typeOf[page[subscriptionView]]()}},
		},
		{
			method: "POST", path: "/v1/subscriptions", id: "createSubscription", tag: "subscriptions", roles: managers,
			summary: "Make a subscription", text: "It takes every event accepted after this answer, and none accepted before.",
			body: body, codes: []Code{CodeInvalidSubscription, CodeIDTaken}, handle: a.createSubscription, answers: []answer{made},
		},
		{
			method: "GET", path: "/v1/subscriptions/{id}", id: "getSubscription", tag: "subscriptions", roles: managers,
			summary: "Read a subscription", codes: []Code{CodeBadID}, handle: a.getSubscription, answers: []answer{one},
		},
		{
			method: "PUT", path: "/v1/subscriptions/{id}", id: "putSubscription", tag: "subscriptions", roles: managers,
			summary: "Change a subscription, or make it under this id", text: putText, headers: []string{"If-Match"},
			body: body, codes: append([]Code{CodeInvalidSubscription, CodeIDTaken}, conflicts...), handle: a.putSubscription,
			answers: []answer{one, made},
		},
		{
			method: "DELETE", path: "/v1/subscriptions/{id}", id: "deleteSubscription", tag: "subscriptions", roles: managers,
			summary: "Delete a subscription", text: deleteText, headers: []string{"If-Match"},
			codes: conflicts, handle: a.deleteSubscription, answers: []answer{{status: 204, text: "it is gone"}},
		},
		{
			method: "POST", path: "/v1/subscriptions/{id}/pause", id: "pauseSubscription", tag: "subscriptions", roles: managers,
			summary: "Pause a subscription", text: "What comes from now on is held, and so is what waits for a retry when its time comes. Pausing what is paused changes nothing.",
			codes: []Code{CodeBadID, CodeSecretsLocked}, handle: a.pauseSubscription, answers: []answer{one},
		},
		{
			method: "POST", path: "/v1/subscriptions/{id}/resume", id: "resumeSubscription", tag: "subscriptions", roles: managers,
			summary: "Resume a subscription", text: resumeText,
			codes: []Code{CodeBadID, CodeSecretsLocked}, handle: a.resumeSubscription, answers: []answer{one},
		},
		{
			method: "POST", path: "/v1/subscriptions/{id}/rotate-secret", id: "rotateSecret", tag: "subscriptions", roles: managers,
			summary: "Replace the secret that requests are signed with", text: rotateText, headers: []string{"If-Match"},
			body: rotation, codes: append([]Code{CodeInvalidSubscription, CodeUnsigned, CodeSecretsLocked}, conflicts...), handle: a.rotateSecret,
			answers: []answer{{status: 200, text: "the subscription, with the secret that was made up for it", value: one.value, headers: one.headers}},
		},
		{
			method: "POST", path: "/v1/subscriptions/{id}/test", id: "testSubscription", tag: "subscriptions", roles: managers,
			summary: "Send a test event", text: testText, codes: []Code{CodeBadID, CodeStorageFull}, handle: a.testSubscription,
			answers: []answer{{status: 202, text: "the delivery of the test event", value: typeOf[deliveryView](), headers: []string{"Location"}}},
		},
	}
}

// What the contract leaves open.
const (
	bodyText = "Only sink is required, and not even that beside sinkoverride. The members of the contract that this release does not have are " +
		"refused as not yet supported. status is read-only and ignored, so that what GET answered can be sent back."
	putText = "Replaces the whole subscription; what is left out becomes its default. A subscription that is paused, or disabled by a 410, is " +
		"resumed by it unless it says paused: true. A secret that is left out or sent as its mask is kept. A body whose id is another than the " +
		"path's is refused, and so is a change of tenant. Waiting deliveries are sent by the subscription as it is when they are sent."
	resumeText = "Ends every hold: a pause, by whom or what ever, being disabled by a 410, the breaker's, and waiting for a Retry-After to pass. " +
		"Failures are counted anew. A sink that has not consented is asked again at once; one that was disabled must consent again. What is held goes out, oldest first."
	deleteText = "Deliveries that wait are cancelled, reason unsubscribed; very many of them go on to be cancelled after the answer. None is sent."
	testText   = "Stores an event of type hookfleet.test for the subscription's tenant, which no subscription's types or filters match, and delivers " +
		"it to this subscription alone, as any other event: signed, retried, recorded, and held while the subscription is paused. Its data and " +
		"attributes have the text test wherever sink, headers and body have a placeholder without a default, so that it is sent in every content " +
		"mode. It has no sink of its own: without sink it ends as skipped, reason no_sink."
)

// sinkStatus says how a subscription's sink is.
type sinkStatus struct {
	State               registry.SinkState `json:"state"`
	Reason              events.Reason      `json:"reason" doc:"of held: throttled, breaker, credential; of paused: paused, failures; of disabled: gone; of unverified: no_consent, why there was no answer, or empty while it is asked"`
	Since               Time               `json:"since"`
	ConsecutiveFailures int                `json:"consecutivefailures" doc:"attempts of any kind that failed since the last one that went well, over the whole fleet"`
	Waiting             uint64             `json:"waiting" doc:"deliveries accepted and not ended; exact"`
}

// subscriptionView is a subscription in an answer. Its secrets are masked, but for one that was made up just now.
type subscriptionView struct {
	*events.Subscription
	ProtocolSettings protocolSettingsView `json:"protocolsettings"`
	SinkCredential   *credentialView      `json:"sinkcredential,omitempty"`
	Status           sinkStatus           `json:"status" access:"readonly"`
}

type protocolSettingsView struct {
	*events.ProtocolSettings
	Signing *signingView `json:"signing,omitempty"`
}

// credentialView is a credential in an answer. Its secrets mask themselves.
type credentialView struct {
	*events.Credential
	AccessTokenExpiresUTC Time `json:"accesstokenexpiresutc,omitzero"`
}

// view is the subscription as it is answered; shown says that a secret made up just now is shown.
// pending are counts that cover it; nil = count.
func (a *API) view(ctx context.Context, e *registry.Entry, shown bool, pending map[string]uint64) (subscriptionView, error) {
	s := e.Subscription
	v := subscriptionView{Subscription: s, ProtocolSettings: protocolSettingsView{ProtocolSettings: &s.ProtocolSettings}}
	if sg := s.ProtocolSettings.Signing; sg != nil {
		v.ProtocolSettings.Signing = viewSigning(sg, shown && e.SecretMade, time.Now())
	}
	if c := s.SinkCredential; c != nil {
		v.SinkCredential = &credentialView{c, Time(c.AccessTokenExpiresUTC)}
	}
	waiting, err := a.countWaiting(ctx, e, pending)
	if err != nil {
		return v, err
	}
	v.Status = statusOf(e, a.deps.Registry.Health(s.ID), time.Now())
	v.Status.Waiting = waiting
	return v, nil
}

// statusOf judges as a worker does before it sends: a hold whose time has passed is none, but the breaker's, which ends
// with a probe that goes well.
func statusOf(e *registry.Entry, h registry.Health, now time.Time) sinkStatus {
	st := sinkStatus{State: registry.SinkActive, Since: Time(e.CreatedAt), ConsecutiveFailures: h.ConsecutiveFailures}
	door, reason := e.Door(&h, now)
	switch {
	case h.State == registry.SinkDisabled, h.State == registry.SinkPaused:
		st.State, st.Reason, st.Since = h.State, h.Reason, Time(h.Since)
	case e.Subscription.Paused:
		st.State, st.Reason, st.Since = registry.SinkPaused, events.ReasonPaused, Time(e.UpdatedAt)
	case e.Locked != nil:
		st.State, st.Reason, st.Since = registry.SinkHeld, events.ReasonCredential, Time(e.UpdatedAt)
	case door != registry.Open && reason == events.ReasonCredential && e.Subscription.SinkCredential.Expired(now):
		st.State, st.Reason = registry.SinkHeld, reason
		st.Since = Time(e.Subscription.SinkCredential.AccessTokenExpiresUTC)
	case reason == events.ReasonUnverified:
		c := e.Consent(&h)
		st.State, st.Reason, st.Since = registry.SinkUnverified, c.Reason, Time(cmp.Or(c.Since, e.UpdatedAt))
	case door != registry.Open:
		st.State, st.Reason, st.Since = registry.SinkHeld, reason, Time(h.Since)
	case h.State == registry.SinkHeld && !h.Until.IsZero():
		st.Since = Time(h.Until)
	case !h.Since.IsZero():
		st.Since = Time(h.Since)
	}
	return st
}

func (a *API) listSubscriptions(c *call) error {
	_, after, _, err := c.query.at(c.tenant(), 0)
	if err != nil {
		return err
	}
	if after != "" && !registry.IsCursor(after) {
		return badCursor()
	}
	p := page[subscriptionView]{Items: []subscriptionView{}}
	tenant, none := c.wants()
	if none {
		return c.json(http.StatusOK, p)
	}
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return err
	}
	entries, next := a.deps.Registry.List(tenant, after, c.query.limit)
	pending, err := a.pending.of(c.r.Context(), tenant, "")
	if err != nil {
		return err
	}
	for _, e := range entries {
		v, err := a.view(c.r.Context(), e, false, pending)
		if err != nil {
			return err
		}
		p.Items = append(p.Items, v)
	}
	if next != "" {
		p.Next = c.query.cursor(c.tenant(), next)
	}
	return c.json(http.StatusOK, p)
}

// entry returns the subscription in the path as it is now, if the caller may see it.
func (a *API) entry(c *call) (*registry.Entry, error) {
	id, err := c.objectID()
	if err != nil {
		return nil, err
	}
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return nil, err
	}
	e, ok := a.deps.Registry.Lookup(id)
	if !ok || c.hidden(e.Subscription.Tenant) {
		return nil, registry.ErrNotFound
	}
	return e, nil
}

// answerEntry answers with a subscription.
func (a *API) answerEntry(c *call, status int, e *registry.Entry) error {
	v, err := a.view(c.r.Context(), e, true, nil)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", etag(e.Revision))
	return c.json(status, v)
}

func (a *API) getSubscription(c *call) error {
	e, err := a.entry(c)
	if err != nil {
		return err
	}
	return a.answerEntry(c, http.StatusOK, e)
}

// decoder is events.DecodeSubscription or events.DecodeNewSubscription.
type decoder func(text []byte, tenant string, policy events.SinkPolicy) (*events.Subscription, error)

// decodeSubscription reads the body. A caller of one tenant makes subscriptions of that tenant only.
func (a *API) decodeSubscription(c *call, decode decoder) (*events.Subscription, error) {
	text, err := c.body()
	if err != nil {
		return nil, err
	}
	s, err := decode(text, c.tenant(), a.deps.Sinks)
	if err != nil {
		return nil, err
	}
	if c.hidden(s.Tenant) {
		return nil, faulty(CodeForbidden, events.Fault{Pointer: "/tenant", Detail: "is not the tenant of your key"})
	}
	return s, nil
}

func (a *API) createSubscription(c *call) error {
	s, err := a.decodeSubscription(c, events.DecodeNewSubscription)
	if err != nil {
		return err
	}
	e, err := a.deps.Registry.Create(c.r.Context(), s)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/subscriptions/"+e.Subscription.ID)
	return a.answerEntry(c, http.StatusCreated, e)
}

func (a *API) putSubscription(c *call) error {
	id, err := c.objectID()
	if err != nil {
		return err
	}
	s, err := a.decodeSubscription(c, events.DecodeSubscription)
	if err != nil {
		return err
	}
	if s.ID != "" && s.ID != id {
		return faulty(CodeInvalidSubscription, events.Fault{Pointer: "/id", Detail: "is another than the path's"})
	}
	s.ID = id
	old, revision, err := a.replaced(c)
	if err != nil {
		return err
	}
	if old != nil && old.Subscription.Tenant != s.Tenant {
		return faulty(CodeInvalidSubscription, events.Fault{Pointer: "/tenant", Detail: "cannot be changed"})
	}
	e, created, err := a.deps.Registry.Put(c.r.Context(), s, revision)
	if err != nil {
		return err
	}
	if created {
		c.w.Header().Set("Location", "/v1/subscriptions/"+id)
		return a.answerEntry(c, http.StatusCreated, e)
	}
	err = a.activate(c.r.Context(), id, func(h *registry.Health) bool {
		switch h.State {
		case registry.SinkPaused, registry.SinkDisabled:
			return true
		case registry.SinkHeld:
			// What the old sink said is not the new one's, and what a token server refused may be mended.
			return old == nil || old.Subscription.Sink != s.Sink || h.Reason == events.ReasonCredential || h.Broken() && s.Config.Breaker.Failures == 0
		default: // what the old sink said is not the new one's
			return old != nil && (old.Subscription.Paused && !s.Paused || old.Subscription.Sink != s.Sink && h.ConsecutiveFailures > 0)
		}
	})
	if err != nil {
		return err
	}
	return a.answerEntry(c, http.StatusOK, e)
}

// replaced returns the subscription that a PUT or DELETE is about (nil when there is none), and the revision that the
// registry is to insist on (0 = any), after If-Match. Another tenant's is not there, but its id is taken.
func (a *API) replaced(c *call) (old *registry.Entry, revision uint64, err error) {
	want, conditional, err := parseIfMatch(c.r.Header)
	if err != nil {
		return nil, 0, err
	}
	old, err = a.entry(c)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		old = nil
	case err != nil:
		return nil, 0, err
	}
	if _, taken := a.deps.Registry.Lookup(c.id); taken && old == nil && c.r.Method == http.MethodPut {
		return nil, 0, registry.ErrTaken
	}
	switch {
	case !conditional:
		return old, 0, nil
	case old == nil, !want.any && !slices.Contains(want.revisions, old.Revision):
		return nil, 0, registry.ErrConflict
	}
	return old, old.Revision, nil
}

func (a *API) deleteSubscription(c *call) error {
	if _, err := c.objectID(); err != nil {
		return err
	}
	old, revision, err := a.replaced(c)
	switch {
	case err != nil:
		return err
	case old == nil:
		return registry.ErrNotFound
	}
	if err := a.deps.Registry.Delete(c.r.Context(), c.id, revision); err != nil {
		return err
	}
	if err := a.cancelAll(c.r.Context(), c.id); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) pauseSubscription(c *call) error { return a.setPaused(c, true) }

func (a *API) resumeSubscription(c *call) error { return a.setPaused(c, false) }

func (a *API) setPaused(c *call, paused bool) error {
	e, err := a.entry(c)
	if err != nil {
		return err
	}
	was := e.Subscription.Paused
	if was != paused {
		if e, err = a.deps.Registry.SetPaused(c.r.Context(), c.id, paused); err != nil {
			return err
		}
	}
	if !paused {
		err := a.activate(c.r.Context(), c.id, func(h *registry.Health) bool {
			again := e.AskAgain(h)
			return again || was || h.State != "" && h.State != registry.SinkActive
		})
		if err != nil {
			return err
		}
	}
	return a.answerEntry(c, http.StatusOK, e)
}

// activate makes the sink active from now on, when it is in a state that ends. It keeps the mark that HELD has something.
func (a *API) activate(ctx context.Context, id string, ends func(*registry.Health) bool) error {
	return a.deps.Registry.SetHealth(ctx, id, func(h *registry.Health) bool {
		if !ends(h) {
			return false
		}
		h.Reset(time.Now())
		return true
	})
}
