package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// allows is the answer of a sink that consents; rate may be "".
func allows(origin, rate string) sinktest.Answer {
	h := map[string]string{"WebHook-Allowed-Origin": origin, "Allow": "POST"}
	if rate != "" {
		h["WebHook-Allowed-Rate"] = rate
	}
	return sinktest.Answer{Header: h}
}

// answerOptions lets the flow's sink answer handshakes by ask, and take everything else.
func (f *flow) answerOptions(ask func(*sinktest.Request) sinktest.Answer) {
	f.sink.OnFunc(f.path, func(r *sinktest.Request) sinktest.Answer {
		if r.Method == http.MethodOptions {
			return ask(r)
		}
		return sinktest.Answer{}
	})
}

// subscribeAs replaces the subscription by one with this handshake.
func (f *flow) subscribeAs(handshake string) *fleettest.Subscription {
	f.t.Helper()
	return f.client.Subscribe(f.t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"handshake":{%s}}}`, f.name, f.sink.URL(f.path+"?a=b"), handshake))
}

// came are the requests of a method.
func (f *flow) came(method string) (some []*sinktest.Request) {
	for _, r := range f.sink.Got(f.path) {
		if r.Method == method {
			some = append(some, r)
		}
	}
	return some
}

// testHandshakeRequired: nothing is sent before the sink consents; then what is held goes.
func testHandshakeRequired(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	var consents atomic.Bool
	f.answerOptions(func(*sinktest.Request) sinktest.Answer {
		if consents.Load() {
			return allows("EVENTS.example", "600")
		}
		return allows("events.example.evil.org", "600") // no consent to us, whatever its status
	})
	if sub := f.subscribeAs(`"mode":"required","origin":"events.example","rate":600`); sub.Status.State != "unverified" {
		t.Errorf("status when it was made: %+v", sub.Status)
	}
	rs := f.publishMany(30)
	f.awaitAll(rs, "held")
	f.client.AwaitSubscription(t, f.name, "is refused", func(sub *fleettest.Subscription) bool {
		return sub.Status.State == "unverified" && sub.Status.Reason == "no_consent" && sub.Status.Waiting == 30
	})
	if n := len(f.came(http.MethodPost)); n != 0 {
		t.Errorf("%d requests before the sink consented", n)
	}
	ask := f.came(http.MethodOptions)[0]
	if ask.Query != "a=b" || ask.Header.Get("Webhook-Request-Origin") != "events.example" || ask.Header.Get("Webhook-Request-Rate") != "600" ||
		ask.Header.Get("Webhook-Request-Callback") != "" || len(ask.Body) != 0 {
		t.Errorf("the handshake is %+v", ask)
	}
	// It asks again by itself, not before 5 s after the last time.
	consents.Store(true)
	f.awaitAll(rs, "delivered")
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "active" || sub.Status.Waiting != 0 {
		t.Errorf("status %+v", sub.Status)
	}
	asked := f.came(http.MethodOptions)
	for i, r := range asked[1:] {
		if gap := r.At.Sub(asked[i].At); gap < 4*time.Second {
			t.Errorf("asked again %v after the last time", gap)
		}
	}
	for _, r := range f.came(http.MethodPost) {
		if r.Header.Get("Webhook-Request-Origin") != "events.example" {
			t.Errorf("request %d does not say who sends: %v", r.Number, r.Header)
		}
	}
	// The same question is not asked again, another is.
	f.subscribeAs(`"mode":"required","origin":"events.example","rate":600`)
	f.await(f.publish(), "delivered")
	if n := len(f.came(http.MethodOptions)); n != len(asked) {
		t.Errorf("asked %d times, it had consented after %d", n, len(asked))
	}
	f.subscribeAs(`"mode":"required","origin":"events.example","rate":300`)
	f.await(f.publish(), "delivered")
	if n := len(f.came(http.MethodOptions)); n != len(asked)+1 {
		t.Errorf("asked %d times, it had consented after %d", n, len(asked))
	}
}

// testHandshakeRate: what the sink allows is not exceeded.
func testHandshakeRate(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.answerOptions(func(*sinktest.Request) sinktest.Answer { return allows("*", "12") })
	f.subscribeAs(`"mode":"required","origin":"events.example"`)
	f.client.AwaitState(t, f.name, "active")
	f.publishMany(20)
	f.sink.Wait(f.path, 1+12)
	first := f.came(http.MethodPost)[0]
	f.client.AwaitSubscription(t, f.name, "has the rest waiting", func(sub *fleettest.Subscription) bool { return sub.Status.Waiting == 8 })
	over := time.NewTimer(time.Until(first.At.Add(5 * time.Second)))
	defer over.Stop()
	<-over.C
	if n := len(f.came(http.MethodPost)); n != 12 {
		t.Errorf("%d requests within 5 s, 12 a minute are allowed", n)
	}
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+f.name)
}

// testHandshakeOptional: without consent it is one a minute, with it all that there is.
func testHandshakeOptional(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	var consents atomic.Bool
	f.answerOptions(func(*sinktest.Request) sinktest.Answer {
		if consents.Load() {
			return allows("events.example", "")
		}
		return sinktest.Answer{Status: http.StatusMethodNotAllowed}
	})
	f.subscribeAs(`"mode":"optional","origin":"events.example"`)
	rs := f.publishMany(20)
	f.client.AwaitSubscription(t, f.name, "has all but one waiting", func(sub *fleettest.Subscription) bool {
		return sub.Status.Waiting == 19 && sub.Status.State == "active" && len(f.came(http.MethodOptions)) > 0
	})
	over := time.NewTimer(2 * time.Second)
	defer over.Stop()
	<-over.C
	if n := len(f.came(http.MethodPost)); n != 1 {
		t.Errorf("%d requests, one a minute is for whom has not consented", n)
	}
	consents.Store(true)
	f.resume() // asks again at once
	f.awaitAll(rs, "delivered")
}

// testHandshakeOff: nobody is asked, and no request says who sends.
func testHandshakeOff(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.subscribeAs(`"mode":"off","origin":"events.example","rate":5`)
	f.await(f.publish(), "delivered")
	if got := f.sink.Got(f.path); len(got) != 1 || got[0].Method != http.MethodPost || got[0].Header.Get("Webhook-Request-Origin") != "" {
		t.Errorf("requests %+v", got)
	}
}

// TestHandshakeCallback: a sink that does not answer at once consents by the callback, once, also after a restart.
func TestHandshakeCallback(t *testing.T) {
	t.Parallel()
	at := fleettest.FreeAddress(t)
	s := fleettest.Start(t, fleettest.Options{Args: []string{"--api-listen", at, "--api-publicurl", "http://" + at + "/"}})
	for _, tt := range []struct {
		method string
		header http.Header
		after  int // requests that may follow within some seconds
	}{
		{http.MethodGet, nil, 30},
		{http.MethodPost, http.Header{"Webhook-Allowed-Rate": {"7"}, "Webhook-Allowed-Origin": {"127.0.0.1"}}, 7},
	} {
		testCallback(t, s, "http://"+at, tt.method, tt.header, tt.after)
	}
	s.MustStop(t)
}

func testCallback(t *testing.T, s *fleettest.Server, public, method string, header http.Header, after int) {
	t.Helper()
	f := newFlow(t, s, "")
	f.answerOptions(func(*sinktest.Request) sinktest.Answer { return sinktest.Answer{Status: http.StatusOK} })
	f.subscribeAs(`"mode":"required"`) // by the name that the public address has
	rs := f.publishMany(30)
	f.awaitAll(rs, "held")
	ask := f.sink.Wait(f.path, 1)[0]
	callback := ask.Header.Get("Webhook-Request-Callback")
	if !strings.HasPrefix(callback, public+"/v1/handshakes/"+f.name+".") || ask.Header.Get("Webhook-Request-Origin") != "127.0.0.1" {
		t.Fatalf("the handshake is %+v", ask.Header)
	}
	call := func(method, url string, header http.Header) int {
		r, err := fleettest.NewClient("", "").Call(t.Context(), method, url, header, []byte("x=y"))
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if status := call(method, callback[:len(callback)-1], header); status != http.StatusNotFound {
		t.Errorf("a wrong token: status %d", status)
	}
	if status := call(http.MethodHead, callback, nil); status != http.StatusNotFound {
		t.Errorf("HEAD: status %d", status)
	}
	if status := call(method, callback, http.Header{"Webhook-Allowed-Origin": {"evil.example"}}); status != http.StatusBadRequest {
		t.Errorf("another origin: status %d", status)
	}
	if status := call(method, callback, http.Header{"Webhook-Allowed-Rate": {"0"}}); status != http.StatusBadRequest {
		t.Errorf("a wrong rate: status %d", status)
	}
	s.Restart(t)
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "unverified" {
		t.Errorf("status %+v", sub.Status)
	}
	if status := call(method, callback, header); status != http.StatusOK {
		t.Fatalf("the callback: status %d", status)
	}
	if status := call(method, callback, header); status != http.StatusNotFound {
		t.Errorf("the callback again: status %d", status)
	}
	f.client.AwaitSubscription(t, f.name, "has sent what it may", func(sub *fleettest.Subscription) bool {
		return sub.Status.State == "active" && sub.Status.Waiting == 30-after
	})
}
