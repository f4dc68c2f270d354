package api_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// What is answered is what the live workers say of themselves, and of this process when there are none.
func TestEgress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sender = func(context.Context) stream.Sender {
		return stream.Sender{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}
	}
	check := func(want string) {
		t.Helper()
		for _, key := range []string{"", b.partnerKey("acme")} {
			if got := string(b.do(request{method: "GET", path: "/v1/egress", key: key}).want(200).body); got != want+"\n" {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
	check(`{"addresses":["192.0.2.9"],"proxy":null}`)
	put := func(worker, text string) {
		t.Helper()
		_, err := b.js.Publish(t.Context(), "$KV."+stream.BucketWorkers+"."+worker, []byte(text))
		must(t, err)
	}
	put("old", time.Now().Format(time.RFC3339Nano)) // of a release before
	check(`{"addresses":["192.0.2.9"],"proxy":null}`)
	put("w1", string(stream.Heartbeat{At: time.Now(), Sender: stream.Sender{Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}}}.Text()))
	check(`{"addresses":["192.0.2.2","2001:db8::1"],"proxy":null}`)
	put("w2", string(stream.Heartbeat{At: time.Now(), Sender: stream.Sender{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, Proxy: "http://proxy.example:3128"}}.Text()))
	put("w3", string(stream.Heartbeat{At: time.Now(), Sender: stream.Sender{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}, Proxy: "http://proxy.example:3128"}}.Text()))
	check(`{"addresses":["192.0.2.2","192.0.2.10","2001:db8::1"],"proxy":"http://proxy.example:3128"}`)
}
