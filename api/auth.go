package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/keys"
)

// maxKeyBytes bounds what is hashed for a look-up; our keys are under 100 bytes.
const maxKeyBytes = 512

// authenticate returns the key of the request. Valid keys are looked up first and never limited: addresses are shared
// (NAT, a proxy), keys are too long to be guessed, and what the limit saves is our logs and the guesser's time.
func (a *API) authenticate(r *http.Request) (*keys.Key, error) {
	text, given := bearer(r.Header)
	if given {
		if key, ok := a.deps.Keys.Lookup(text); ok {
			return key, nil
		}
	}
	now, from := time.Now(), remote(r)
	if wait, ok := a.failures.Allowed(from, now); !ok {
		p := problem(CodeTooManyFailures, "too many requests without a valid key came from your address")
		p.RetryAfter = max(wait, time.Second)
		return nil, p
	}
	a.failures.Failed(from, now)
	if !given {
		return nil, problem(CodeUnauthorized, "send the header Authorization: Bearer <key>")
	}
	return nil, problem(CodeUnauthorized, "the key is not valid")
}

// bearer returns the key of the Authorization header (RFC 6750); two headers are none.
func bearer(h http.Header) (text string, ok bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", false
	}
	scheme, text, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || text == "" || len(text) > maxKeyBytes {
		return "", false
	}
	return text, true
}

// MayPublish reports whether who sent the request may publish an event of this tenant and type: for Ingest. It looks
// the key up again, which is cheaper than carrying it in the request's context.
func (a *API) MayPublish(r *http.Request, tenant, eventType string) bool {
	text, _ := bearer(r.Header)
	key, ok := a.deps.Keys.Lookup(text)
	return ok && key.MayPublish(tenant, eventType)
}
