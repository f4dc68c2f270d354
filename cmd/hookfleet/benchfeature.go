package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"github.com/hookfleet/hookfleet/auth/credential"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/sign"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
	"github.com/hookfleet/hookfleet/worker/render"
)

// featureTime is how long each feature is measured in each of featureRounds, of which the fastest counts: what else the
// machine does only ever adds.
const (
	featureTime   = 100 * time.Millisecond
	featureRounds = 5
)

// features are what a subscription may ask for, and what that costs for an event of 1 KiB, in this process and without a
// fleet: beside a delivery's 100 µs they would not be seen.
func (b *bench) features(ctx context.Context) error {
	e, err := events.ParseStructured(newBenchEvent("features", "bench.features").text)
	if err != nil {
		return fmt.Errorf("make an event: %w", err)
	}
	e.JSON() // its data is read once for all filters
	for _, group := range []func(*events.Event) ([]feature, error){renderFeatures, signFeatures, filterFeatures, credentialFeatures} {
		all, err := group(e)
		if err != nil {
			return err
		}
		for _, f := range all {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			took, allocs := measureFeature(f.do)
			b.report.add(f.name, took, "µs", f.goal)
			b.report.add(f.name+", allocations", allocs, "", noGoal)
		}
	}
	return nil
}

// feature is one thing to measure.
type feature struct {
	name string
	goal goal
	do   func()
}

// measureFeature gives the time of one call in microseconds, and its allocations.
func measureFeature(do func()) (took, allocs float64) {
	calls := 1
	for ; ; calls *= 2 { // until one look at the clock is nothing beside them
		if d := timeCalls(do, calls); d >= featureTime/4 {
			calls = max(1, int(float64(calls)*float64(featureTime)/float64(d)))
			break
		}
	}
	best := timeCalls(do, calls)
	var before, after runtime.MemStats
	for range featureRounds - 1 {
		best = min(best, timeCalls(do, calls))
	}
	runtime.ReadMemStats(&before)
	timeCalls(do, calls)
	runtime.ReadMemStats(&after)
	return float64(best.Nanoseconds()) / 1000 / float64(calls), float64(after.Mallocs-before.Mallocs) / float64(calls)
}

func timeCalls(do func(), calls int) time.Duration {
	start := time.Now()
	for range calls {
		do()
	}
	return time.Since(start)
}

// renderFeatures make the request's URL, headers and body.
func renderFeatures(e *events.Event) (all []feature, err error) {
	const body = `"contentmode":"template","body":{"id":"${data.orderId}","status":"${data.status}","kind":"${type}"}`
	for _, r := range []struct {
		name, members string
		goal          goal
	}{
		{"structured", `"protocolsettings":{}`, noGoal},
		{"omit", `"protocolsettings":{"omit":["subject"]}`, noGoal},
		{"binary", `"protocolsettings":{"contentmode":"binary"}`, noGoal},
		{"data", `"protocolsettings":{"contentmode":"data"}`, noGoal},
		{"template", `"protocolsettings":{` + body + `}`, goalTemplate},
		{"headers", `"protocolsettings":{"headers":{"x-type":"${type}","x-order":"${data.orderId}"}}`, noGoal},
		{"placeholders in the sink", `"sink":"https://partner.example/orders/${subject}","protocolsettings":{}`, noGoal},
	} {
		text := `{"sink":"https://partner.example/hook",` + r.members + `}`
		if r.members[1:5] == "sink" {
			text = `{` + r.members + `}`
		}
		s, err := events.DecodeSubscription([]byte(text), "", events.SinkPolicy{})
		if err != nil {
			return nil, fmt.Errorf("feature %s: %w", r.name, err)
		}
		plan, err := render.New(s)
		if err != nil {
			return nil, fmt.Errorf("feature %s: %w", r.name, err)
		}
		in := &render.Input{Event: e, WebhookID: "msg_bench", Subscription: "bench", Attempt: 1, Now: time.Now()}
		all = append(all, feature{"render " + r.name, r.goal, func() {
			_, _, err = plan.Render(in, nil, make(http.Header, 3+plan.Fields(e)))
		}})
		if _, _, err := plan.Render(in, nil, http.Header{}); err != nil {
			return nil, fmt.Errorf("feature %s: %w", r.name, err)
		}
	}
	return all, nil
}

// signFeatures sign a body of 1 KiB.
func signFeatures(e *events.Event) (all []feature, err error) {
	for _, s := range []sign.Settings{
		{Scheme: sign.StandardWebhooks, Secret: secret.New("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")},
		{Scheme: sign.HMAC, Secret: secret.New("0123456789abcdef"), Header: "x-signature"},
		{Scheme: sign.Ed25519, Secret: secret.New("whsk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")},
	} {
		signer, err := sign.New(s)
		if err != nil {
			return nil, fmt.Errorf("feature %s: %w", s.Scheme, err)
		}
		h, body := make(http.Header, 4), e.Structured()
		all = append(all, feature{"sign " + s.Scheme, goalSign, func() { signer.Sign(h, "msg_bench", time.Now(), body) }})
	}
	return all, nil
}

// filterFeatures look at an event whose data is read.
func filterFeatures(e *events.Event) (all []feature, err error) {
	for _, f := range []struct {
		name, text string
		goal       goal
	}{
		{"exact", `{"exact":{"subject":"order-4711"}}`, noGoal},
		{"match", `{"match":"status=In Transit"}`, noGoal},
		{"sql", `{"sql":"type LIKE 'bench.%' AND subject = 'order-4711'"}`, noGoal},
		{"cel", `{"cel":"data.status == 'In Transit' && type.startsWith('bench.')"}`, goalCEL},
	} {
		var one events.Filter
		if err := json.Unmarshal([]byte(f.text), &one); err != nil {
			return nil, fmt.Errorf("feature %s: %w", f.name, err)
		}
		do := func() { one.Judge(e, nil) }
		if set := filter.NewCache().Set([]events.Filter{one}); set != nil {
			do = func() { set.Judge(filter.NewEvaluation(e)) }
		}
		all = append(all, feature{"filter " + f.name, f.goal, do})
	}
	return all, nil
}

// credentialFeatures put a credential onto a request.
func credentialFeatures(*events.Event) (all []feature, err error) {
	u, err := url.Parse("https://partner.example/hook?a=b")
	if err != nil {
		return nil, fmt.Errorf("feature credential: %w", err)
	}
	for _, one := range []struct {
		name string
		spec credential.Spec
	}{
		{"in a header", credential.Spec{Type: events.CredentialAPIKey, In: "header", Name: "x-api-key", Value: secret.New("0123456789abcdef")}},
		{"in the URL", credential.Spec{Type: events.CredentialAPIKey, In: "query", Name: "key", Value: secret.New("0123456789abcdef")}},
	} {
		c, err := credential.New(&one.spec, credential.Deps{})
		if err != nil {
			return nil, fmt.Errorf("feature credential: %w", err)
		}
		h := make(http.Header, 4)
		all = append(all, feature{"credential " + one.name, noGoal, func() { c.Apply(&egress.Request{URL: u, Header: h}, nil) }})
	}
	return all, nil
}
