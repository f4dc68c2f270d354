package api

import (
	"net/http"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// handshakeRoutes are what sinks call that were asked for their consent and give it later (AP-5). The path is what they
// know; they have no key.
func (a *API) handshakeRoutes() []route {
	granted := answer{status: 200, text: "the consent is noted", value: typeOf[handshakeView]()}
	one := route{
		path: "/v1/handshakes/{token}", tag: "handshakes", mount: a.grantHandshake,
		text: "What WebHook-Request-Callback names: an address that is known to the sink alone, and good for one grant. " +
			"WebHook-Allowed-Rate may say how many requests a minute are allowed; without it as many as were asked for. " +
			"WebHook-Allowed-Origin may be left out. A body is not read.",
		codes: []Code{CodeNotFound, CodeInvalidHeader, CodeUnavailable}, answers: []answer{granted},
	}
	get, post := one, one
	get.method, get.id, get.summary = http.MethodGet, "grantHandshake", "Consent to being sent to"
	post.method, post.id, post.summary = http.MethodPost, "postHandshake", "Consent to being sent to"
	return []route{get, post}
}

// handshakeView is the answer to a consent.
type handshakeView struct {
	Granted bool `json:"granted"`
}

func (a *API) grantHandshake(c *call) error {
	id, token, ok := strings.Cut(c.r.PathValue("token"), ".")
	if !ok || !events.IsID(id) || token == "" || c.r.Method == http.MethodHead { // a look at a link is no consent
		return unknownHandshake()
	}
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return err
	}
	var wrong error
	granted, err := a.deps.Registry.GrantBy(c.r.Context(), id, token, func(h *events.Handshake) (rate int, ok bool) {
		rate, wrong = consentOf(h, c.r.Header)
		return rate, wrong == nil
	})
	switch {
	case err != nil:
		return err
	case wrong != nil:
		return wrong
	case !granted:
		return unknownHandshake()
	}
	a.log.Info().Str("subscription", id).Msg("sink has consented by callback")
	return c.json(http.StatusOK, handshakeView{Granted: true})
}

func unknownHandshake() error {
	return problem(CodeNotFound, "there is no such handshake: it was granted before, or has lapsed")
}

// consentOf reads what a callback allows.
func consentOf(hs *events.Handshake, h http.Header) (rate int, err error) {
	if origins := h.Values(events.HeaderAllowedOrigin); len(origins) > 0 && !hs.Allows(origins) {
		return 0, faulty(CodeInvalidHeader, events.Fault{Pointer: "WebHook-Allowed-Origin", Detail: "is not who asked"})
	}
	text := h.Get(events.HeaderAllowedRate)
	if text == "" {
		return hs.Rate, nil
	}
	rate, ok := hs.AllowedRate(text)
	if !ok {
		return 0, faulty(CodeInvalidHeader, events.Fault{Pointer: "WebHook-Allowed-Rate", Detail: "must be a positive number of requests a minute, or *"})
	}
	return rate, nil
}
