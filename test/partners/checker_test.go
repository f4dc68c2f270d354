package partners_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/caf"
	"github.com/hookfleet/hookfleet/test/partners/idpay"
	"github.com/hookfleet/hookfleet/test/partners/raas"
	"github.com/hookfleet/hookfleet/test/partners/secutix"
	"github.com/hookfleet/hookfleet/test/partners/steadfast"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// plant makes a partner and sends it requests, the last of which is at fault. It gives what the partner found.
func plant(t *testing.T, p interface {
	http.Handler
	Faults() []string
}, requests ...*http.Request) []string {
	t.Helper()
	url := sinktest.Serve(t, p)
	for i, req := range requests {
		if i == len(requests)-1 {
			if faults := p.Faults(); len(faults) > 0 {
				t.Errorf("found before anything was wrong: %q", faults)
			}
		}
		send(t, url, req)
	}
	return p.Faults()
}

func send(t *testing.T, base string, req *http.Request) {
	t.Helper()
	body, err := req.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	out, err := http.NewRequestWithContext(t.Context(), req.Method, base+req.URL.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = req.Header
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// request is one to a partner; headers are "name: value".
func request(method, target, body string, headers ...string) *http.Request {
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Webhook-Id", "msg_"+hex.EncodeToString([]byte(body)))
	req.Header.Set("Webhook-Timestamp", fmt.Sprint(time.Now().Unix()))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	return req
}

// planted is one fault among requests that are in order but for the last.
type planted struct {
	partner interface {
		http.Handler
		Faults() []string
	}
	requests []*http.Request
	finds    string // in the first fault
}

func check(t *testing.T, faults map[string]planted) {
	t.Parallel()
	for name, tc := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := plant(t, tc.partner, tc.requests...); len(got) == 0 || !strings.Contains(strings.Join(got, "; "), tc.finds) {
				t.Errorf("found %q, and %q was planted", got, tc.finds)
			}
		})
	}
}

const jsonType = "Content-Type: application/json"

