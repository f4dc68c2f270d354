package events

import (
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of a subscription's settings (API.md 3).
const (
	MaxConcurrency = 500
	MinTimeout     = 100 * time.Millisecond
	MaxTimeout     = 5 * time.Minute
)

// What a subscription may say in this release.
const (
	ProtocolHTTP           = "HTTP"
	MethodPost             = "POST"
	ModeStructured         = "structured"
	SchemeStandardWebhooks = "standardwebhooks"
)

// Subscription says which events go to which sink, and how.
type Subscription struct {
	ID               string           `json:"id"`
	Tenant           string           `json:"tenant"`
	Description      string           `json:"description,omitempty"`
	Paused           bool             `json:"paused"`
	Source           string           `json:"source,omitempty"` // exact; "" = any
	Types            []string         `json:"types,omitempty"`  // exact, or with a trailing .*; none = any
	Filters          []Filter         `json:"filters,omitempty"`
	Sink             string           `json:"sink"`
	Protocol         string           `json:"protocol"`
	ProtocolSettings ProtocolSettings `json:"protocolsettings"`
	Config           DeliveryConfig   `json:"config"`
}

// ProtocolSettings say what a request looks like.
type ProtocolSettings struct {
	Method      string   `json:"method"`
	ContentMode string   `json:"contentmode"`
	Signing     *Signing `json:"signing,omitempty"` // nil = unsigned
}

// Signing says how requests are signed.
type Signing struct {
	Scheme string      `json:"scheme"` // standardwebhooks
	Secret secret.Text `json:"secret"` // whsec_ and base64
}

// DeliveryConfig says how a subscription's deliveries are made.
type DeliveryConfig struct {
	Timeout     Duration    `json:"timeout"` // whole exchange, connect to last body byte
	Retry       RetryPolicy `json:"retry"`
	Concurrency int         `json:"concurrency"` // simultaneous sends
}

// DefaultDeliveryConfig are the defaults of API.md 3.
func DefaultDeliveryConfig() DeliveryConfig {
	return DeliveryConfig{Timeout: Duration(15 * time.Second), Retry: DefaultRetryPolicy(), Concurrency: 64}
}
