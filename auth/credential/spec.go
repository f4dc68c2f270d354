package credential

import (
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Types of credentials.
const (
	typeNone        = "NONE"
	typeAPIKey      = "APIKEY"
	typePlain       = "PLAIN"
	typeBearer      = "BEARER"
	typeAccessToken = "ACCESSTOKEN"
	typeTokenServer = "TOKENSERVER"
)

// Words of a Spec.
const (
	inQuery       = "query"
	styleParams   = "params"
	grantPassword = "password"
	grantJSON     = "json"
)

// Spec is a credential as a subscription says it, with its defaults filled in. It has the fields of events.Credential, in
// their order, so that one converts into the other.
type Spec struct {
	Type string

	In         string
	Name       string
	Value      secret.Text
	Identifier string
	Secret     secret.Text

	AccessToken           secret.Text
	AccessTokenExpiresUTC time.Time
	AccessTokenType       string

	TokenEndpoint string
	GrantType     string
	ClientID      string
	ClientSecret  secret.Text
	Username      string
	Password      secret.Text
	Scopes        []string
	Parameters    secret.Texts
	AuthStyle     string
	UsernameField string
	PasswordField string
	TokenPath     string
	ExpiresPath   string
}
