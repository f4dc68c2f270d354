package events

import (
	stdcmp "cmp"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookfleet/hookfleet/auth/secret"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var showSecrets = cmp.Transformer("secret", func(t secret.Text) string { return "text:" + t.Reveal() })

func decode(t *testing.T, text string) *Subscription {
	t.Helper()
	s, err := DecodeSubscription([]byte(text), "", SinkPolicy{})
	if err != nil {
		t.Fatalf("DecodeSubscription(%s): %v", text, err)
	}
	return s
}

func TestDecodeSubscriptionDefaults(t *testing.T) {
	t.Parallel()
	got := decode(t, `{"sink":"https://partner.example/hook"}`)
	want := &Subscription{
		Tenant: "default", Sink: "https://partner.example/hook", Protocol: "HTTP",
		ProtocolSettings: ProtocolSettings{Method: "POST", ContentMode: "structured"},
		Config: &DeliveryConfig{
			Timeout: Duration(15 * time.Second), Concurrency: 64, Breaker: Breaker{10, Duration(30 * time.Second)},
			Retry: RetryPolicy{
				Policy: "exponential", Initial: Duration(5 * time.Second), Factor: 3, Max: Duration(10 * time.Hour),
				Jitter: 0.1, MaxAttempts: 12, MaxAge: Duration(72 * time.Hour), MaxRetryAfter: Duration(6 * time.Hour),
			},
		},
	}
	if diff := cmp.Diff(want, got, showSecrets); diff != "" {
		t.Error(diff)
	}
}

const full = `{
	"id": "acme-orders", "tenant": "acme", "description": "Order status\nfor <ACME>", "paused": true,
	"source": "https://orders.example", "types": ["order.status", "order.refund.*"],
	"filters": [
		{"exact": {"subject": "order-1", "priority": "5"}},
		{"any": [{"prefix": {"type": "order."}}, {"not": {"suffix": {"subject": "x"}}}]},
		{"all": [{"exact": {"source": "a"}}]}
	],
	"sink": "https://partner.example:8443/hook?a=b",
	"protocol": "HTTP",
	"protocolsettings": {"method": "POST", "contentmode": "structured",
		"signing": {"scheme": "standardwebhooks", "secret": "` + testSecret + `"}},
	"sinkcredential": {"credentialtype": "NONE"},
	"config": {"ordering": {"key": "subject"}, "schedule": {"cron": "0 9 * * *", "timezone": "Europe/Berlin", "batch": 60},
		"lifecycle": {"key": "subject", "status": "status", "terminal": ["Ended"], "dedupe": false, "latestonly": true},
		"timeout": "100ms", "concurrency": 500, "breaker": {"failures": 0, "cooldown": "1m"}, "retry": {
		"policy": "schedule", "initial": "1ms", "factor": 1.5, "max": "30d", "schedule": ["1s", "2d"], "jitter": 0,
		"maxattempts": 1, "maxage": 0, "maxretryafter": "0s"}},
	"status": {"state": "active", "whatever": [1]}
}`

func TestDecodeSubscriptionFull(t *testing.T) {
	t.Parallel()
	got := decode(t, full)
	want := &Subscription{
		ID: "acme-orders", Tenant: "acme", Description: "Order status\nfor <ACME>", Paused: true,
		Source: "https://orders.example", Types: []string{"order.status", "order.refund.*"},
		Filters: []Filter{
			{Exact: Conditions{{"priority", "5"}, {"subject", "order-1"}}},
			{Any: []Filter{
				{Prefix: Conditions{{"type", "order."}}},
				{Not: &Filter{Suffix: Conditions{{"subject", "x"}}}},
			}},
			{All: []Filter{{Exact: Conditions{{"source", "a"}}}}},
		},
		Sink: "https://partner.example:8443/hook?a=b", Protocol: "HTTP",
		ProtocolSettings: ProtocolSettings{Method: "POST", ContentMode: "structured",
			Signing: &Signing{Scheme: "standardwebhooks", Secret: secret.New(testSecret)}},
		Config: &DeliveryConfig{
			Timeout: Duration(100 * time.Millisecond), Concurrency: 500, Breaker: Breaker{Cooldown: Duration(time.Minute)},
			Ordering: &Ordering{Key: "subject"}, Schedule: &Schedule{Cron: "0 9 * * *", Timezone: "Europe/Berlin", Batch: 60},
			Lifecycle: &Lifecycle{Key: "subject", Status: "status", Terminal: []string{"Ended"}, LatestOnly: true},
			Retry: RetryPolicy{
				Policy: "schedule", Initial: Duration(time.Millisecond), Factor: 1.5, Max: Duration(30 * 24 * time.Hour),
				Schedule: []Duration{Duration(time.Second), Duration(48 * time.Hour)}, MaxAttempts: 1,
			},
		},
	}
	if diff := cmp.Diff(want, got, showSecrets); diff != "" {
		t.Error(diff)
	}
}

// What GET answers can be PUT: the mask keeps the secret, and nothing else changes.
func TestDecodeSubscriptionTakesItsOwnAnswer(t *testing.T) {
	t.Parallel()
	for _, text := range []string{full, `{"sink":"https://a.example","config":{"retry":{"policy":"schedule"}}}`} {
		old := decode(t, text)
		old.ID = "acme-orders"
		shown, err := json.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(shown), testSecret) {
			t.Errorf("the answer has the secret: %s", shown)
		}
		shown = append(shown[:len(shown)-1], `,"status":{"state":"active","waiting":0}}`...)
		back := decode(t, string(shown))
		if err := back.KeepSecrets(old); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(old, back, showSecrets); diff != "" {
			t.Error(diff)
		}
	}
}

