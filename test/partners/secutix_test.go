package partners_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners/secutix"
)

var secutixRows = rows{"X1": testX1, "X2": testX2, "X3": testX3, "X4": testX4, "X6": testX6, "X7": testX7, "X8": testX8}

// order publishes an order; operations are its OperationDatas.
func (r *row) order(number, kind, operations string) fleettest.Receipt {
	r.Helper()
	return r.publish("order.saved", number, "", fmt.Sprintf(`{"orderId":%q,"OrderDetailsData":{"OrderType":%q,"OperationDatas":[%s]}}`, number, kind, operations))
}

const (
	soldHere = `{"ProductCode":"10228506","BasePrice":10000}`
	soldElse = `{"ProductCode":"1","BasePrice":10000}`
)

// secutix is an example that is sent at once and, but for row X6, by no proxy.
func (r *row) secutix(id, sink string) settings {
	return r.example(id).Set("sink", sink).Set("config.schedule", nil)
}

// testX1: GET or POST of a URL that has the order's number in its path or query.
func testX1(r *row) {
	for name, tc := range map[string]struct{ id, sink, target string }{
		"get path":   {"secutix-get", "/path/whatever${orderId}whatever", `^/path/whatever(.*)whatever$`},
		"get query":  {"secutix-get", "/path/?data=${orderId}", `^/path/\?data=(.*)$`},
		"get both":   {"secutix-get", "/path/${orderId}?update=true", `^/path/(.*)\?update=true$`},
		"post path":  {"secutix-post-empty", "/${orderId}", `^/(.*)$`},
		"post query": {"secutix-post-empty", "/p?a=1&data=x${orderId}y", `^/p\?a=1&data=x(.*)y$`},
	} {
		method, _, _ := strings.Cut(strings.ToUpper(name), " ")
		p := secutix.New(secutix.Config{Method: method, Target: regexp.MustCompile(tc.target)})
		typ := strings.ReplaceAll(name, " ", "-")
		id := r.put(r.secutix(tc.id, r.serve(p)+tc.sink).Set("id", r.tenant+"-"+typ).Set("types", []string{typ}).Set("filters", nil))
		numbers := []string{"10228506", "a/b c?d&e=f#g%"}
		for _, number := range numbers {
			r.await(r.publish(typ, "", "", fmt.Sprintf(`{"orderId":%q}`, number)), "delivered")
		}
		r.ended(id, p, len(numbers))
		for i, c := range p.Calls() {
			if c.Key != numbers[i] {
				r.Errorf("%s: number %q at %s?%s, want %q", name, c.Key, c.Path, c.Query, numbers[i])
			}
		}
	}
}

// testX2: which URLs are valid, and why the others are not.
func testX2(r *row) {
	const host = "http://partner.example"
	for _, id := range []string{"secutix-get", "secutix-post", "secutix-post-empty"} {
		for _, sink := range []string{"/${orderId}", "/path/?data=${orderId}", "/path/${orderId}?update=true"} {
			r.put(r.secutix(id, host+sink))
		}
		for _, sink := range []string{"/?data={orderId}", "/?data=${order id}", "/path/${orderId", "/path/orderId}"} {
			text := r.refused(r.secutix(id, host+sink))
			for fault := range strings.SplitSeq(text, "\n") { // GET lacks its placeholder besides
				if !strings.HasPrefix(fault, "/sink ") {
					r.Errorf("%s of %s: %s", sink, id, fault)
				}
			}
			if at := fmt.Sprintf("at byte %d", len(host)+strings.IndexAny(sink, "{}$")); !strings.Contains(text, at) {
				r.Errorf("%s of %s is not said to be wrong %s: %s", sink, id, at, text)
			}
		}
	}
	if text := r.refused(r.secutix("secutix-get", host+"/orders")); !strings.HasPrefix(text, "/sink ") || !strings.Contains(text, "placeholder") {
		r.Errorf("GET without a placeholder: %s", text)
	}
	r.put(r.secutix("secutix-post", host+"/orders")) // POST needs none
}

// testX3: POST with a plain JSON payload that has the number in it, or with none.
func testX3(r *row) {
	p := secutix.New(secutix.Config{Target: regexp.MustCompile(`^/orders$`), Body: regexp.MustCompile(`^\{"order": "(.*)", "origin": "secutix"\}$`)})
	id := r.put(r.secutix("secutix-post", r.serve(p)+"/orders"))
	r.await(r.order("4711", "SALE", soldHere), "delivered")
	r.ended(id, p, 1)
	if c := p.Calls()[0]; c.Key != "4711" {
		r.Errorf("%s", c.Body)
	}
	fixed := secutix.New(secutix.Config{Target: regexp.MustCompile(`^/orders/(.*)$`), Body: regexp.MustCompile(`^\{"update": true\}$`)})
	r.put(r.secutix("secutix-post", r.serve(fixed)+"/orders/${orderId}").Set("protocolsettings.body", `{"update": true}`).Set("id", id))
	r.await(r.order("4712", "SALE", soldHere), "delivered")
	r.ended(id, fixed, 1)
	none := secutix.New(secutix.Config{Target: regexp.MustCompile(`^/path/\?data=(.*)$`)})
	r.put(r.secutix("secutix-post-empty", r.serve(none)+"/path/?data=${orderId}").Set("id", id))
	r.await(r.order("4713", "SALE", soldHere), "delivered")
	r.ended(id, none, 1)
	if c := none.Calls()[0]; c.Header.Get("Content-Length") != "" && c.Header.Get("Content-Length") != "0" {
		r.Errorf("%v", c.Header)
	}
}

