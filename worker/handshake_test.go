package worker

import (
	"net/http"
	"testing"

	"github.com/hookfleet/hookfleet/events"
)

func TestConsent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		asked   int
		answer  http.Header
		granted bool
		rate    int
		reason  events.Reason
	}{
		"nothing":                     {0, http.Header{}, false, 0, "no_consent"},
		"allow alone":                 {0, http.Header{"Allow": {"POST"}}, false, 0, "no_consent"},
		"origin":                      {0, http.Header{"Webhook-Allowed-Origin": {"us.example"}}, true, 0, ""},
		"anybody":                     {0, http.Header{"Webhook-Allowed-Origin": {"*"}}, true, 0, ""},
		"another":                     {0, http.Header{"Webhook-Allowed-Origin": {"us.example.evil.org"}}, false, 0, "no_consent"},
		"rate unasked":                {0, http.Header{"Webhook-Allowed-Origin": {"*"}, "Webhook-Allowed-Rate": {"5"}}, true, 5, ""},
		"garbage unasked":             {0, http.Header{"Webhook-Allowed-Origin": {"*"}, "Webhook-Allowed-Rate": {"x"}}, true, 0, ""},
		"less than asked":             {10, http.Header{"Webhook-Allowed-Origin": {"*"}, "Webhook-Allowed-Rate": {"5"}}, true, 5, ""},
		"any rate":                    {10, http.Header{"Webhook-Allowed-Origin": {"*"}, "Webhook-Allowed-Rate": {"*"}}, true, 10, ""},
		"asked and missing":           {10, http.Header{"Webhook-Allowed-Origin": {"*"}}, false, 10, "protocol"},
		"asked and none":              {10, http.Header{"Webhook-Allowed-Origin": {"*"}, "Webhook-Allowed-Rate": {"0"}}, false, 10, "protocol"},
		"rate without allowed origin": {10, http.Header{"Webhook-Allowed-Rate": {"5"}}, false, 0, "no_consent"},
	} {
		granted, rate, reason := consent(&events.Handshake{Origin: "us.example", Rate: tt.asked}, tt.answer)
		if granted != tt.granted || granted && rate != tt.rate || reason != tt.reason {
			t.Errorf("%s: granted %t, rate %d, %q", name, granted, rate, reason)
		}
	}
}
