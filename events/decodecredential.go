package events

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of a credential. Servers take headers of 8 KiB in all.
const (
	maxCredentialBytes = 8 << 10 // of one secret
	maxNameBytes       = 256     // of a header, a parameter, a user
	maxScopes          = 64
	maxParameters      = 32
	maxParameterBytes  = 4 << 10
	maxPathBytes       = 256
)

// credentialTypes are the types, and which members each has besides its type.
var credentialTypes = map[string][]string{
	CredentialNone:        {},
	CredentialAPIKey:      {"in", "name", "value", "secret"},
	CredentialPlain:       {"identifier", "secret"},
	CredentialBearer:      {"accesstoken"},
	CredentialAccessToken: {"accesstoken", "accesstokenexpiresutc", "accesstokentype"},
}

// grantTypes are those of TOKENSERVER, and which members each has besides what all have.
var grantTypes = map[string][]string{
	GrantClientCredentials: {"clientid", "clientsecret", "scopes", "authstyle"},
	GrantPassword: {
		"username", "password", "usernamefield", "passwordfield", "clientid", "clientsecret", "scopes", "authstyle",
	},
	GrantJSON: {"username", "password", "usernamefield", "passwordfield"},
}

var serverMembers = []string{"tokenendpoint", "granttype", "parameters", "tokenpath", "expirespath"}

// credentialReader reads a credential.
type credentialReader struct {
	*document
	sinks SinkPolicy
	to    **Credential // where it goes
}

// credential reads the credential. Of NONE, which is what is when there is none, nothing is kept.
func (d *credentialReader) credential(v *jsonValue, at string) {
	c := &Credential{GrantType: GrantClientCredentials}
	kind, grant := v.member("credentialtype"), v.member("granttype")
	if v.kind == jsonObject && kind == nil {
		d.fault(at+"/credentialtype", "is required")
	}
	if kind != nil {
		c.Type = kind.text
	}
	if grant != nil {
		c.GrantType = grant.text
	}
	if c.Type != CredentialTokenServer {
		c.GrantType = ""
	}
	d.object(v, at, d.membersOf(c))
	if v.kind != jsonObject {
		return
	}
	switch c.Type {
	case CredentialNone:
		return
	case CredentialAPIKey:
		d.apiKey(v, at, c)
	case CredentialPlain:
		d.plain(v, at, c)
	case CredentialTokenServer:
		if grantTypes[c.GrantType] == nil {
			return // what it needs is not known
		}
		d.tokenServer(v, at, c)
	}
	*d.to = c
}

// membersOf are the readers of all members, where those that c's type does not have are refused. Of a type that is not
// known all are read.
func (d *credentialReader) membersOf(c *Credential) map[string]reader {
	all := d.credentialMembers(c)
	have, known := credentialTypes[c.Type]
	of := "credentialtype " + c.Type
	if c.Type == CredentialTokenServer {
		if have, known = grantTypes[c.GrantType]; known {
			have, of = slices.Concat(have, serverMembers), "granttype "+c.GrantType
		}
	}
	if !known {
		return all
	}
	for name := range all {
		if name != "credentialtype" && !slices.Contains(have, name) {
			all[name] = func(_ *jsonValue, at string) { d.fault(at, "is no member of %s", of) }
		}
	}
	return all
}

func (d *credentialReader) credentialMembers(c *Credential) map[string]reader {
	return map[string]reader{
		"credentialtype": d.anyOf(&c.Type, CredentialNone, CredentialAPIKey, CredentialPlain, CredentialBearer,
			CredentialAccessToken, CredentialTokenServer),
		"in": d.anyOf(&c.In, InHeader, InQuery), "name": d.text(&c.Name, wrongName), "value": d.secret(&c.Value, wrongKey),
		"identifier": d.text(&c.Identifier, wrongIdentifier), "secret": d.secret(&c.Secret, wrongSecret),
		"accesstoken":           d.secret(&c.AccessToken, wrongToken),
		"accesstokenexpiresutc": d.moment(&c.AccessTokenExpiresUTC),
		"accesstokentype":       d.text(&c.AccessTokenType, wrongTokenType),
		"tokenendpoint":         d.endpoint(&c.TokenEndpoint),
		"granttype":             d.anyOf(&c.GrantType, GrantClientCredentials, GrantPassword, GrantJSON),
		"clientid":              d.text(&c.ClientID, wrongName), "clientsecret": d.secret(&c.ClientSecret, wrongSecret),
		"username": d.text(&c.Username, wrongName), "password": d.secret(&c.Password, wrongSecret),
		"scopes": d.scopes(c), "parameters": d.parameters(c),
		"authstyle":     d.anyOf(&c.AuthStyle, StyleHeader, StyleParams),
		"usernamefield": d.text(&c.UsernameField, wrongName), "passwordfield": d.text(&c.PasswordField, wrongName),
		"tokenpath": d.text(&c.TokenPath, wrongPath), "expirespath": d.text(&c.ExpiresPath, wrongPath),
	}
}

