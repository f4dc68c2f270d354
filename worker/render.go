package worker

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/sign"
	"github.com/hookfleet/hookfleet/events/registry"
)

// structuredType is exactly what partners get as content type in structured mode (API.md 3.4).
const structuredType = "application/cloudevents+json"

// plan is what all requests of one version of a subscription have in common.
type plan struct {
	entry     *registry.Entry
	url       *url.URL
	maskedURL string
	key       *sign.Key // nil = unsigned
}

// plans keeps the plan of each subscription's present version.
type plans struct {
	mu  sync.RWMutex
	all map[string]*plan
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
	p.mu.Lock()
	p.all[id] = one
	p.mu.Unlock()
	return one, nil
}

func (p *plans) forget(id string) {
	p.mu.Lock()
	delete(p.all, id)
	p.mu.Unlock()
}

func newPlan(entry *registry.Entry) (*plan, error) {
	sub := entry.Subscription
	u, err := url.Parse(sub.Sink)
	if err != nil {
		return nil, fmt.Errorf("sink of %s: not a URL", sub.ID)
	}
	p := &plan{entry: entry, url: u, maskedURL: maskURL(u)}
	if s := sub.ProtocolSettings.Signing; s != nil {
		if p.key, err = sign.Parse(s.Secret); err != nil {
			return nil, fmt.Errorf("secret of %s: %w", sub.ID, err)
		}
	}
	return p, nil
}

// render makes the request of a delivery's next attempt. It is signed as the last thing before it is sent, because
// receivers compare the timestamp with their clock (SW-3).
func (p *plan) render(d *delivery, now time.Time) *egress.Request {
	return p.request(structuredType, d.event.WebhookID(p.entry.Subscription.ID), d.event.Structured(), now)
}

// request is what all requests have in common, whatever is in them.
func (p *plan) request(contentType, id string, body []byte, now time.Time) *egress.Request {
	sub := p.entry.Subscription
	unix := now.Unix()
	values := []string{contentType, id, strconv.FormatInt(unix, 10), ""}
	h := make(http.Header, 5)
	h["Content-Type"] = values[0:1:1]
	h["Webhook-Id"] = values[1:2:2]
	h["Webhook-Timestamp"] = values[2:3:3]
	if p.key != nil {
		values[3] = string(p.key.Sign(nil, id, unix, body))
		h["Webhook-Signature"] = values[3:4:4]
	}
	return &egress.Request{
		Method: sub.ProtocolSettings.Method, URL: p.url, Header: h, Body: body,
		Timeout: time.Duration(sub.Config.Timeout), Tenant: sub.Tenant,
	}
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