// testX4: the filters over the order's data.
func testX4(r *row) {
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/any/(.*)$`)})
	q := secutix.New(secutix.Config{Target: regexp.MustCompile(`^/orders$`), Body: regexp.MustCompile(`^\{"order": "(.*)", "origin": "secutix"\}$`)})
	anyOf := r.put(r.secutix("secutix-get", r.serve(p)+"/any/${orderId}"))
	exact := r.put(r.secutix("secutix-post", r.serve(q)+"/orders"))
	r.order("1", "SALE", soldHere)
	r.order("2", "SALE", soldElse+","+soldHere)
	r.order("3", "REFUND", soldHere)
	r.order("4", "SALE", soldElse)
	r.order("5", "SALE", `{"ProductCode":"10228506","BasePrice":9000},{"ProductCode":"1","BasePrice":10000}`)
	r.order("6", "SALE", `{"ProductCode":10228506,"BasePrice":"10000"}`)
	r.order("7", "SALE", ``)
	r.publish("order.saved", "8", "", `{"orderId":"8"}`)
	r.await(r.order("9", "REFUND", soldHere), "delivered")
	r.wait(p, 6, taken)
	r.wait(q, 3, taken)
	r.ended(anyOf, p, 6)
	r.ended(exact, q, 3)
	for _, tc := range []struct {
		calls []string
		want  string
	}{{said(p.Calls()), "1 2 3 5 6 9"}, {said(q.Calls()), "1 2 6"}} {
		if got := sorted(tc.calls); got != tc.want {
			r.Errorf("orders %s, want %s", got, tc.want)
		}
	}
}

// testX6: no authentication, by a forward proxy that the operator opened, which is not passed by.
func testX6(r *row) {
	proxy := &secutix.Proxy{}
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/orders/(.*)\?update=true$`), Proxy: true})
	url, gate := r.serve(p), r.serve(noFaults{proxy})
	s := fleettest.Start(r, fleettest.Options{Args: []string{"--egress-proxy", gate}})
	r.server, r.client = s, s.Client()
	id := r.put(r.secutix("secutix-get", url+"/orders/${orderId}?update=true"))
	r.await(r.order("77", "SALE", soldHere), "delivered")
	r.ended(id, p, 1)
	if asked := proxy.Asked(); len(asked) != 1 || asked[0] != url+"/orders/77?update=true" {
		r.Errorf("the proxy was asked for %v", asked)
	}
	if d := string(r.client.Do(r, http.MethodGet, "/v1/egress", nil).Body); !strings.Contains(d, gate) {
		r.Errorf("partners are told %s", d)
	}
	s.MustStop(r)
}

// noFaults is a server that judges nothing.
type noFaults struct{ http.Handler }

// Faults are none.
func (noFaults) Faults() []string { return nil }

// testX7: the partner asks for the details of the order with a key of its own, and sees nothing of others.
func testX7(r *row) {
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/orders/(.*)$`)})
	id := r.put(r.secutix("secutix-get", r.serve(p)+"/orders/${orderId}"))
	var key struct{ Key string }
	r.client.Must(r, http.StatusCreated, http.MethodPost, "/v1/keys", fmt.Sprintf(`{"role":"partner","tenants":[%q]}`, r.tenant), &key)
	r.await(r.order("88", "SALE", soldHere), "delivered")
	r.ended(id, p, 1)
	ctx, cancel := context.WithTimeout(r.Context(), fleettest.Patience)
	defer cancel()
	orders, err := secutix.Details(ctx, r.server.API, key.Key, p.Calls()[0].Key)
	var order struct {
		Subject string
		Data    struct {
			OrderDetailsData struct{ OperationDatas []struct{ BasePrice int } }
		}
	}
	if err != nil || len(orders) != 1 {
		r.Fatalf("%d orders, %v", len(orders), err)
	}
	if err := json.Unmarshal(orders[0], &order); err != nil || order.Subject != "88" || order.Data.OrderDetailsData.OperationDatas[0].BasePrice != 10000 {
		r.Errorf("%s, %v", orders[0], err)
	}
	other := newRow(r.T, r.server, r.system, "x7other")
	other.client.Subscribe(r, "x7other", `{"tenant":"x7other","sink":"http://127.0.0.1:9/"}`)
	other.order("99", "SALE", soldHere)
	if orders, err := secutix.Details(ctx, r.server.API, key.Key, "99"); err != nil || len(orders) != 0 {
		r.Errorf("of another tenant: %s, %v", orders, err)
	}
}

// testX8: the producer chooses whether an event is a whole order or one of its operations; the filter works on either.
func testX8(r *row) {
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/orders/(.*)$`)})
	url := r.serve(p)
	whole := r.put(r.secutix("secutix-get", url+"/orders/${orderId}"))
	each := r.put(r.secutix("secutix-get", url+"/orders/${orderId}").Set("id", "each").Set("types", []string{"order.operation"}).
		Set("filters", []any{map[string]any{"match": "OperationData.ProductCode=10228506;OrderType=SALE"}}))
	r.order("1", "SALE", soldElse+","+soldHere)
	for i, code := range []string{"10228506", "1", "10228506"} {
		r.publish("order.operation", "2", "", fmt.Sprintf(`{"orderId":"2/%d","OrderType":"SALE","OperationData":{"ProductCode":%q}}`, i, code))
	}
	r.wait(p, 3, taken)
	r.ended(whole, p, 3)
	r.ended(each, p, 3)
	if got := sorted(said(p.Calls())); got != "1 2/0 2/2" {
		r.Errorf("orders %s", got)
	}
}