func TestSteadfastFindsFaults(t *testing.T) {
	order := func(order, status string, headers ...string) *http.Request {
		return request("POST", orderPath, fmt.Sprintf(`{"orderId":%q,"status":%q}`, order, status), append([]string{jsonType, "X-Api-Key: k"}, headers...)...)
	}
	partner := func() *steadfast.Partner {
		return steadfast.New(steadfast.Config{Path: orderPath, Auth: steadfast.Header("X-Api-Key", "k"), Terminal: []string{"Ended"}, Unsent: "Booked", MaxCalls: 2})
	}
	failing := partner()
	failing.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: 500} })
	late := steadfast.New(steadfast.Config{Path: orderPath, Interval: time.Hour, Window: 0})
	tokens := &steadfast.Tokens{User: "u", Password: "p", UserField: "login", PasswordField: "pin", TokenField: "token", ExpiresField: "seconds"}
	bearer := steadfast.New(steadfast.Config{Path: orderPath, Auth: tokens.Auth})
	query := steadfast.New(steadfast.Config{Path: orderPath, Auth: steadfast.Query("key", "k")})
	ok := order("1", "Sent")
	check(t, map[string]planted{
		"method":        {partner(), []*http.Request{ok, request("PUT", orderPath, `{"orderId":"1","status":"x"}`, jsonType, "X-Api-Key: k")}, "method PUT"},
		"path":          {partner(), []*http.Request{request("POST", "/", `{"orderId":"1","status":"x"}`, jsonType, "X-Api-Key: k")}, "path /"},
		"key":           {partner(), []*http.Request{order("1", "Sent", "X-Api-Key: other")}, "X-Api-Key"},
		"key in query":  {query, []*http.Request{request("POST", orderPath+"?key=k&other=1", `{"orderId":"1","status":"x"}`, jsonType)}, "query"},
		"type":          {partner(), []*http.Request{order("1", "Sent", "Content-Type: text/plain")}, "Content-Type"},
		"no id":         {partner(), []*http.Request{order("1", "Sent", "Webhook-Id: ")}, "webhook-id"},
		"old":           {partner(), []*http.Request{order("1", "Sent", "Webhook-Timestamp: 1")}, "webhook-timestamp"},
		"member":        {partner(), []*http.Request{request("POST", orderPath, `{"orderId":"1","status":"x","extra":1}`, jsonType, "X-Api-Key: k")}, "extra"},
		"lacks":         {partner(), []*http.Request{request("POST", orderPath, `{"orderId":"1"}`, jsonType, "X-Api-Key: k")}, `lacks "status"`},
		"twice a name":  {partner(), []*http.Request{request("POST", orderPath, `{"orderId":"1","status":"x","status":"y"}`, jsonType, "X-Api-Key: k")}, "twice"},
		"batch":         {partner(), []*http.Request{request("POST", orderPath, `[{"orderId":"1","status":"x"}]`, jsonType, "X-Api-Key: k")}, "no object"},
		"more":          {partner(), []*http.Request{request("POST", orderPath, `{"orderId":"1","status":"x"}{}`, jsonType, "X-Api-Key: k")}, "goes on"},
		"number":        {partner(), []*http.Request{request("POST", orderPath, `{"orderId":1,"status":"x"}`, jsonType, "X-Api-Key: k")}, "not a text"},
		"booked":        {partner(), []*http.Request{order("1", "Booked")}, "Booked"},
		"sent before":   {partner(), []*http.Request{ok, order("1", "Packed"), order("1", "Sent", "Webhook-Id: other")}, "before"},
		"completed":     {partner(), []*http.Request{ok, order("1", "Ended"), order("1", "Packed")}, "completed"},
		"three calls":   {failing, []*http.Request{ok, order("1", "Sent"), order("1", "Sent")}, "3 times"},
		"beside a tick": {late, []*http.Request{order("1", "Sent")}, "after a tick"},
		"token":         {bearer, []*http.Request{order("1", "Sent", "Authorization: Bearer token-1")}, "Authorization"},
		"token request": {tokens, []*http.Request{request("POST", "/", `{"username":"u","password":"p"}`, jsonType)}, "token server"},
	})
}

func TestIDPayFindsFaults(t *testing.T) {
	tx := func(id, status string, headers ...string) *http.Request {
		return request("POST", "/", fmt.Sprintf(`{"id":%q,"status":%q}`, id, status), append([]string{jsonType, "Authorization: " + idpayBasic}, headers...)...)
	}
	client := func(answers ...partners.Answer) *idpay.Client {
		cfg := idpayConfig()
		cfg.MaxRetries, cfg.Interval = 1, time.Hour
		p := idpay.New(cfg)
		p.Answer(func(c *partners.Call) partners.Answer {
			if c.Number > len(answers) {
				return partners.Answer{}
			}
			return answers[c.Number-1]
		})
		return p
	}
	from := idpay.New(idpay.Config{Header: "Authorization", Value: idpayBasic, From: []string{"127.0.0.42"}})
	none := idpay.New(idpay.Config{MaxRetries: 1})
	failed := partners.Answer{Status: 500}
	check(t, map[string]planted{
		"credential":      {client(), []*http.Request{tx("1", "approved"), tx("2", "approved", "Authorization: Basic eDp5")}, "Authorization"},
		"none was agreed": {none, []*http.Request{tx("2", "approved")}, "not agreed"},
		"status":          {client(), []*http.Request{tx("1", "shared")}, "not asked for"},
		"member":          {client(), []*http.Request{request("POST", "/", `{"id":"1","status":"approved","amount":1}`, jsonType, "Authorization: "+idpayBasic)}, "amount"},
		"lacks":           {client(), []*http.Request{request("POST", "/", `{"status":"approved"}`, jsonType, "Authorization: "+idpayBasic)}, "lacks"},
		"early":           {client(failed), []*http.Request{tx("1", "approved"), tx("1", "approved")}, "before its time"},
		"too often":       {client(failed, failed), []*http.Request{tx("1", "approved"), tx("1", "approved"), tx("1", "approved")}[1:], "before its time"},
		"other body":      {client(failed), []*http.Request{tx("1", "approved", "Webhook-Id: a"), tx("2", "approved", "Webhook-Id: a")}, "under the webhook-id"},
		"from":            {from, []*http.Request{tx("1", "approved")}, "called from"},
		"method":          {client(), []*http.Request{request("GET", "/", ``, jsonType, "Authorization: "+idpayBasic)}, "method"},
	})
}

