package events

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Each text is the members of a subscription; the pointers are all that must be named.
func TestDecodeRequestFaults(t *testing.T) {
	t.Parallel()
	const sink = `"sink":"https://a.example/${id}",`
	settings := func(s string) string { return sink + `"protocolsettings":{` + s + `}` }
	header := func(name, value string) string { return settings(fmt.Sprintf(`"headers":{%q:%q}`, name, value)) }
	tests := map[string]string{
		settings(`"method":"GET"`):                                                        "",
		settings(`"method":"DELETE"`):                                                     "/protocolsettings/method",
		settings(`"method":"post"`):                                                       "/protocolsettings/method",
		settings(`"contentmode":"raw"`):                                                   "/protocolsettings/contentmode",
		settings(`"contentmode":5`):                                                       "/protocolsettings/contentmode",
		settings(`"contentmode":"data","method":"PATCH"`):                                 "",
		settings(`"contenttype":"json"`):                                                  "/protocolsettings/contenttype",
		settings(`"contenttype":"a/b\u0000"`):                                             "/protocolsettings/contenttype",
		settings(`"contenttype":"application/json; charset=x"`):                           "",
		settings(`"contentmode":"binary","contenttype":"application/cloudevents+json"`):   "/protocolsettings/contenttype",
		settings(`"contentmode":"template","contenttype":"application/cloudevents+json"`): "",

		settings(`"omit":["tenant","webhookurl","subject"]`): "",
		settings(`"omit":["id","specversion","source","type","data","Tenant","a","a",5]`): "/protocolsettings/omit/0 /protocolsettings/omit/1 " +
			"/protocolsettings/omit/2 /protocolsettings/omit/3 /protocolsettings/omit/4 /protocolsettings/omit/5 /protocolsettings/omit/7 /protocolsettings/omit/8",
		settings(`"omit":"tenant"`): "/protocolsettings/omit",

		settings(`"headers":[]`): "/protocolsettings/headers",
		settings(`"headers":{"Host":"a","content-type":"a","Content-Length":"1","connection":"a","Transfer-Encoding":"a","webhook-id":"a","CE-id":"a",` +
			`"te":"a","trailer":"a","upgrade":"a","expect":"a","keep-alive":"a","proxy-authorization":"a","":"a","a b":"a","a:":"a"}`): "/protocolsettings/headers/Host " +
			"/protocolsettings/headers/content-type /protocolsettings/headers/Content-Length /protocolsettings/headers/connection " +
			"/protocolsettings/headers/Transfer-Encoding /protocolsettings/headers/webhook-id /protocolsettings/headers/CE-id /protocolsettings/headers/te " +
			"/protocolsettings/headers/trailer /protocolsettings/headers/upgrade /protocolsettings/headers/expect /protocolsettings/headers/keep-alive " +
			"/protocolsettings/headers/proxy-authorization /protocolsettings/headers/ /protocolsettings/headers/a b /protocolsettings/headers/a:",
		settings(`"headers":{"X-A":"1","x-a":"2"}`):          "/protocolsettings/headers/x-a",
		settings(`"headers":{"x-a":5}`):                      "/protocolsettings/headers/x-a",
		settings(`"headers":{"x-a":null}`):                   "",
		header("x-a", "plain text, with \"quotes\" and 5 %"): "",
		header("x-a", "${type} and ${data.a[0]:-none}"):      "",
		header("x-a", "${order id}"):                         "/protocolsettings/headers/x-a",
		header("x-a", "a\nb"):                                "/protocolsettings/headers/x-a",
		header("x-a", "é"):                                   "/protocolsettings/headers/x-a",
		header("x-a", strings.Repeat("a", 4097)):             "/protocolsettings/headers/x-a",
		header("authorization", "Bearer x"):                  "",
		header("user-agent", "mine"):                         "",
		header("teapot", "x"):                                "",
		header("contents", "x"):                              "",
		header(strings.Repeat("a", 129), "x"):                "/protocolsettings/headers/" + strings.Repeat("a", 128) + "…",

		settings(`"body":{"a":"${x}"}`):                                    "/protocolsettings/body",
		settings(`"contentmode":"template","method":"GET","body":"x"`):     "/protocolsettings/body",
		settings(`"contentmode":"template","body":null`):                   "",
		settings(`"contentmode":"template","body":5`):                      "",
		settings(`"contentmode":"template","body":["${x}",{"a":"${y?}"}]`): "",
		settings(`"contentmode":"template","body":{"a":"${","b":["x","${a b}"],"c":{"${d}":1},"d":"$${"}`): "/protocolsettings/body/a /protocolsettings/body/b/1 " +
			"/protocolsettings/body/c/${d}",
		settings(`"contentmode":"template","body":"` + strings.Repeat("${x}", 1000) + `"`): "",
		settings(`"contentmode":"template","body":"` + strings.Repeat("${x}", 1001) + `"`): "/protocolsettings/body",

		`"sink":"https://a.example/","protocolsettings":{"method":"GET"}`:                             "/sink",
		`"sink":"https://a.example/","sinkoverride":"url","protocolsettings":{"method":"GET"}`:        "/sink",
		`"sinkoverride":"url","protocolsettings":{"method":"GET"}`:                                    "",
		`"sinkoverride":"data.url[0].x"`:                                                              "",
		`"sinkoverride":"attributes.webhookurl"`:                                                      "",
		`"sinkoverride":"${url}"`:                                                                     "/sinkoverride",
		`"sinkoverride":"web hook"`:                                                                   "/sinkoverride",
		`"sinkoverride":"a?"`:                                                                         "/sinkoverride",
		`"sinkoverride":"a.b.","paused":true`:                                                         "/sinkoverride",
		`"sinkoverride":""`:                                                                           "/sinkoverride /sink",
		`"sink":"https://a.example/?data={orderId}"`:                                                  "/sink",
		`"sink":"https://a.example/?data=${order id}"`:                                                "/sink",
		`"sink":"https://a.example/?data=${order id}","protocolsettings":{"method":"GET"}`:            "/sink",
		`"sink":"https://a.example/path/?data=${orderId}","protocolsettings":{"method":"GET"}`:        "",
		`"sink":"https://a.example/path/${orderId}?update=true","protocolsettings":{"method":"POST"}`: "",
	}
	for text, pointers := range tests {
		t.Run(text[:min(len(text), 80)], func(t *testing.T) {
			t.Parallel()
			_, err := DecodeSubscription([]byte("{"+text+"}"), "", SinkPolicy{})
			if pointers == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var at []string
			got := faultsOf(t, err)
			for _, f := range got.Faults {
				at = append(at, f.Pointer)
			}
			if diff := cmp.Diff(pointers, strings.Join(at, " ")); diff != "" {
				t.Errorf("%v\n%s", got, diff)
			}
		})
	}
}

