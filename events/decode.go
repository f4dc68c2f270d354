package events

import (
	"errors"
	"slices"
	"strconv"
)

// MaxSubscriptionBytes bounds the JSON of a subscription. 64 filters of 4 KiB are half of it; the store takes messages of
// 1 MiB, and a record holds earlier versions too.
const MaxSubscriptionBytes = 512 << 10

const (
	codeInvalidSubscription = "invalid_subscription"
	statusInvalid           = 422
)

// DecodeSubscription reads a subscription from the JSON of the API, strictly, and fills in the defaults. tenant is whose
// it is when it names none; "" means DefaultTenant. The id may be absent. Members that are not known are refused; status,
// which is read-only, is ignored, so that what GET answered can be PUT. A member that is null is absent.
//
// A secret may be absent or a mask: KeepSecrets and MakeSecrets follow.
//
// The error is always an *Invalid: Status 400 with code invalid_json for what cannot be parsed, 413 with code too_large,
// 422 with code invalid_subscription and all faults at once otherwise.
func DecodeSubscription(text []byte, tenant string, policy SinkPolicy) (*Subscription, error) {
	return decodeSubscription(text, tenant, policy, false)
}

// DecodeNewSubscription is DecodeSubscription for one that replaces none. The secrets that it must bring are among the
// faults.
func DecodeNewSubscription(text []byte, tenant string, policy SinkPolicy) (*Subscription, error) {
	return decodeSubscription(text, tenant, policy, true)
}

func decodeSubscription(text []byte, tenant string, policy SinkPolicy, brandNew bool) (*Subscription, error) {
	if len(text) > MaxSubscriptionBytes {
		return nil, &Invalid{Status: 413, Code: "too_large", Faults: []Fault{
			{Detail: "is larger than " + strconv.Itoa(MaxSubscriptionBytes) + " bytes"},
		}}
	}
	root, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	d := subscriptionReader{s: defaultSubscription(tenant), sinks: policy}
	d.subscription(root)
	d.checkSink(policy)
	d.checkHandshake(policy)
	d.checkRequest()
	d.checkBatch()
	d.checkLane()
	d.checkSigning()
	if brandNew {
		d.needSecrets()
	}
	if d.faults != nil {
		return nil, &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: d.faults}
	}
	return d.s, nil
}

func defaultSubscription(tenant string) *Subscription {
	if tenant == "" {
		tenant = DefaultTenant
	}
	return &Subscription{
		Tenant: tenant, Protocol: ProtocolHTTP,
		ProtocolSettings: ProtocolSettings{Method: MethodPost, ContentMode: ModeStructured},
		Config:           new(DefaultDeliveryConfig()),
	}
}

// subscriptionReader knows where in the document what is.
type subscriptionReader struct {
	document
	s     *Subscription
	sinks SinkPolicy
}

func (d *subscriptionReader) subscription(v *jsonValue) {
	s := d.s
	d.object(v, "", map[string]reader{
		"id":               d.text(&s.ID, wrongID),
		"tenant":           d.text(&s.Tenant, wrongID),
		"description":      d.text(&s.Description, wrongDescription),
		"paused":           d.boolean(&s.Paused),
		"source":           d.text(&s.Source, wrongSource),
		"types":            d.types,
		"filters":          d.filters,
		"sink":             d.text(&s.Sink, nothingWrong),
		"sinkoverride":     d.text(&s.SinkOverride, wrongReference),
		"protocol":         d.word(&s.Protocol, ProtocolHTTP),
		"protocolsettings": d.protocolSettings,
		"sinkcredential":   (&credentialReader{&d.document, d.sinks, &s.SinkCredential}).credential,
		"config":           d.config,
		"status":           d.ignore,
	})
}

// needSecrets faults the secrets that are missing, unless they are faulted already.
func (d *subscriptionReader) needSecrets() {
	invalid, ok := errors.AsType[*Invalid](d.s.KeepSecrets(nil))
	if !ok {
		return
	}
	for _, f := range invalid.Faults {
		if !slices.ContainsFunc(d.faults, func(have Fault) bool { return have.Pointer == f.Pointer }) {
			d.fault(f.Pointer, "%s", f.Detail)
		}
	}
}