func TestRaasFindsFaults(t *testing.T) {
	body := func(name, more string) string {
		return fmt.Sprintf(`{"id":"w","event_name":%q,"resource_id":"r","subscription_id":"s","timestamp":%q%s}`, name, time.Now().UTC().Format(time.RFC3339), more)
	}
	post := func(text string, headers ...string) *http.Request {
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write([]byte(text))
		name := "resource.created"
		if strings.Contains(text, "tag.status") {
			name = "tag.status"
		}
		return request("POST", raasPath, text, append([]string{jsonType, "Webhook-Id: w", "X-Raas-Event: " + name, "X-Raas-Webhook-Signature: " + hex.EncodeToString(mac.Sum(nil))}, headers...)...)
	}
	client := func(status int) *raas.Client {
		p := raas.New(raas.Config{Path: raasPath, Subscription: "s", Every: time.Hour, Clock: time.Minute}, "secret")
		p.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: status} })
		return p
	}
	good := body("resource.created", "")
	check(t, map[string]planted{
		"signature":       {client(204), []*http.Request{post(good, "X-Raas-Webhook-Signature: "+strings.Repeat("0", 64))}, "signature"},
		"other body":      {client(204), []*http.Request{post(good, "X-Raas-Webhook-Signature: "+post(body("tag.status", `,"payload":[]`)).Header.Get("X-Raas-Webhook-Signature"))}, "signature"},
		"event":           {client(204), []*http.Request{post(good, "X-Raas-Event: other")}, "X-Raas-Event"},
		"member":          {client(204), []*http.Request{post(body("resource.created", `,"x":1`))}, `"x"`},
		"empty user":      {client(204), []*http.Request{post(body("resource.created", `,"user_id":null`))}, "user_id"},
		"payload":         {client(204), []*http.Request{post(body("resource.created", `,"payload":[]`))}, "payload"},
		"no payload":      {client(204), []*http.Request{post(body("tag.status", ""))}, "payload"},
		"list":            {client(204), []*http.Request{post(body("tag.status", `,"payload":"a"`))}, "list"},
		"webhook":         {client(204), []*http.Request{post(good, "Webhook-Id: other")}, `"id"`},
		"timestamp":       {client(204), []*http.Request{post(strings.Replace(good, `"timestamp":"2`, `"timestamp":"1`, 1))}, "timestamp"},
		"after a failure": {client(500), []*http.Request{post(good), post(good)}, "again after 500"},
		"after a 3xx":     {client(302), []*http.Request{post(good), post(good)}, "again after 302"},
		"early":           {client(409), []*http.Request{post(good), post(good)}, "before its time"},
	})
}