// What is set elsewhere cannot be set as a header too.
func TestHeaderSetTwice(t *testing.T) {
	t.Parallel()
	tests := []struct {
		s    Subscription
		name string
		set  bool
	}{
		{Subscription{}, "authorization", false},
		{Subscription{SinkCredential: &Credential{Type: "BEARER"}}, "authorization", true},
		{Subscription{SinkCredential: &Credential{Type: "BEARER"}}, "x-key", false},
		{Subscription{SinkCredential: &Credential{Type: "APIKEY", Name: "X-Key"}}, "x-key", true},
		{Subscription{SinkCredential: &Credential{Type: "APIKEY", Name: "X-Key", In: "query"}}, "x-key", false},
		{Subscription{ProtocolSettings: ProtocolSettings{Signing: &Signing{Scheme: "hmac", Header: "X-Sig", Secret: secret.New("x")}}}, "x-sig", true},
	}
	for _, test := range tests {
		if why := test.s.setsHeader(test.name); (why != "") != test.set {
			t.Errorf("%+v %s: %q", test.s, test.name, why)
		}
	}
}

// A body is kept as JSON without white space, always the same.
func TestDecodeBody(t *testing.T) {
	t.Parallel()
	s := decode(t, `{"sink":"https://a.example","protocolsettings":{"contentmode":"template","body": { "z" : [ 1.0 , "\u003c\/" , null,true ], "a":{} } }}`)
	if got, want := string(s.ProtocolSettings.Body), `{"z":[1.0,"</",null,true],"a":{}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
