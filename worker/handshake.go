package worker

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// PathHandshake is where the API takes the callbacks of handshakes, followed by `<subscription>.<token>`.
const PathHandshake = "/v1/handshakes/"

const (
	handshakeLook = 250 * time.Millisecond // how often the owner looks whom to ask
	maxHandshakes = 16                     // sinks that one worker asks at a time: they may hang for their timeout
	handshakePage = 1000                   // subscriptions that are looked at in one go
)

// handshakeRetry is how often a sink that has not consented is asked again: after 5 s, 15 s, 45 s … and each hour.
var handshakeRetry = events.RetryPolicy{
	Policy: events.PolicyExponential, Initial: events.Duration(5 * time.Second), Factor: 3, Max: events.Duration(time.Hour), Jitter: 0.1,
}

// unverifiedPace is how fast a sink is sent to that may do without consent and has not given it.
var unverifiedPace = pace{interval: time.Minute, burst: 1}

// asker asks sinks for their consent to what they are sent, each by the worker that owns it.
type asker struct {
	w *Worker

	mu     sync.Mutex
	open   map[string]bool // subscriptions that have asked for it and have none yet
	asking map[string]bool
}

func newAsker(w *Worker) *asker {
	return &asker{w: w, open: map[string]bool{}, asking: map[string]bool{}}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) error {
	changed, end := a.w.registry.Watch()
	defer end()
	for page, next := a.w.registry.List("", "", handshakePage); ; page, next = a.w.registry.List("", next, handshakePage) {
		for _, e := range page {
			a.note(e.Subscription.ID)
		}
		if next == "" {
			break
		}
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(handshakeLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-changed:
			a.note(id)
			continue
		case <-tick.C:
		}
		for _, e := range a.due() {
			asking.Go(func() {
				a.ask(ctx, e)
				a.done(e.Subscription.ID)
			})
		}
	}
}

// note looks whether a subscription's sink is to be asked.
func (a *asker) note(id string) {
	e, ok := a.w.registry.Lookup(id)
	h := a.w.registry.Health(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if ok && e.Subscription.Handshakes() && !e.Consent(&h).Granted {
		a.open[id] = true
	} else {
		delete(a.open, id)
	}
}

// due takes the subscriptions whose sinks this worker has to ask now.
func (a *asker) due() (due []*registry.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.open {
		if len(a.asking) >= maxHandshakes {
			break
		}
		e, ok := a.w.registry.Lookup(id)
		h := a.w.registry.Health(id)
		if !ok || a.asking[id] || !a.w.fleet.owns(id) || h.State == registry.SinkDisabled || time.Now().Before(e.Consent(&h).Next) {
			continue
		}
		a.asking[id] = true
		due = append(due, e)
	}
	return due
}

func (a *asker) done(id string) {
	a.mu.Lock()
	delete(a.asking, id)
	a.mu.Unlock()
}

// ask asks one sink, and stores what comes of it.
func (a *asker) ask(ctx context.Context, e *registry.Entry) {
	id, token := e.Subscription.ID, ""
	if a.w.cfg.PublicURL != "" {
		token = rand.Text()
	}
	mine := false
	err := a.w.registry.SetHealth(ctx, id, func(h *registry.Health) bool {
		mine = e.Ask(h, token, time.Now(), func(tries int) time.Duration { return handshakeRetry.Delay(tries, mathrand.Float64()) }) //nolint:gosec // jitter is no secret
		return mine
	})
	if err != nil || !mine {
		return // another asks, or the broker is away
	}
	granted, rate, reason := a.exchange(ctx, e, token)
	err = a.w.registry.SetHealth(ctx, id, func(h *registry.Health) bool {
		return e.Answer(h, granted, rate, reason, time.Now())
	})
	if err != nil {
		if ctx.Err() == nil {
			a.w.log.Warn().Err(err).Str(fieldSubscription, id).Msg("answer to a handshake not stored; asking again")
		}
		return
	}
	a.w.log.Info().Str(fieldSubscription, id).Bool("granted", granted).Int("rate", rate).Str("reason", string(reason)).Msg("handshake")
}

// exchange sends the request (AP-1, AP-2) and reads the answer.
func (a *asker) exchange(ctx context.Context, e *registry.Entry, token string) (granted bool, rate int, reason events.Reason) {
	p, err := a.w.plans.of(e)
	if err != nil {
		return false, 0, events.ReasonTemplate
	}
	sub := e.Subscription
	response, err := a.w.egress.Do(ctx, &egress.Request{
		Method: http.MethodOptions, URL: p.content.Sink(), Header: a.header(sub, token),
		Timeout: time.Duration(sub.Config.Timeout), Tenant: sub.Tenant, TLS: p.tls, NoProxy: p.noProxy,
	})
	if response == nil {
		if errors.Is(err, context.Canceled) {
			return false, 0, events.ReasonNone
		}
		return false, 0, networkReason(err)
	}
	return consent(sub.ProtocolSettings.Handshake, response.Header)
}

func (a *asker) header(sub *events.Subscription, token string) http.Header {
	hs := sub.ProtocolSettings.Handshake
	h := http.Header{events.HeaderRequestOrigin: {hs.Origin}}
	if hs.Rate > 0 {
		h.Set(events.HeaderRequestRate, strconv.Itoa(hs.Rate))
	}
	if token != "" {
		h.Set(events.HeaderRequestCallback, strings.TrimRight(a.w.cfg.PublicURL, "/")+PathHandshake+sub.ID+"."+token)
	}
	return h
}

// consent reads the answer to a handshake. Its status is none (AP-3).
func consent(hs *events.Handshake, h http.Header) (granted bool, rate int, reason events.Reason) {
	if !hs.Allows(h.Values(events.HeaderAllowedOrigin)) {
		return false, 0, events.ReasonNoConsent
	}
	rate, ok := hs.AllowedRate(h.Get(events.HeaderAllowedRate))
	if !ok && hs.Rate > 0 {
		return false, 0, events.ReasonProtocol // the answer to the rate that was asked for is missing
	}
	return true, rate, events.ReasonNone
}

// introduce says who sends, as the handshake did (WH-4).
func introduce(h http.Header, sub *events.Subscription) {
	if sub.Handshakes() {
		h[events.HeaderRequestOrigin] = []string{sub.ProtocolSettings.Handshake.Origin}
	}
}

// consentedPace is how fast the sink has consented to be sent to.
func consentedPace(e *registry.Entry, h *registry.Health) pace {
	if !e.Subscription.Handshakes() {
		return pace{}
	}
	switch c := e.Consent(h); {
	case !c.Granted:
		return unverifiedPace
	case c.Rate == 0:
		return pace{}
	default:
		return paceOf(&events.Rate{Permit: c.Rate, Per: events.Duration(time.Minute), Burst: c.Rate})
	}
}