func TestCAFFindsFaults(t *testing.T) {
	const head = `{"id":"1","time":"2026-01-31T08:00:00Z","type":"TransactionFinished","source":"s","specversion":"1.0"`
	const data = `,"data":{"transactionId":"t","workflowId":"onboarding","status":"APPROVED","date":"2026-01-31T08:00:00Z"}`
	post := func(text string, headers ...string) *http.Request {
		return request("POST", "/", text, append([]string{"Content-Type: application/cloudevents+json"}, headers...)...)
	}
	client := func(status int) *caf.Client {
		p := caf.New(caf.Config{Workflows: []string{"onboarding"}, Schedule: []time.Duration{time.Hour}, Attempts: 2, Latest: true})
		p.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: status} })
		return p
	}
	untimed := caf.New(caf.Config{Attempts: 2})
	untimed.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: 500} })
	dated := caf.New(caf.Config{Clock: time.Minute})
	good := head + data + "}"
	check(t, map[string]planted{
		"tenant":      {client(204), []*http.Request{post(good), post(head + data + `,"tenant":"x"}`)}, "tenant"},
		"default":     {client(204), []*http.Request{post(head + data + `,"datacontenttype":"application/json"}`)}, "datacontenttype"},
		"no time":     {client(204), []*http.Request{post(strings.Replace(good, `"time":"2026-01-31T08:00:00Z",`, "", 1))}, `lacks "time"`},
		"version":     {client(204), []*http.Request{post(strings.Replace(good, `"1.0"`, `"0.3"`, 1))}, "specversion"},
		"type":        {client(204), []*http.Request{post(strings.Replace(good, "TransactionFinished", "TransactionStarted", 1))}, "TransactionStarted"},
		"workflow":    {client(204), []*http.Request{post(strings.Replace(good, `"onboarding"`, `"other"`, 1))}, "workflow"},
		"data":        {client(204), []*http.Request{post(strings.Replace(good, `"status":"APPROVED",`, "", 1))}, `lacks "status"`},
		"media type":  {client(204), []*http.Request{post(good, jsonType)}, "Content-Type"},
		"charset":     {client(204), []*http.Request{post(good, "Content-Type: application/cloudevents+json; charset=utf-8")}, "Content-Type"},
		"early":       {client(500), []*http.Request{post(good), post(good)}, "before its time"},
		"three times": {untimed, []*http.Request{post(good), post(good), post(good)}, "attempt 3"},
		"older":       {client(204), []*http.Request{post(good), post(strings.Replace(good, `"time":"2026`, `"time":"2025`, 1))}, "told before"},
		"date":        {dated, []*http.Request{post(good)}, "not the time of sending"},
	})
}

func TestSecutixFindsFaults(t *testing.T) {
	get := func(target string, headers ...string) *http.Request { return request("GET", target, "", headers...) }
	partner := func(cfg secutix.Config) *secutix.Partner {
		if cfg.Target == nil {
			cfg.Method, cfg.Target = "GET", regexp.MustCompile(`^/orders/(\d+)\?update=true$`)
		}
		return secutix.New(cfg)
	}
	post := secutix.Config{Target: regexp.MustCompile(`^/orders$`), Body: regexp.MustCompile(`^\{"order": "(\d+)"\}$`)}
	const good = "/orders/1?update=true"
	check(t, map[string]planted{
		"method":     {partner(secutix.Config{}), []*http.Request{get(good), request("POST", good, "")}, "method"},
		"literal":    {partner(secutix.Config{}), []*http.Request{get("/orders/$%7BorderId%7D?update=true")}, "URL"},
		"query":      {partner(secutix.Config{}), []*http.Request{get("/orders/1")}, "URL"},
		"body":       {partner(secutix.Config{}), []*http.Request{request("GET", good, "x")}, "body"},
		"credential": {partner(secutix.Config{}), []*http.Request{get(good, "Authorization: Basic eDp5")}, "credential"},
		"direct":     {partner(secutix.Config{Proxy: true}), []*http.Request{get(good, "Via: 1.1 secutix-gate"), get(good)}, "via"},
		"by a proxy": {partner(secutix.Config{}), []*http.Request{get(good, "Via: 1.1 other")}, "via"},
		"other body": {partner(post), []*http.Request{request("POST", "/orders", `{"order": "1"}`, jsonType), request("POST", "/orders", `{"order":"1"}`, jsonType)}, "body"},
		"type":       {partner(post), []*http.Request{request("POST", "/orders", `{"order": "1"}`)}, "Content-Type"},
		"tick":       {partner(secutix.Config{Interval: time.Hour}), []*http.Request{get(good)}, "after a tick"},
		"batch":      {partner(secutix.Config{Interval: time.Hour, Window: time.Hour, Batch: 1}), []*http.Request{get(good, "Webhook-Id: a"), get(good, "Webhook-Id: b")}, "number 2"},
	})
}
