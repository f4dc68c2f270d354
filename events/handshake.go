package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The headers of the abuse protection of the CloudEvents webhook specification, as http.Header has them.
const (
	HeaderRequestOrigin   = "Webhook-Request-Origin"
	HeaderRequestRate     = "Webhook-Request-Rate"
	HeaderRequestCallback = "Webhook-Request-Callback"
	HeaderAllowedOrigin   = "Webhook-Allowed-Origin"
	HeaderAllowedRate     = "Webhook-Allowed-Rate"
)

// AnyRate is the rate of a sink that takes whatever comes.
const AnyRate = "*"

// Handshakes reports whether the sink is asked for its consent.
func (s *Subscription) Handshakes() bool {
	h := s.ProtocolSettings.Handshake
	return h != nil && h.Mode != HandshakeOff
}

// HandshakeKey names what the sink is asked: another sink, origin or rate is another question.
func (s *Subscription) HandshakeKey() string {
	h := s.ProtocolSettings.Handshake
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", s.Sink, strings.ToLower(h.Origin), h.Rate))
	return hex.EncodeToString(sum[:16])
}

// Allows reports whether one of these values of WebHook-Allowed-Origin is consent: the very origin, in any case, or *
// (AP-3, AP-8). Several may be in one line.
func (h *Handshake) Allows(values []string) bool {
	return slices.ContainsFunc(values, func(line string) bool {
		for value := range strings.SplitSeq(line, ",") {
			if value = strings.TrimSpace(value); value == "*" || strings.EqualFold(value, h.Origin) {
				return true
			}
		}
		return false
	})
}

// AllowedRate is how many requests a minute may be sent, by the value of WebHook-Allowed-Rate: no more than were asked
// for; 0 = as many as there are. ok is false for what is neither a positive number nor *, which matters when a rate was
// asked for (AP-4).
func (h *Handshake) AllowedRate(value string) (rate int, ok bool) {
	value = strings.TrimSpace(value)
	if value == AnyRate {
		return h.Rate, true
	}
	n, err := strconv.Atoi(value)
	switch {
	case err != nil || n < 1 || value[0] == '+':
		return h.Rate, false
	case h.Rate == 0:
		return n, true
	default:
		return min(n, h.Rate), true
	}
}
