package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// maxTokens bounds the callbacks of a handshake that may still come: older ones have lapsed.
const maxTokens = 8

// Consent is what is known of a sink's consent to what it is sent (AP-1 to AP-9). It is immutable; a change replaces it.
type Consent struct {
	For     string        `json:"for"` // what was asked: events.Subscription.HandshakeKey
	Granted bool          `json:"granted,omitempty"`
	Rate    int           `json:"rate,omitempty"`   // granted: requests a minute; 0 = no bound
	Reason  events.Reason `json:"reason,omitempty"` // why it is not granted; "" = there was no answer yet
	Since   time.Time     `json:"since,omitzero"`   // when it became so
	Tries   int           `json:"tries,omitempty"`
	Next    time.Time     `json:"next,omitzero"`    // when it is asked again
	Tokens  []string      `json:"tokens,omitempty"` // hashes of those in the callbacks that were sent
}

// Consent returns what is known of the sink's consent; the zero Consent when it was not asked what it has to be now.
func (e *Entry) Consent(h *Health) Consent {
	if c := h.Consent; c != nil && e.Subscription.Handshakes() && c.For == e.Subscription.HandshakeKey() {
		return *c
	}
	return Consent{}
}

// Unverified reports whether the sink must consent before anything is sent, and has not.
func (e *Entry) Unverified(h *Health) bool {
	hs := e.Subscription.ProtocolSettings.Handshake
	return hs != nil && hs.Mode == events.HandshakeRequired && !e.Consent(h).Granted
}

// Ask notes that the sink is asked now, with this token in the callback ("" = without one), and when it is asked again.
// It returns false when it was granted meanwhile, or is asked by another.
func (e *Entry) Ask(h *Health, token string, now time.Time, again func(tries int) time.Duration) bool {
	c := e.Consent(h)
	if c.Granted || now.Before(c.Next) || !e.Subscription.Handshakes() {
		return false
	}
	c.For = e.Subscription.HandshakeKey()
	c.Tries++
	c.Next = now.Add(again(c.Tries)).UTC()
	if token != "" {
		c.Tokens = append(slices.Clone(c.Tokens), hashOf(token))
		c.Tokens = c.Tokens[max(0, len(c.Tokens)-maxTokens):]
	}
	h.Consent = &c
	return true
}

// Answer takes the sink's answer to what it was asked by Ask, unless that is granted already or is another question now.
func (e *Entry) Answer(h *Health, granted bool, rate int, reason events.Reason, now time.Time) bool {
	c := e.Consent(h)
	if c.For == "" || c.Granted {
		return false
	}
	if granted {
		h.Consent = &Consent{For: c.For, Granted: true, Rate: rate, Since: now.UTC()}
		return true
	}
	if c.Reason == reason {
		return false
	}
	c.Reason, c.Since = reason, now.UTC()
	h.Consent = &c
	return true
}

// AskAgain has a sink that has not consented asked again at once. It returns false when there is nothing to ask.
func (e *Entry) AskAgain(h *Health) bool {
	c := e.Consent(h)
	if c.For == "" || c.Granted {
		return false
	}
	c.Next, c.Tries = time.Time{}, 0
	h.Consent = &c
	return true
}

// GrantBy takes the sink's consent by the callback with this token, which is good for one grant of the present question.
// It returns false when the token is not.
func (r *Registry) GrantBy(ctx context.Context, id, token string, rate func(*events.Handshake) (int, bool)) (granted bool, err error) {
	hash := hashOf(token)
	err = r.SetHealth(ctx, id, func(h *Health) bool {
		granted = false
		e, ok := r.Lookup(id)
		if !ok {
			return false
		}
		c := e.Consent(h)
		if !slices.Contains(c.Tokens, hash) {
			return false
		}
		allowed, ok := rate(e.Subscription.ProtocolSettings.Handshake)
		granted = ok && e.Answer(h, true, allowed, "", time.Now())
		return granted
	})
	return granted && err == nil, err
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
