package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourceCommands(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/sources", 200, `{"items":[{"id":"orders","tenant":"acme","every":"5m","type":"order.status","url":"https://a.example/${key}","items":{"open":3,"completed":0},"lastpoll":{"at":"2026-01-01T00:00:00.000Z","failed":1,"error":"answered 503"}}]}`)
	f.cli(t, "", "source", "list").expect(t, exitOK, ""+
		"ID      TENANT  EVERY  OPEN  COMPLETED  LAST TICK                 FAILED  ERROR         TYPE          URL\n"+
		"orders  acme    5m     3     -          2026-01-01T00:00:00.000Z  1       answered 503  order.status  https://a.example/${key}\n", "")
	f.on("GET /v1/sources/orders/items", 200, `{"items":[{"key":"a","state":"open","status":"Booked"}]}`)
	f.cli(t, "", "source", "items", "orders", "--state", "open").expect(t, exitOK, "KEY  STATE  STATUS  CHANGES  CHANGED AT  ERROR\na    open   Booked  -        -           -\n", "")
	f.on("POST /v1/sources/orders/items", 201, `{"items":[]}`)
	f.cli(t, "b\r\n\nc\n", "source", "add", "orders", "a", "-f", "-").expect(t, exitOK, "source/orders watches 3 items\n", "")
	f.cli(t, strings.Repeat("k\n", 1001), "source", "add", "orders", "-f", "-").expect(t, exitOK, "source/orders watches 1001 items\n", "")
	if r := f.cli(t, "", "source", "add", "orders"); r.code != exitUsage {
		t.Errorf("no items: %+v", r)
	}
	f.on("DELETE /v1/sources/orders", 204, "")
	f.cli(t, "", "source", "delete", "orders").expect(t, exitOK, "source/orders deleted\n", "")
	want := []string{
		"GET /v1/sources?limit=100", "GET /v1/sources/orders/items?limit=100&state=open", "POST /v1/sources/orders/items",
		"POST /v1/sources/orders/items", "POST /v1/sources/orders/items", "DELETE /v1/sources/orders",
	}
	if diff := cmp.Diff(want, f.lines()); diff != "" {
		t.Error(diff)
	}
	if got := f.calls[2].body; got != `{"items":[{"key":"a"},{"key":"b"},{"key":"c"}]}` {
		t.Errorf("sent %s", got)
	}
}

// A file may hold what belongs together: a source, and the subscription of what it publishes.
func TestApplySourceAndSubscription(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("PUT /v1/sources/orders", 201, `{"id":"orders"}`)
	f.on("PUT /v1/subscriptions/acme", 200, `{"id":"acme"}`)
	f.on("POST /v1/sources", 201, `{"id":"src_x"}`)
	f.cli(t, `id: orders
url: https://internal.example/orders/${key}
type: order.status
---
id: acme
sink: https://partner.example/hook
config:
  schedule: {source: orders}
---
url: https://internal.example/parcels/${key}
type: parcel.status
`, "subscription", "apply", "-f", "-").expect(t, exitOK, "source/orders created\nsubscription/acme updated\nsource/src_x created\n", "")
	if diff := cmp.Diff([]string{"PUT /v1/sources/orders", "PUT /v1/subscriptions/acme", "POST /v1/sources"}, f.lines()); diff != "" {
		t.Error(diff)
	}
}
