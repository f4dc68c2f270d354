package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
			took, allocs := f.measure()
			b.report.add(f.name, took, "µs", f.goal)
			b.report.add(f.name+", allocations", allocs, "", noGoal)
		}
	}
	return nil
}

// feature is one thing to measure.
type feature struct {
	name  string
	goal  goal
	do    func()
	ready func() // makes what the next featureBlock calls use up, outside of what is measured; nil = nothing
}

// featureBlock is how many calls are measured in one piece: enough for the clock, and few enough to be made ready.
const featureBlock = 1000

// measure gives the time of one call in microseconds, and its allocations.
func (f *feature) measure() (took, allocs float64) {
	blocks := 1
	for ; ; blocks *= 2 { // until one look at the clock is nothing beside them
		if d := f.time(blocks); d >= featureTime/4 {
			blocks = max(1, int(float64(blocks)*float64(featureTime)/float64(d)))
			break
		}
	}
	best := f.time(blocks)
	for range featureRounds - 1 {
		best = min(best, f.time(blocks))
	}
	return float64(best.Nanoseconds()) / 1000 / float64(blocks*featureBlock), f.allocations()
}

// time is how long some blocks of calls take.
func (f *feature) time(blocks int) (took time.Duration) {
	for range blocks {
		if f.ready != nil {
			f.ready()
		}
		start := time.Now()
		for range featureBlock {
			f.do()
		}
		took += time.Since(start)
	}
	return took
}

func (f *feature) allocations() float64 {
	var before, after runtime.MemStats
	if f.ready != nil {
		f.ready()
	}
	runtime.ReadMemStats(&before)
	for range featureBlock {
		f.do()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / featureBlock
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
		all = append(all, feature{name: "render " + r.name, goal: r.goal, do: func() {
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
		all = append(all, feature{name: "sign " + s.Scheme, goal: goalSign, do: func() { signer.Sign(h, "msg_bench", time.Now(), body) }})
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
		all = append(all, feature{name: "filter " + f.name, goal: f.goal, do: do})
	}
	first, err := firstLook()
	if err != nil {
		return nil, err
	}
	return append(all, first), nil
}

// firstLook is the most that a usual filter costs: it asks for several members of an order with many, of an event into whose
// data nobody has looked before, so that it is read for this filter.
func firstLook() (f feature, err error) {
	text := orderEvent()
	set := filter.NewCache().Set([]events.Filter{{CEL: `data.amount > 100 && data.status == 'In Transit' && data.order.kind == 'SALE'`}})
	var fresh []*events.Event
	f = feature{name: "filter cel, three paths, data not read yet", goal: goalCEL}
	f.ready = func() {
		for fresh = fresh[:0]; len(fresh) < featureBlock; {
			e, _ := events.ParseStructured(text) // which was parsed below
			fresh = append(fresh, e)
		}
	}
	f.do = func() {
		last := len(fresh) - 1
		set.Judge(filter.NewEvaluation(fresh[last]))
		fresh = fresh[:last]
	}
	e, err := events.ParseStructured(text)
	switch {
	case err != nil:
		return f, fmt.Errorf("feature filter: %w", err)
	case set.Judge(filter.NewEvaluation(e)) != events.True:
		return f, errors.New("feature filter: it does not hold")
	}
	return f, nil
}

// orderEvent is an event of 1 KiB whose data has some hundred values, unlike those of a run, which are mostly one text.
func orderEvent() []byte {
	var b bytes.Buffer
	b.WriteString(benchEventStart + `features-1","source":"/hookfleet/bench","type":"bench.order","subject":"order-4711",` +
		`"data":{"amount":150.25,"status":"In Transit","order":{"kind":"SALE","lines":[`)
	const line, end = `{"code":"A10","price":1000,"text":"an article"}`, `]},"note":"that is all"}}`
	for b.WriteString(line); b.Len()+len(line)+len(end) < benchEventBytes; b.WriteString(line) {
		b.WriteByte(',')
	}
	b.WriteString(end)
	return b.Bytes()
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
		all = append(all, feature{name: "credential " + one.name, goal: noGoal, do: func() { c.Apply(&egress.Request{URL: u, Header: h}, nil) }})
	}
	return all, nil
}
