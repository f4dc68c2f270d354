package worker

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/auth/credential"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/worker/render"
)

// plan is what all requests of one version of a subscription have in common.
type plan struct {
	entry     *registry.Entry
	content   *render.Plan
	origin    string // of the sink; "" = it has none
	maskedURL string // of a sink without placeholders
	transport

	credential *credential.Credential // nil = none
}

// plans keeps the plan of each subscription's present version.
type plans struct {
	mu  sync.RWMutex
	all map[string]*plan

	credential func(*registry.Entry) (*credential.Credential, error) // prepares that of a subscription
}

func newPlans() *plans { return &plans{all: map[string]*plan{}} }

func (p *plans) of(entry *registry.Entry) (*plan, error) {
	id := entry.Subscription.ID
	p.mu.RLock()
	one, ok := p.all[id]
	p.mu.RUnlock()
	if ok && one.entry == entry {
		return one, nil
	}
	one, err := newPlan(entry)
	if err != nil {
		return nil, err
	}
	if one.credential, err = p.credential(entry); err != nil {
		return nil, fmt.Errorf("credential of %s: %w", id, err)
	}
	p.mu.Lock()
	p.all[id] = one
	p.mu.Unlock()
	return one, nil
}

// present is the plan that is kept of a subscription; nil when there is none.
func (p *plans) present(id string) *plan {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.all[id]
}

func (p *plans) forget(id string) {
	p.mu.Lock()
	delete(p.all, id)
	p.mu.Unlock()
}

func newPlan(entry *registry.Entry) (*plan, error) {
	sub := entry.Subscription
	content, err := render.New(sub)
	if err != nil {
		return nil, fmt.Errorf("subscription %s: %w", sub.ID, err)
	}
	p := &plan{entry: entry, content: content, origin: events.Origin(sub.Sink)}
	if u := content.Sink(); u != nil {
		p.maskedURL = maskURL(u)
	}
	if p.transport, err = newTransport(&sub.ProtocolSettings); err != nil {
		return nil, fmt.Errorf("settings of %s: %w", sub.ID, err)
	}
	return p, nil
}

// render makes the request of a delivery's next attempt. It is signed as the last thing before it is sent, because
// receivers compare the timestamp with their clock (SW-3). The error is a *render.Error: there is nothing to send.
func (p *plan) render(d *delivery, now time.Time) (*egress.Request, error) {
	id := d.event.WebhookID(p.entry.Subscription.ID)
	h := make(http.Header, 3+p.content.Fields(d.event))
	in := render.Input{Event: d.event, WebhookID: id, Subscription: p.entry.Subscription.ID, Attempt: d.number(), Now: now}
	u, body, err := p.content.Render(&in, d.override, h)
	if err != nil {
		return nil, err
	}
	r := p.request(id, u, h, body, now)
	if d.foreign {
		r.TLS = p.foreignTLS
	}
	return r, nil
}

// request is what all requests have in common, whatever is in them.
func (p *plan) request(id string, u *url.URL, h http.Header, body []byte, now time.Time) *egress.Request {
	sub := p.entry.Subscription
	values := []string{id, strconv.FormatInt(now.Unix(), 10)}
	h["Webhook-Id"] = values[0:1:1]
	h["Webhook-Timestamp"] = values[1:2:2]
	introduce(h, sub)
	if p.signer != nil {
		p.signer.Sign(h, id, now, body)
	}
	return &egress.Request{
		Method: sub.ProtocolSettings.Method, URL: u, Header: h, Body: body,
		Timeout: time.Duration(sub.Config.Timeout), Tenant: sub.Tenant, TLS: p.tls, NoProxy: p.noProxy,
	}
}

// shown is the URL of a request as it is recorded.
func (p *plan) shown(u *url.URL) string {
	if u == p.content.Sink() {
		return p.maskedURL
	}
	return maskURL(u)
}

// secretParameters are words in names of query parameters whose values are not shown.
var secretParameters = []string{"token", "key", "secret", "sig", "pass", "auth", "code"}

// maskURL is the URL as it is shown: what looks like a secret in the query is masked.
func maskURL(u *url.URL) string {
	if u.RawQuery == "" {
		return u.String()
	}
	shown := *u
	parameters := strings.Split(u.RawQuery, "&")
	for i, parameter := range parameters {
		name, _, found := strings.Cut(parameter, "=")
		if found && isSecretName(name) {
			parameters[i] = name + "=****"
		}
	}
	shown.RawQuery = strings.Join(parameters, "&")
	return shown.String()
}

func isSecretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range secretParameters {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
