package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// eventTo is an event with a sink of its own; "" = none. id is unique among those of its type.
func eventTo(id, typ, url string) string {
	own := ""
	if url != "" {
		own = fmt.Sprintf(`"webhookurl":%q,`, url)
	}
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e",%s"type":%q,"data":{"n":1}}`, typ+"-"+id, own, typ)
}

// testOverride: an event's own sink replaces the subscription's for it; without a sink only such events are sent (C4).
func testOverride(t *testing.T, s *fleettest.Server) {
	own := sinktest.New(t)
	for _, sink := range []string{`"sink":"%s",`, ``} {
		f := newRendered(t, s, sink+`"sinkoverride":"webhookurl","protocolsettings":{"omit":["webhookurl"],"signing":{}}`)
		d := f.await(f.client.Publish(t, eventTo("1", f.name, own.URL(f.path+"?a=1"))), "delivered")
		r := own.Wait(f.path, 1)[0]
		if want := eventTo("1", f.name, ""); string(r.Body) != want || r.Query != "a=1" || r.Header.Get("Webhook-Signature") == "" {
			t.Errorf("%+v, want %s", r, want)
		}
		if d.Attempts[0].URL != own.URL(f.path+"?a=1") {
			t.Errorf("recorded as %s", d.Attempts[0].URL)
		}
		without := f.client.Publish(t, eventTo("2", f.name, ""))
		if sink != "" {
			f.await(without, "delivered")
			f.once(1)
		} else if d := f.await(without, "skipped"); d.Reason != "no_sink" || d.AttemptCount != 0 || d.EndedAt.IsZero() {
			t.Errorf("%+v", d)
		}
		for i, bad := range []string{"http://10.0.0.1/", "http://169.254.169.254/latest", "ftp://x.example/", "nonsense", "http://127.0.0.1:22/", "http://u:p@127.0.0.1:9999/", own.URL("/${id}")} {
			if d := f.await(f.client.Publish(t, eventTo(fmt.Sprint("bad", i), f.name, bad)), "dead"); d.Reason != "blocked" || d.AttemptCount != 0 {
				t.Errorf("%s: %+v", bad, d)
			}
		}
		if sub := f.client.Subscription(t, f.name); sub.Status.State != "active" || sub.Status.ConsecutiveFailures != 0 || sub.Status.Waiting != 0 {
			t.Errorf("%+v", sub.Status)
		}
	}
}

// testOverrideHold: what the target of a sinkoverride answers holds what goes to its origin, and neither pauses nor
// disables the subscription.
func testOverrideHold(t *testing.T, s *fleettest.Server) {
	busy, other := sinktest.New(t), sinktest.New(t)
	f := newRendered(t, s, `"sink":"%s","sinkoverride":"webhookurl"`)
	busy.On(f.path, sinktest.Answer{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "20"}}, sinktest.Answer{})
	first := f.client.Publish(t, eventTo("1", f.name, busy.URL(f.path)))
	busy.WaitAnswered(f.path, 1)
	f.await(first, "retrying")
	second := f.client.Publish(t, eventTo("2", f.name, busy.URL(f.path)))
	if d := f.await(second, "retrying"); d.AttemptCount != 0 || d.Reason != "throttled" || time.Until(d.NextAt) <= 0 {
		t.Errorf("%+v", d)
	}
	f.await(f.client.Publish(t, eventTo("3", f.name, other.URL(f.path))), "delivered")
	f.await(f.client.Publish(t, eventTo("4", f.name, "")), "delivered")
	if sub := f.awaitWaiting(2); sub.Status.State != "active" {
		t.Errorf("%+v", sub.Status)
	}
	f.await(first, "delivered")
	f.await(second, "delivered")
	got := busy.Got(f.path)
	if wait := got[1].At.Sub(got[0].Answered); len(got) != 3 || wait < 20*time.Second {
		t.Errorf("%d requests, the second %v after the first", len(got), wait)
	}
	other.On(f.path, sinktest.Answer{Status: http.StatusGone})
	if d := f.await(f.client.Publish(t, eventTo("5", f.name, other.URL(f.path))), "dead"); d.Reason != "gone" {
		t.Errorf("%+v", d)
	}
	f.await(f.client.Publish(t, eventTo("6", f.name, "")), "delivered")
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "active" || sub.Status.ConsecutiveFailures != 0 {
		t.Errorf("%+v", sub.Status)
	}
}

// testOverrideBesideHold: a hold of the subscription's own sink does not concern the sinks that events have for
// themselves; a pause does.
func testOverrideBesideHold(t *testing.T, s *fleettest.Server) {
	own := sinktest.New(t)
	f := newRendered(t, s, `"sink":"%s","sinkoverride":"webhookurl"`, sinktest.Answer{Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": "60"}})
	f.client.Publish(t, eventTo("1", f.name, ""))
	f.client.AwaitState(t, f.name, "held")
	if d := f.await(f.client.Publish(t, eventTo("2", f.name, own.URL(f.path))), "delivered"); d.EndedAt.Sub(d.CreatedAt) > 45*time.Second {
		t.Errorf("took %v beside the hold of another sink", d.EndedAt.Sub(d.CreatedAt))
	}
	f.await(f.client.Publish(t, eventTo("3", f.name, "")), "held")
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/pause")
	f.await(f.client.Publish(t, eventTo("4", f.name, own.URL(f.path))), "held")
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	own.Wait(f.path, 2)
}