func faultsOf(t *testing.T, err error) *Invalid {
	t.Helper()
	invalid, ok := errors.AsType[*Invalid](err)
	if !ok {
		t.Fatalf("error %v is no *Invalid", err)
	}
	return invalid
}

func TestDecodeSubscriptionNotJSON(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"not":`, 64)
	tests := map[string]struct{ text, pointer string }{
		"empty":          {"", ""},
		"syntax":         {`{"sink":}`, ""},
		"trailing bytes": {`{"sink":"https://a.example"} x`, ""},
		"two values":     {`{} {}`, ""},
		"too deep":       {`{"filters":[` + deep + `1` + strings.Repeat("}", 64) + `]}`, ""},
		"invalid UTF-8":  {"{\"description\":\"\xff\"}", ""},
		"lone surrogate": {`{"description":"\ud800"}`, ""},
		"duplicate":      {`{"sink":"https://a.example","sink":"https://b.example"}`, "/sink"},
		"deep duplicate": {`{"config":{"retry":{"max":"1s","max":"2s"}}}`, "/config/retry/max"},
		"escaped twin":   {`{"filters":[{"exact":{"a":"1","\u0061":"2"}}]}`, "/filters/0/exact/a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeSubscription([]byte(test.text), "", SinkPolicy{})
			got := faultsOf(t, err)
			if got.Status != 400 || got.Code != "invalid_json" || len(got.Faults) != 1 || got.Faults[0].Pointer != test.pointer {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestDecodeSubscriptionTooLarge(t *testing.T) {
	t.Parallel()
	_, err := DecodeSubscription(make([]byte, MaxSubscriptionBytes+1), "", SinkPolicy{})
	if got := faultsOf(t, err); got.Status != 413 || got.Code != "too_large" {
		t.Errorf("%+v", got)
	}
}

// Each text is a subscription with a sink; the pointers are all that must be named, in order of appearance.
func TestDecodeSubscriptionFaults(t *testing.T) {
	t.Parallel()
	nested := func(n int) string {
		return strings.Repeat(`{"not":`, n-1) + `{"exact":{"a":"b"}}` + strings.Repeat("}", n-1)
	}
	tests := map[string]string{
		`"id":"Acme"`:          "/id",
		`"id":5`:               "/id",
		`"tenant":"-a"`:        "/tenant",
		`"Paused":true`:        "/Paused",
		`"paused":"yes"`:       "/paused",
		`"sink_credential":{}`: "/sink_credential",
		`"a/b~c":1`:            "/a~1b~0c",
		`"source":""`:          "/source",
		`"source":"a\u0007"`:   "/source",
		`"types":"order"`:      "/types",
		`"types":["a","",5,"*","a.*.b","a*",".*","a.*"]`: "/types/1 /types/2 /types/3 /types/4 /types/5 /types/6",
		`"protocol":"MQTT"`:                                "/protocol",
		`"protocol":"http"`:                                "/protocol",
		`"sinkcredential":{}`:                              "/sinkcredential/credentialtype",
		`"sinkcredential":{"credentialtype":"none"}`:       "/sinkcredential/credentialtype",
		`"sinkcredential":{"credentialtype":"NONE","x":1}`: "/sinkcredential/x",
		`"sinkcredential":"NONE"`:                          "/sinkcredential",
		`"protocolsettings":{"contentmode":"batch","headers":{"x":"${type} ${now}","y":"${webhookid}"}},"sinkoverride":"url"`: "" +
			"/sinkoverride /protocolsettings/headers/x",
		`"protocolsettings":{"signing":{"secret":"whsec_c2hvcnQ="}}`:                   "/protocolsettings/signing/secret",
		`"protocolsettings":{"signing":{"secret":"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`: "/protocolsettings/signing/secret",
		`"protocolsettings":{"signing":{"secret":""}}`:                                 "/protocolsettings/signing/secret",
		`"protocolsettings":{"contentmode":"batches","batch":[]}`:                      "/protocolsettings/contentmode /protocolsettings/batch",
		`"protocolsettings":{"contentmode":"batch","method":"GET","batch":{"maxevents":0,"maxbytes":1048577,"linger":"301s","max":1}}`: "" +
			"/protocolsettings/batch/maxevents /protocolsettings/batch/maxbytes /protocolsettings/batch/linger " +
			"/protocolsettings/batch/max /protocolsettings/method /sink",
		`"protocolsettings":{"contentmode":"batch","batch":{"maxevents":1001,"maxbytes":1.5,"linger":1}}`: "/protocolsettings/batch/maxevents " +
			"/protocolsettings/batch/maxbytes /protocolsettings/batch/linger",
		`"config":{"responses":{}}`: "/config/responses",
		`"config":{"responses":[7,null,{},{"status":"5xx"},{"action":"ack"}]}`: "/config/responses/0 /config/responses/1 " +
			"/config/responses/2/status /config/responses/2/action /config/responses/3/action /config/responses/4/status",
		`"config":{"responses":[{"status":99,"action":"ack"},{"status":"600","action":"ack"},{"status":"504-500","action":"ack"},` +
			`{"status":"6xx","action":"ack"},{"status":"4XX","action":"ack"},{"status":"","action":"ack"},{"status":"40","action":"ack"},` +
			`{"status":409.0,"action":"ack"},{"status":["409"],"action":"ack"},{"status":"5xx-6xx","action":"ack"},{"status":"**","action":"ack"}]}`: "" +
			"/config/responses/0/status /config/responses/1/status /config/responses/2/status /config/responses/3/status " +
			"/config/responses/4/status /config/responses/5/status /config/responses/6/status /config/responses/7/status " +
			"/config/responses/8/status /config/responses/9/status /config/responses/10/status",
		`"config":{"responses":[{"status":"409","action":"Retry"},{"status":"409","action":"ack","every":"1s"},` +
			`{"status":"409","action":"retry","every":"1ms"},{"status":"409","action":"retry","every":30},{"status":"409","action":"retry","x":1}]}`: "" +
			"/config/responses/0/action /config/responses/1/every /config/responses/2/every /config/responses/3/every /config/responses/4/x",
		`"config":{"timeout":"99ms","concurrency":501}`: "/config/timeout /config/concurrency",
		`"config":{"timeout":"301s","concurrency":0}`:   "/config/timeout /config/concurrency",
		`"config":{"timeout":15,"concurrency":1.5}`:     "/config/timeout /config/concurrency",
		`"config":{"retry":{"policy":"linear","initial":"0s","factor":0.5,"max":"31d","schedule":[],"jitter":1.1,` +
			`"maxattempts":0,"maxage":"-1s","maxretryafter":"1y"}}`: "/config/retry/policy /config/retry/initial /config/retry/factor " +
			"/config/retry/max /config/retry/schedule /config/retry/jitter /config/retry/maxattempts /config/retry/maxage /config/retry/maxretryafter",
		`"config":{"retry":{"schedule":["5s","x"]}}`:          "/config/retry/schedule/1",
		`"config":{"retry":{"maxage":5,"maxretryafter":0.0}}`: "/config/retry/maxage /config/retry/maxretryafter",
		`"filters":{}`:               "/filters",
		`"filters":[{}]`:             "/filters/0",
		`"filters":[null]`:           "/filters/0",
		`"filters":[{"exact":null}]`: "/filters/0",
		`"filters":[{"exact":{"a":"b"},"not":{"exact":{"a":"b"}}}]`: "/filters/0",
		`"filters":[{"exact":{}},{"any":[]},{"all":[]},{"not":{}}]`: "/filters/0/exact /filters/1/any /filters/2/all /filters/3/not",
		`"filters":[{"exact":{"a":"","B":"x","data":"x","n":5,"":"x"}}]`: "/filters/0/exact/a /filters/0/exact/B /filters/0/exact/data " +
			"/filters/0/exact/n /filters/0/exact/",
		`"filters":[{"like":"a"}]`:                                                                  "/filters/0/like",
		`"filters":[` + nested(8) + `]`:                                                             "",
		`"filters":[` + nested(9) + `]`:                                                             "/filters/0" + strings.Repeat("/not", 8),
		`"filters":[` + strings.Repeat(nested(1)+",", 63) + nested(1) + `]`:                         "",
		`"filters":[` + strings.Repeat(nested(1)+",", 64) + nested(1) + `]`:                         "/filters",
		`"filters":[{"exact":{"a":"` + strings.Repeat("<", 4096-len(`{"exact":{"a":""}}`)) + `"}}]`: "",
		`"filters":[{"exact":{"a":"` + strings.Repeat("<", 4097-len(`{"exact":{"a":""}}`)) + `"}}]`: "/filters/0",
		`"id":null,"types":null,"filters":null,"config":{"retry":null},"sinkcredential":null`:       "",
	}
	for text, pointers := range tests {
		t.Run(text[:min(len(text), 40)], func(t *testing.T) {
			t.Parallel()
			_, err := DecodeSubscription([]byte(`{"sink":"https://a.example",`+text+`}`), "", SinkPolicy{})
			if pointers == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			got := faultsOf(t, err)
			var at []string
			for _, f := range got.Faults {
				at = append(at, f.Pointer)
			}
			if diff := cmp.Diff(strings.Split(pointers, " "), at); diff != "" || got.Status != 422 || got.Code != "invalid_subscription" {
				t.Errorf("%v\n%s", got, diff)
			}
		})
	}
}

func TestDecodeSubscriptionSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := DecodeSubscription([]byte(`{"sink":"https://a.example/${order id}","maxAttempts":1,"sink_override":"x",
		"config":{"max_attempts":1,"schedule":{}},"protocolsettings":{"method":"GET"}}`), "", SinkPolicy{})
	want := []Fault{
		{"/maxAttempts", "is not known"},
		{"/sink_override", "is not known, write sinkoverride"},
		{"/config/max_attempts", "is not known"},
		{"/config/schedule", "must have exactly one of every, cron and source"},
		{"/sink", "has a malformed placeholder at byte 18: ' ' cannot stand here at byte 25"},
	}
	if diff := cmp.Diff(want, faultsOf(t, err).Faults); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeSubscriptionTenant(t *testing.T) {
	t.Parallel()
	s, err := DecodeSubscription([]byte(`{"sink":"https://a.example"}`), "acme", SinkPolicy{})
	if err != nil || s.Tenant != "acme" {
		t.Errorf("%v, %v", s, err)
	}
}

// No input panics, is refused with anything but an *Invalid, or is taken and then not taken again as it is shown.
func FuzzDecodeSubscription(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(withCredential(`"credentialtype":"APIKEY","secret":"a:b"`)))
	f.Add([]byte(`{"sink":"https://a.example","config":{"ordering":{},"schedule":{"cron":"*/5 9 1 * 7","timezone":"Asia/Tokyo"},"lifecycle":{"terminal":["a"]}}}`))
	f.Add([]byte(withCredential(server + `,"granttype":"json","username":"u","password":"p","tokenpath":"a[0].b"`)))
	f.Add([]byte(`{"sink":"https://a.example","types":["a.*"],"filters":[{"not":{"exact":{"a":"b"}}},{"sql":"a"},{"any":[{"cel":"b"},{"match":"c"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := DecodeSubscription(text, "", SinkPolicy{PlainHTTP: true, WrongFilter: wrongFilter})
		if err != nil {
			if got := faultsOf(t, err); len(got.Faults) == 0 {
				t.Fatal("refused without a fault")
			}
			return
		}
		s.ID = stdcmp.Or(s.ID, "x") // what is shown has one
		made := s.KeepSecrets(nil) == nil && s.MakeSecrets()
		shown, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeSubscription(shown, "", SinkPolicy{PlainHTTP: true, WrongFilter: wrongFilter})
		if err != nil {
			t.Fatalf("%s: %v", shown, err)
		}
		if err := back.KeepSecrets(s); err != nil && made {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back, showSecrets, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(string(shown), diff)
		}
	})
}