// apiKey takes the short form apart. Where no value is sent, name and place may be left out as well: those of the value
// that is kept stay.
func (d *credentialReader) apiKey(v *jsonValue, at string, c *Credential) {
	nameAt := at + "/name"
	if short := v.member("secret"); short != nil && short.kind == jsonString {
		nameAt = at + "/secret"
		d.shortKey(v, at, short.text, c)
	}
	kept := c.Value.IsZero() || isMask(c.Value.Reveal())
	if !kept || c.In != "" || c.Name != "" {
		c.In, c.Name = cmp.Or(c.In, InHeader), cmp.Or(c.Name, defaultKeyName)
	}
	switch {
	case c.In != InHeader || wrongName(c.Name) != "":
	case !isToken(c.Name):
		d.fault(nameAt, "is no name of a header")
	case isReservedHeader(c.Name):
		d.fault(nameAt, "names a header that cannot be set: %s", strings.ToLower(c.Name))
	}
}

func (d *credentialReader) shortKey(v *jsonValue, at, text string, c *Credential) {
	at += "/secret"
	c.Secret = secret.Text{}
	switch {
	case v.member("name") != nil || v.member("value") != nil:
		d.fault(at, "says name and value itself, and cannot be beside them")
		c.Value = secret.New("refused") // and not missing
		return
	case isMask(text):
		c.Secret = secret.New(maskPrefix)
		return
	}
	name, value, ok := strings.Cut(text, ":")
	if !ok || !isToken(name) {
		name, value = "", text
	}
	if wrong := wrongKey(value); wrong != "" {
		if wrongSecret(text) == "" {
			d.fault(at, "has a value that %s", wrong)
		}
		value = "refused"
	}
	c.Name, c.Value = name, secret.New(value)
}

// plain takes the short form apart.
func (d *credentialReader) plain(v *jsonValue, at string, c *Credential) {
	text := c.Secret.Reveal()
	if v.member("identifier") != nil || text == "" || isMask(text) {
		return
	}
	user, password, ok := strings.Cut(text, ":")
	switch {
	case !ok:
		d.fault(at+"/identifier", "is required, unless secret is user:pass")
	case user == "" || password == "":
		d.fault(at+"/secret", "must be user:pass, neither of them empty")
	default:
		c.Identifier, c.Secret = user, secret.New(password)
	}
}

// tokenServer fills in what is left out, and names what must not be.
func (d *credentialReader) tokenServer(v *jsonValue, at string, c *Credential) {
	needed := []string{"tokenendpoint", "username"}
	if c.GrantType == GrantClientCredentials {
		needed[1] = "clientid"
	}
	for _, name := range needed {
		if v.member(name) == nil {
			d.fault(at+"/"+name, "is required")
		}
	}
	if v.member("clientsecret") != nil && v.member("clientid") == nil && c.GrantType == GrantPassword {
		d.fault(at+"/clientid", "is required beside clientsecret")
	}
	c.TokenPath, c.ExpiresPath = cmp.Or(c.TokenPath, defaultTokenPath), cmp.Or(c.ExpiresPath, defaultExpiresPath)
	if c.GrantType != GrantJSON {
		c.AuthStyle = cmp.Or(c.AuthStyle, StyleHeader)
	}
	if c.GrantType != GrantClientCredentials {
		c.UsernameField = cmp.Or(c.UsernameField, defaultUsernameField)
		c.PasswordField = cmp.Or(c.PasswordField, defaultPasswordField)
		if c.UsernameField == c.PasswordField {
			d.fault(at+"/passwordfield", "is the same as usernamefield")
		}
	}
	for _, name := range c.ownParameters() {
		if c.Parameters.Has(name) {
			d.fault(below(at+"/parameters", name), "is said by another member")
		}
	}
}

// ownParameters are the names of what a token request says anyway.
func (c *Credential) ownParameters() []string {
	own := []string{"grant_type", "scope", "client_id", "client_secret"}
	switch c.GrantType {
	case GrantPassword:
		own = append(own, c.UsernameField, c.PasswordField)
	case GrantJSON:
		own = []string{c.UsernameField, c.PasswordField}
	}
	return own
}

// anyOf reads a string that is one of words.
func (d *document) anyOf(to *string, words ...string) reader {
	return func(v *jsonValue, at string) {
		switch {
		case !d.is(jsonString, v, at):
		case !slices.Contains(words, v.text):
			d.fault(at, "must be %s or %s", strings.Join(words[:len(words)-1], ", "), words[len(words)-1])
		default:
			*to = v.text
		}
	}
}

