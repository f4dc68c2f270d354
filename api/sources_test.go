package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/api"
)

const orders = `{"tenant":"acme","url":"https://internal.example/orders/${key}","type":"order.status","every":"1m","terminal":["Ended"],
	"credential":{"credentialtype":"APIKEY","name":"X-Key","value":"opensesame-0123456789"}}`

func TestSources(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.put("/v1/sources/orders", orders).want(http.StatusCreated)
	if made.header.Get("Location") != "/v1/sources/orders" || made.header.Get("ETag") == "" {
		t.Errorf("header %v", made.header)
	}
	for name, want := range map[string]string{"id": "orders", "tenant": "acme", "every": "1m", "status": "status", "initial": "Booked", "timeout": "15s", "concurrency": "64"} {
		if got := made.at(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if strings.Contains(string(made.body), "opensesame") || !strings.Contains(string(made.body), `"••••6789"`) {
		t.Errorf("its secret: %s", made.body)
	}
	// What GET answers can be PUT, and keeps the secret.
	got := b.get("/v1/sources/orders").want(http.StatusOK)
	put := b.put("/v1/sources/orders", string(got.body)).want(http.StatusOK)
	if e, _ := b.registry.Source("orders"); e.Source.Credential.Value.Reveal() != "opensesame-0123456789" {
		t.Errorf("the secret is %q now", e.Source.Credential.Value.Reveal())
	}
	stale := b.do(request{method: "PUT", path: "/v1/sources/orders", body: orders, header: map[string]string{"If-Match": got.header.Get("ETag")}})
	stale.problem(http.StatusPreconditionFailed, api.CodeRevisionConflict)
	b.do(request{method: "PUT", path: "/v1/sources/orders", body: orders, header: map[string]string{"If-Match": put.header.Get("ETag")}}).want(http.StatusOK)
	b.do(request{method: "DELETE", path: "/v1/sources/orders", header: map[string]string{"If-Match": `"1"`}}).problem(http.StatusPreconditionFailed, api.CodeRevisionConflict)
	for body, at := range map[string]string{
		`{"url":"https://internal.example/","type":"a"}`:                                                                "/url",
		strings.Replace(orders, `"acme"`, `"other"`, 1):                                                                 "/tenant",
		strings.Replace(orders, `{`, `{"id":"another",`, 1):                                                             "/id",
		strings.Replace(orders, `"every":"1m"`, `"every":"1m","sink":"x"`, 1):                                           "/sink",
		strings.Replace(strings.Replace(orders, "internal", "elsewhere", 1), `,"value":"opensesame-0123456789"`, "", 1): "/credential/value",
	} {
		p := b.put("/v1/sources/orders", body).problem(http.StatusUnprocessableEntity, api.CodeInvalidSource)
		if len(p) != 1 || p[0] != at {
			t.Errorf("%s: %v, want a fault at %s", body, p, at)
		}
	}
	b.post("/v1/sources", strings.Replace(orders, `{`, `{"id":"orders",`, 1)).problem(http.StatusConflict, api.CodeIDTaken)
	b.put("/v1/sources/parcels", `{"url":"https://a.example/${key}","type":"parcel"}`).want(http.StatusCreated)
	if id := b.post("/v1/sources", `{"url":"https://a.example/${key}","type":"parcel"}`).want(http.StatusCreated).at("id"); !strings.HasPrefix(id, "src_") {
		t.Errorf("the id that is made up is %q", id)
	}
	if ids, _ := b.get("/v1/sources?tenant=acme").ids(); fmt.Sprint(ids) != "[orders]" {
		t.Errorf("of acme: %v", ids)
	}
	if ids := b.pages("/v1/sources"); len(ids) != 3 || ids[2] != "orders" {
		t.Errorf("all: %v", ids)
	}
	b.delete("/v1/sources/orders").want(http.StatusNoContent)
	b.delete("/v1/sources/orders").problem(http.StatusNotFound, api.CodeNotFound)
	b.get("/v1/sources/orders").problem(http.StatusNotFound, api.CodeNotFound)
}

func TestItems(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.put("/v1/sources/orders", orders).want(http.StatusCreated)
	const items = "/v1/sources/orders/items"
	if r := b.post(items, `{"key":"order-0"}`).want(http.StatusCreated); r.header.Get("Location") != items || !strings.Contains(string(r.body), `"status":"Booked"`) {
		t.Errorf("added: %v %s", r.header, r.body)
	}
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprintf(`{"key":"order-%d"}`, i))
	}
	b.post(items, `{"items":[`+strings.Join(keys, ",")+`]}`).want(http.StatusCreated)
	b.post(items, `{"items":[`+strings.Join(keys, ",")+`]}`).want(http.StatusCreated) // which are there
	seen, next := map[string]bool{}, ""
	for first := true; first || next != ""; first = false {
		var p struct {
			Items []struct{ Key, State string }
			Next  string
		}
		path := items + "?state=open&limit=300"
		if next != "" {
			path += "&cursor=" + next
		}
		b.get(path).want(http.StatusOK).into(&p)
		for _, i := range p.Items {
			if seen[i.Key] || i.State != "open" {
				t.Errorf("%+v is there twice, or is not open", i)
			}
			seen[i.Key] = true
		}
		next = p.Next
	}
	if len(seen) != 1000 {
		t.Errorf("%d items", len(seen))
	}
	if got := b.get("/v1/sources/orders").want(http.StatusOK); !strings.Contains(string(got.body), `"items":{"open":1000,"completed":0}`) {
		t.Errorf("counts: %s", got.body)
	}
	if got := b.get(items + "?state=completed").want(http.StatusOK); string(got.body) != `{"items":[]}`+"\n" {
		t.Errorf("completed: %s", got.body)
	}
	b.get(items+"?state=closed").problem(http.StatusBadRequest, api.CodeInvalidParameter)
	b.post(items, `{"key":""}`).problem(http.StatusUnprocessableEntity, api.CodeInvalidItem)
	b.post(items, `{"items":[`+strings.Join(keys, ",")+`,{"key":"more"}]}`).problem(http.StatusUnprocessableEntity, api.CodeInvalidItem)
	b.post("/v1/sources/none/items", `{"key":"a"}`).problem(http.StatusNotFound, api.CodeNotFound)
	// A producer adds items of its own tenants' sources.
	body := request{method: "POST", path: items, body: `{"key":"theirs"}`, key: b.newKey(`{"role":"producer","tenants":["acme"]}`)}
	b.do(body).want(http.StatusCreated)
	body.key = b.newKey(`{"role":"producer","tenants":["other"]}`)
	b.do(body).problem(http.StatusNotFound, api.CodeNotFound)
	b.delete("/v1/sources/orders").want(http.StatusNoContent)
	b.put("/v1/sources/orders", orders).want(http.StatusCreated)
	if got := b.get("/v1/sources/orders").want(http.StatusOK); !strings.Contains(string(got.body), `"items":{"open":0,"completed":0}`) {
		t.Errorf("a new source of the same id has items: %s", got.body)
	}
}