func (d *subscriptionReader) checkSink(policy SinkPolicy) {
	if d.s.Sink == "" {
		if d.s.SinkOverride == "" {
			d.fault("/sink", "is required, but beside sinkoverride")
		}
		return
	}
	for _, why := range policy.Refuses(d.s.Sink) {
		d.fault("/sink", "%s", why)
	}
}

func (d *subscriptionReader) types(v *jsonValue, at string) {
	d.array(v, at, maxTypes, func(v *jsonValue, at string) {
		var typ string
		d.text(&typ, wrongType)(v, at)
		d.s.Types = append(d.s.Types, typ)
	})
}

func (d *subscriptionReader) protocolSettings(v *jsonValue, at string) {
	p := &d.s.ProtocolSettings
	d.object(v, at, map[string]reader{
		"method":      d.oneOf(&p.Method, MethodPost, MethodPut, MethodPatch, MethodGet),
		"contentmode": d.oneOf(&p.ContentMode, ModeStructured, ModeBinary, ModeBatch, ModeData, ModeTemplate),
		"batch":       d.batch,
		"headers":     d.headers,
		"omit":        d.omit,
		"body":        d.body,
		"contenttype": d.text(&p.ContentType, wrongContentType),
		"signing":     d.signing,
		"handshake":   d.handshake,
		"tls":         d.tls,
		"proxy":       d.proxy,
	})
	d.finishBatch(v, at)
}

func (d *subscriptionReader) config(v *jsonValue, at string) {
	c := d.s.Config
	d.object(v, at, map[string]reader{
		"timeout":     d.duration(&c.Timeout, Duration(MinTimeout), Duration(MaxTimeout)),
		"retry":       d.retry,
		"concurrency": d.integer(&c.Concurrency, 1, MaxConcurrency),
		"responses":   d.responses,
		"rate":        d.rate, "pause": d.pause, "breaker": d.breaker,
		"ordering": d.ordering, "schedule": d.ticks, "lifecycle": d.lifecycle,
	})
}

func (d *subscriptionReader) retry(v *jsonValue, at string) {
	r := &d.s.Config.Retry
	d.object(v, at, map[string]reader{
		"policy":        d.policy,
		"initial":       d.duration(&r.Initial, minDelay, maxDelay),
		"factor":        d.number(&r.Factor, 1, maxFactor),
		"max":           d.duration(&r.Max, minDelay, maxDelay),
		"schedule":      d.schedule,
		"jitter":        d.number(&r.Jitter, 0, 1),
		"maxattempts":   d.integer(&r.MaxAttempts, 1, maxAttempts),
		"maxage":        d.duration(&r.MaxAge, 0, maxDelay),
		"maxretryafter": d.duration(&r.MaxRetryAfter, 0, maxDelay),
	})
	if r.Policy == PolicySchedule && r.Schedule == nil {
		r.Schedule = DefaultSchedule()
	}
}

func (d *subscriptionReader) policy(v *jsonValue, at string) {
	switch {
	case !d.is(jsonString, v, at):
	case v.text != PolicyExponential && v.text != PolicyFixed && v.text != PolicySchedule:
		d.fault(at, "must be %s, %s or %s", PolicyExponential, PolicyFixed, PolicySchedule)
	default:
		d.s.Config.Retry.Policy = v.text
	}
}

func (d *subscriptionReader) schedule(v *jsonValue, at string) {
	r := &d.s.Config.Retry
	if v.kind == jsonArray && len(v.items) == 0 {
		d.fault(at, "must not be empty")
	}
	d.array(v, at, maxSchedule, func(v *jsonValue, at string) {
		var delay Duration
		d.duration(&delay, minDelay, maxDelay)(v, at)
		r.Schedule = append(r.Schedule, delay)
	})
}
