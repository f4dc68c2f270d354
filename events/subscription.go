package events

import (
	"encoding/json"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of a subscription's settings (API.md 3).
const (
	MaxConcurrency = 500
	MinTimeout     = 100 * time.Millisecond
	MaxTimeout     = 5 * time.Minute
)

// Words that a subscription may say.
const (
	ProtocolHTTP      = "HTTP"
	MethodPost        = "POST"
	ModeStructured    = "structured"
	ModeBatch         = "batch"
	ProxyNone         = "none"
	HandshakeOff      = "off"
	HandshakeOptional = "optional"
	HandshakeRequired = "required"
	ThenHold          = "hold"
	ThenDeadLetter    = "deadletter"
)

// defaultPer is what a rate is per, when it does not say.
const defaultPer = time.Second

// Subscription says which events go to which sink, and how.
type Subscription struct {
	ID               string           `json:"id"`
	Tenant           string           `json:"tenant"`
	Description      string           `json:"description,omitempty"`
	Paused           bool             `json:"paused"`
	Source           string           `json:"source,omitempty"` // exact; "" = any
	Types            []string         `json:"types,omitempty"`  // exact, or with a trailing .*; none = any
	Filters          []Filter         `json:"filters,omitempty"`
	Sink             string           `json:"sink,omitempty"`         // with placeholders; "" only beside SinkOverride
	SinkOverride     string           `json:"sinkoverride,omitempty"` // attribute or data path whose value is the sink, where the event has it
	Protocol         string           `json:"protocol"`
	ProtocolSettings ProtocolSettings `json:"protocolsettings"`
	SinkCredential   *Credential      `json:"sinkcredential,omitempty"` // nil = none
	Config           *DeliveryConfig  `json:"config"`                   // never nil; those that are stored share equal ones, so it must not be changed
}

// ProtocolSettings say what a request looks like.
type ProtocolSettings struct {
	Method      string            `json:"method"`
	ContentMode string            `json:"contentmode"`
	Batch       *Batch            `json:"batch,omitempty"`       // set in content mode batch alone
	Headers     map[string]string `json:"headers,omitempty"`     // with placeholders
	Omit        []string          `json:"omit,omitempty"`        // optional attributes that the partner does not get
	Body        json.RawMessage   `json:"body,omitempty"`        // in mode template: JSON with placeholders; none = empty body
	ContentType string            `json:"contenttype,omitempty"` // "" = that of the mode
	Handshake   *Handshake        `json:"handshake,omitempty"`   // nil = off
	Signing     *Signing          `json:"signing,omitempty"`     // nil = unsigned
	TLS         *TLS              `json:"tls,omitempty"`         // nil = the system's roots, 1.2
	Proxy       string            `json:"proxy,omitempty"`       // "" = egress.proxy, ProxyNone
}

// Batch bounds a batch of content mode batch: it goes when one of them is reached.
type Batch struct {
	MaxEvents int      `json:"maxevents"`
	MaxBytes  int      `json:"maxbytes"` // of the request's body
	Linger    Duration `json:"linger"`   // since the first event of the batch came
}

// Handshake is the abuse protection of the CloudEvents webhook specification (AP-1 to AP-9).
type Handshake struct {
	Mode   string `json:"mode"`             // off, optional or required
	Origin string `json:"origin,omitempty"` // what WebHook-Request-Origin says; "" only in mode off
	Rate   int    `json:"rate,omitempty"`   // requests a minute that are asked for; 0 = no WebHook-Request-Rate
}

// Signing says how requests are signed. Header to Prefix are of scheme hmac alone.
type Signing struct {
	Scheme   string      `json:"scheme"` // standardwebhooks, ed25519 or hmac
	Secret   secret.Text `json:"secret"` // whsec_ and base64; of ed25519 whsk_ and base64; of hmac any text
	Header   string      `json:"header,omitempty"`
	Hash     string      `json:"hash,omitempty"`
	Encoding string      `json:"encoding,omitempty"`
	Prefix   string      `json:"prefix,omitempty"`

	// Previous is the secret before the last rotation, which signs as well until PreviousUntil. It is stored, and never
	// part of the API's JSON; of that, PreviousUntil is read-only.
	Previous      secret.Text `json:"-"`
	PreviousUntil time.Time   `json:"previousuntil,omitzero"`
}

// TLS is what a sink's certificate is checked against, and what is shown to it.
type TLS struct {
	CACert     string      `json:"cacert,omitempty"`     // PEM; "" = the system's roots
	ClientCert string      `json:"clientcert,omitempty"` // PEM
	ClientKey  secret.Text `json:"clientkey,omitzero"`   // PEM
	MinVersion string      `json:"minversion,omitempty"` // 1.2 or 1.3; "" = 1.2
}

// Credential is what requests show to the sink (API.md 3.3). Which members are set is a matter of its type. It is
// write-only but for what is no secret.
type Credential struct {
	Type string `json:"credentialtype"`

	In         string      `json:"in,omitempty"`         // APIKEY: header or query
	Name       string      `json:"name,omitempty"`       // APIKEY
	Value      secret.Text `json:"value,omitzero"`       // APIKEY
	Identifier string      `json:"identifier,omitempty"` // PLAIN
	Secret     secret.Text `json:"secret,omitzero"`      // APIKEY, PLAIN

	AccessToken           secret.Text `json:"accesstoken,omitzero"`           // BEARER, ACCESSTOKEN
	AccessTokenExpiresUTC time.Time   `json:"accesstokenexpiresutc,omitzero"` // ACCESSTOKEN
	AccessTokenType       string      `json:"accesstokentype,omitempty"`      // ACCESSTOKEN

	TokenEndpoint string       `json:"tokenendpoint,omitempty"` // TOKENSERVER, as all that follow
	GrantType     string       `json:"granttype,omitempty"`
	ClientID      string       `json:"clientid,omitempty"`
	ClientSecret  secret.Text  `json:"clientsecret,omitzero"`
	Username      string       `json:"username,omitempty"`
	Password      secret.Text  `json:"password,omitzero"`
	Scopes        []string     `json:"scopes,omitempty"`
	Parameters    secret.Texts `json:"parameters,omitempty"` // nil in what was sent: as they were
	AuthStyle     string       `json:"authstyle,omitempty"`
	UsernameField string       `json:"usernamefield,omitempty"`
	PasswordField string       `json:"passwordfield,omitempty"`
	TokenPath     string       `json:"tokenpath,omitempty"`
	ExpiresPath   string       `json:"expirespath,omitempty"`
}

// DeliveryConfig says how a subscription's deliveries are made.
type DeliveryConfig struct {
	Timeout     Duration       `json:"timeout"` // whole exchange, connect to last body byte
	Retry       RetryPolicy    `json:"retry"`
	Responses   []ResponseRule `json:"responses,omitempty"` // first match wins; none = the table of API.md 3.4
	Rate        *Rate          `json:"rate,omitempty"`      // nil = unlimited
	Concurrency int            `json:"concurrency"`         // simultaneous sends of the whole fleet
	Pause       *Pause         `json:"pause,omitempty"`     // nil = failures never pause it
	Breaker     Breaker        `json:"breaker"`
	Ordering    *Ordering      `json:"ordering,omitempty"`  // nil = unordered
	Schedule    *Schedule      `json:"schedule,omitempty"`  // nil = at once
	Lifecycle   *Lifecycle     `json:"lifecycle,omitempty"` // nil = events have no status
}

// ResponseRule replaces the table of API.md 3.4 for the responses that it matches.
type ResponseRule struct {
	Status StatusPattern `json:"status"`          // 409, 3xx, 500-504 or *
	Action string        `json:"action"`          // ack, retry, deadletter or disable
	Every  Duration      `json:"every,omitempty"` // of retry: a fixed interval until success or maxage; 0 = the retry policy
}

// Rate bounds how often a sink is sent to, over the whole fleet.
type Rate struct {
	Permit int      `json:"permit"` // requests
	Per    Duration `json:"per"`
	Burst  int      `json:"burst"` // at once
}

// Pause pauses a subscription after so many consecutive failed attempts of any kind.
type Pause struct {
	After int    `json:"after"`
	Then  string `json:"then"` // hold or deadletter: what becomes of what comes then
}

// Breaker holds a sink after so many consecutive retryable failures, and lets one probe through a cooldown.
type Breaker struct {
	Failures int      `json:"failures"` // 0 = off
	Cooldown Duration `json:"cooldown"`
}

// DefaultBreaker is that of API.md 3.
func DefaultBreaker() Breaker { return Breaker{Failures: 10, Cooldown: Duration(30 * time.Second)} }

// DefaultDeliveryConfig are the defaults of API.md 3.
func DefaultDeliveryConfig() DeliveryConfig {
	return DeliveryConfig{Timeout: Duration(15 * time.Second), Retry: DefaultRetryPolicy(), Concurrency: 64, Breaker: DefaultBreaker()}
}
