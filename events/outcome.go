package events

import "time"

// State is where a delivery stands.
type State string

// The states of a delivery (API.md 4). The last four end it.
const (
	StatePending   State = "pending"
	StateRetrying  State = "retrying"
	StateHeld      State = "held"
	StateDelivered State = "delivered"
	StateDead      State = "dead"
	StateSkipped   State = "skipped"
	StateCancelled State = "cancelled"
)

// Ended reports whether nothing follows this state.
func (s State) Ended() bool {
	switch s {
	case StateDelivered, StateDead, StateSkipped, StateCancelled:
		return true
	default:
		return false
	}
}

// Outcome is what an attempt led to.
type Outcome string

// The outcomes of an attempt (API.md 3.4), and three that no attempt has: Cancelled and Skipped end a delivery before the
// next one, Returned hands it back as it was, because our own process stops.
const (
	Delivered Outcome = "delivered"
	Retry     Outcome = "retry"
	Dead      Outcome = "dead"
	Held      Outcome = "held"
	Cancelled Outcome = "cancelled"
	Skipped   Outcome = "skipped"
	Returned  Outcome = "returned"
)

// Reason is why: a bounded set, used as it is for metric labels, log fields and the API.
type Reason string

// The reasons (API.md 3.4).
const (
	ReasonNone         Reason = ""
	ReasonRedirect     Reason = "redirect"
	ReasonRejected     Reason = "rejected"
	ReasonUnauthorized Reason = "unauthorized"
	ReasonClientError  Reason = "client_error"
	ReasonGone         Reason = "gone"
	ReasonThrottled    Reason = "throttled"
	ReasonServerError  Reason = "server_error"
	ReasonTimeout      Reason = "timeout"
	ReasonRefused      Reason = "refused"
	ReasonReset        Reason = "reset"
	ReasonDNS          Reason = "dns"
	ReasonTLS          Reason = "tls"
	ReasonBlocked      Reason = "blocked"
	ReasonProtocol     Reason = "protocol"
	ReasonExhausted    Reason = "exhausted"
	ReasonExpiredRetry Reason = "expired_retry"
	ReasonTemplate     Reason = "template"
	ReasonInvalidEvent Reason = "invalid_event"
	ReasonPanic        Reason = "panic"
	ReasonPaused       Reason = "paused"
	ReasonDisabled     Reason = "disabled"
	ReasonConcurrency  Reason = "concurrency"
	ReasonRate         Reason = "rate"
	ReasonOrder        Reason = "order" // of what is held: another delivery of its key, or a tick, comes first
	ReasonBreaker      Reason = "breaker"
	ReasonFailures     Reason = "failures"   // of a pause: too many in a row
	ReasonUnverified   Reason = "unverified" // the sink has not consented to what it is sent
	ReasonNoConsent    Reason = "no_consent" // it was asked, and its answer is none
	ReasonCredential   Reason = "credential"
	ReasonUnsubscribed Reason = "unsubscribed"
	ReasonCancelled    Reason = "cancelled"

	// Of skips, in the order in which they apply.
	ReasonExpired         Reason = "expired" // expirytime
	ReasonNoSink          Reason = "no_sink"
	ReasonNoStatus        Reason = "no_status"
	ReasonCompleted       Reason = "completed"
	ReasonDuplicateStatus Reason = "duplicate_status"
	ReasonSuperseded      Reason = "superseded"
)

// Verdict is the decision about one attempt, as a value: what settle carries out. Exactly one Outcome, and what it needs.
type Verdict struct {
	Outcome Outcome
	Reason  Reason
	NextAt  time.Time     // Retry: when the next attempt is due
	HoldFor time.Duration // the whole subscription gets nothing for this long; 0 = it is not held
	Disable bool          // the sink said 410, or a rule says so: the subscription is disabled
	// Uncounted says that the attempt counts for neither maxattempts, breaker nor pause: the retry of a rule with every.
	Uncounted bool
}

// Retryable reports whether the attempt failed and could be tried again, but for how often or how late it was.
func (v *Verdict) Retryable() bool {
	return v.Outcome == Retry || v.Outcome == Dead && (v.Reason == ReasonExhausted || v.Reason == ReasonExpiredRetry)
}