// moment reads a time, to the millisecond that answers show.
func (d *document) moment(to *time.Time) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		t, err := parseTime(v.text)
		if err != nil || t.Year() < 1 || t.Year() > 9999 {
			d.fault(at, "must be a time as in 2026-01-31T12:00:00Z")
			return
		}
		*to = t.UTC().Truncate(time.Millisecond)
	}
}

// endpoint reads the URL of a token server, for which the rules of sinks hold, but for placeholders.
func (d *credentialReader) endpoint(to *string) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		if strings.Contains(v.text, "${") {
			d.fault(at, "has a placeholder, which the URL of a token server cannot have")
		} else {
			for _, why := range d.sinks.Refuses(v.text) {
				d.fault(at, "%s", why)
			}
		}
		*to = v.text
	}
}

func (d *credentialReader) scopes(c *Credential) reader {
	return func(v *jsonValue, at string) {
		d.array(v, at, maxScopes, func(v *jsonValue, at string) {
			var scope string
			d.text(&scope, wrongScope)(v, at)
			c.Scopes = append(c.Scopes, scope)
		})
	}
}

func (d *credentialReader) parameters(c *Credential) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonObject, v, at) {
			return
		}
		if len(v.members) > maxParameters {
			d.fault(at, "has %d members, at most %d are taken", len(v.members), maxParameters)
			return
		}
		c.Parameters = secret.Texts{} // also when there are none: those that it had are not kept
		for i := range v.members {
			m := &v.members[i]
			if wrong := wrongName(m.name); wrong != "" {
				d.fault(below(at, m.name), "has a name that %s", wrong)
			}
			p := secret.Named{Name: m.name}
			d.secret(&p.Text, wrongParameter)(&m.value, below(at, m.name))
			c.Parameters = append(c.Parameters, p)
		}
	}
}

// What is wrong with a text of a credential; "" = nothing. None of them quotes what it got.

func wrongName(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > maxNameBytes:
		return wrongLength(s, maxNameBytes)
	default:
		return wrongControl(s)
	}
}

func wrongIdentifier(s string) string {
	if strings.Contains(s, ":") {
		return "must not have a colon"
	}
	return wrongName(s)
}

func wrongSecret(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > maxCredentialBytes:
		return wrongLength(s, maxCredentialBytes)
	default:
		return wrongControl(s)
	}
}

// wrongKey is wrongSecret for what must be a header's value too.
func wrongKey(s string) string {
	if wrong := wrongSecret(s); wrong != "" {
		return wrong
	}
	if strings.Trim(s, " ") != s {
		return "begins or ends with a space"
	}
	return ""
}

func wrongToken(s string) string {
	if wrong := wrongSecret(s); wrong != "" {
		return wrong
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "must be visible ASCII without spaces; the word Bearer is put before it"
	}
	return ""
}

func wrongTokenType(s string) string {
	if !strings.EqualFold(s, "bearer") {
		return "must be bearer"
	}
	return ""
}

func wrongScope(s string) string {
	switch {
	case s == "" || len(s) > maxNameBytes:
		return "must be 1 to " + strconv.Itoa(maxNameBytes) + " characters"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
		return "must be visible ASCII without spaces, quotes and backslashes"
	default:
		return ""
	}
}

func wrongParameter(s string) string {
	if len(s) > maxParameterBytes {
		return wrongLength(s, maxParameterBytes)
	}
	return wrongControl(s)
}

// wrongControl tells the usual mistake from others: a secret that was copied with its line break.
func wrongControl(s string) string {
	control := func(r rune) bool { return r < ' ' || 0x7f <= r && r <= 0x9f }
	switch {
	case !strings.ContainsFunc(s, control):
		return ""
	case strings.TrimRight(s, "\r\n") != s:
		return "ends with a line break"
	default:
		return "has a control character"
	}
}

// wrongPath is the check of a path in a token server's answer: names joined by dots, each with indexes behind it.
func wrongPath(s string) string {
	if len(s) > maxPathBytes {
		return wrongLength(s, maxPathBytes)
	}
	if wrong := wrongControl(s); wrong != "" {
		return wrong
	}
	for segment := range strings.SplitSeq(s, ".") {
		name, indexes, _ := strings.Cut(segment, "[")
		if name == "" || strings.ContainsAny(name, "]${}") || !areIndexes(indexes) {
			return fmt.Sprintf("must be a path such as %s or data.tokens[0].value", defaultTokenPath)
		}
	}
	return ""
}

// areIndexes reports whether s, behind its first bracket, is 0] or 0][1] and so on; or nothing.
func areIndexes(s string) bool {
	if s == "" {
		return true
	}
	for index := range strings.SplitSeq(s, "[") {
		number, ok := strings.CutSuffix(index, "]")
		if !ok || number == "" || len(number) > 4 || digits(number) < 0 {
			return false
		}
	}
	return true
}
