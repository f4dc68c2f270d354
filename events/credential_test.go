package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// withCredential is a subscription with this credential, as JSON.
func withCredential(members string) string {
	return `{"id":"a","sink":"https://partner.example/hook","sinkcredential":{` + members + `}}`
}

const server = `"credentialtype":"TOKENSERVER","tokenendpoint":"https://auth.example/token"`

func TestDecodeCredential(t *testing.T) {
	t.Parallel()
	text := secret.New
	tests := map[string]*Credential{
		`"credentialtype":"NONE"`:                                                     nil,
		`"credentialtype":"APIKEY","value":"k"`:                                       {Type: "APIKEY", In: "header", Name: "Authorization", Value: text("k")},
		`"credentialtype":"APIKEY","in":"query","name":"api key","value":"ä&=?"`:      {Type: "APIKEY", In: "query", Name: "api key", Value: text("ä&=?")},
		`"credentialtype":"APIKEY","in":"query","name":"host","value":"k"`:            {Type: "APIKEY", In: "query", Name: "host", Value: text("k")},
		`"credentialtype":"APIKEY","in":"header","name":"X-Key","value":"a b"`:        {Type: "APIKEY", In: "header", Name: "X-Key", Value: text("a b")},
		`"credentialtype":"APIKEY","secret":"X-Api-Key:a:b"`:                          {Type: "APIKEY", In: "header", Name: "X-Api-Key", Value: text("a:b")},
		`"credentialtype":"APIKEY","secret":"Token token=a:b"`:                        {Type: "APIKEY", In: "header", Name: "Authorization", Value: text("Token token=a:b")},
		`"credentialtype":"APIKEY","secret":"just-a-value"`:                           {Type: "APIKEY", In: "header", Name: "Authorization", Value: text("just-a-value")},
		`"credentialtype":"APIKEY","secret":":x"`:                                     {Type: "APIKEY", In: "header", Name: "Authorization", Value: text(":x")},
		`"credentialtype":"APIKEY","in":"query","secret":"key:v"`:                     {Type: "APIKEY", In: "query", Name: "key", Value: text("v")},
		`"credentialtype":"PLAIN","identifier":"u","secret":"p:q"`:                    {Type: "PLAIN", Identifier: "u", Secret: text("p:q")},
		`"credentialtype":"PLAIN","secret":"u:p:q"`:                                   {Type: "PLAIN", Identifier: "u", Secret: text("p:q")},
		`"credentialtype":"PLAIN","identifier":"Ünal Ö","secret":" ß "`:               {Type: "PLAIN", Identifier: "Ünal Ö", Secret: text(" ß ")},
		`"credentialtype":"BEARER","accesstoken":"a.b-c_d~e+f/g=="`:                   {Type: "BEARER", AccessToken: text("a.b-c_d~e+f/g==")},
		`"credentialtype":"ACCESSTOKEN","accesstoken":"t","accesstokentype":"Bearer"`: {Type: "ACCESSTOKEN", AccessToken: text("t"), AccessTokenType: "Bearer"},
		`"credentialtype":"ACCESSTOKEN","accesstoken":"t","accesstokenexpiresutc":"2026-01-01T01:00:00.1239+01:00"`: {
			Type: "ACCESSTOKEN", AccessToken: text("t"), AccessTokenExpiresUTC: time.Date(2026, 1, 1, 0, 0, 0, 123e6, time.UTC),
		},
		server + `,"clientid":"c","clientsecret":"s"`: {
			Type: "TOKENSERVER", TokenEndpoint: "https://auth.example/token", GrantType: "client_credentials", ClientID: "c", ClientSecret: text("s"),
			AuthStyle: "header", TokenPath: "access_token", ExpiresPath: "expires_in",
		},
		server + `,"clientid":"c","clientsecret":"s","authstyle":"params","scopes":["a","b:c"],"parameters":{"audience":"https://x"}`: {
			Type: "TOKENSERVER", TokenEndpoint: "https://auth.example/token", GrantType: "client_credentials", ClientID: "c", ClientSecret: text("s"),
			AuthStyle: "params", Scopes: []string{"a", "b:c"}, Parameters: secret.Texts{{Name: "audience", Text: text("https://x")}}, TokenPath: "access_token", ExpiresPath: "expires_in",
		},
		server + `,"granttype":"password","username":"u","password":"p","usernamefield":"user"`: {
			Type: "TOKENSERVER", TokenEndpoint: "https://auth.example/token", GrantType: "password", Username: "u", Password: text("p"),
			AuthStyle: "header", UsernameField: "user", PasswordField: "password", TokenPath: "access_token", ExpiresPath: "expires_in",
		},
		server + `,"granttype":"json","username":"u","password":"p","passwordfield":"pin","tokenpath":"data.tokens[0][1].token","expirespath":"data.ttl"`: {
			Type: "TOKENSERVER", TokenEndpoint: "https://auth.example/token", GrantType: "json", Username: "u", Password: text("p"),
			UsernameField: "username", PasswordField: "pin", TokenPath: "data.tokens[0][1].token", ExpiresPath: "data.ttl",
		},
	}
	for members, want := range tests {
		s, err := DecodeNewSubscription([]byte(withCredential(members)), "", SinkPolicy{})
		if err != nil {
			t.Errorf("%s: %v", members, err)
			continue
		}
		if diff := cmp.Diff(want, s.SinkCredential, showSecrets); diff != "" {
			t.Errorf("%s: %s", members, diff)
		}
		stored, err := Seal(s, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := new(Opener).Open(stored)
		if err != nil {
			t.Fatalf("%s: %v", stored, err)
		}
		if diff := cmp.Diff(s, back, showSecrets); diff != "" {
			t.Errorf("%s as stored: %s", members, diff)
		}
	}
}

// Each credential is refused with exactly these pointers below /sinkcredential.
func TestDecodeCredentialFaults(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxCredentialBytes+1)
	tests := map[string]string{
		``:                                                                                                         "credentialtype",
		`"credentialtype":5`:                                                                                       "credentialtype",
		`"credentialtype":"apikey","value":"x"`:                                                                    "credentialtype",
		`"credentialtype":"OAUTH","x":1`:                                                                           "credentialtype x",
		`"credentialtype":"NONE","value":"x"`:                                                                      "value",
		`"credentialtype":"APIKEY"`:                                                                                "value",
		`"credentialtype":"APIKEY","value":""`:                                                                     "value",
		`"credentialtype":"APIKEY","value":7`:                                                                      "value",
		`"credentialtype":"APIKEY","value":"••••"`:                                                                 "value",
		`"credentialtype":"APIKEY","secret":"••••abcd"`:                                                            "secret",
		`"credentialtype":"APIKEY","value":"a\n"`:                                                                  "value",
		`"credentialtype":"APIKEY","value":" a"`:                                                                   "value",
		`"credentialtype":"APIKEY","value":"` + long + `"`:                                                         "value",
		`"credentialtype":"APIKEY","value":"a","in":"cookie"`:                                                      "in",
		`"credentialtype":"APIKEY","value":"a","name":"x y"`:                                                       "name",
		`"credentialtype":"APIKEY","value":"a","name":"a\r\nb"`:                                                    "name",
		`"credentialtype":"APIKEY","value":"a","name":""`:                                                          "name",
		`"credentialtype":"APIKEY","value":"a","name":"hOst"`:                                                      "name",
		`"credentialtype":"APIKEY","value":"a","name":"ce-id"`:                                                     "name",
		`"credentialtype":"APIKEY","name":"Content-Type"`:                                                          "name value",
		`"credentialtype":"APIKEY","secret":"webhook-id:x"`:                                                        "secret",
		`"credentialtype":"APIKEY","secret":"x-key:"`:                                                              "secret",
		`"credentialtype":"APIKEY","secret":"x-key: a"`:                                                            "secret",
		`"credentialtype":"APIKEY","secret":""`:                                                                    "secret",
		`"credentialtype":"APIKEY","secret":"a:b","value":"c"`:                                                     "secret",
		`"credentialtype":"APIKEY","secret":"a:b","name":"c"`:                                                      "secret",
		`"credentialtype":"APIKEY","value":"a","accesstoken":"b"`:                                                  "accesstoken",
		`"credentialtype":"APIKEY","value":"a","identifier":"b"`:                                                   "identifier",
		`"credentialtype":"APIKEY","value":"a","api_key":"b"`:                                                      "api_key",
		`"credentialtype":"PLAIN"`:                                                                                 "secret",
		`"credentialtype":"PLAIN","identifier":"u"`:                                                                "secret",
		`"credentialtype":"PLAIN","secret":"nocolon"`:                                                              "identifier",
		`"credentialtype":"PLAIN","secret":"u:"`:                                                                   "secret",
		`"credentialtype":"PLAIN","secret":":p"`:                                                                   "secret",
		`"credentialtype":"PLAIN","identifier":"a:b","secret":"p"`:                                                 "identifier",
		`"credentialtype":"PLAIN","identifier":"","secret":"p"`:                                                    "identifier",
		`"credentialtype":"PLAIN","secret":"u:p\n","value":"x"`:                                                    "secret value",
		`"credentialtype":"BEARER"`:                                                                                "accesstoken",
		`"credentialtype":"BEARER","accesstoken":"Bearer x"`:                                                       "accesstoken",
		`"credentialtype":"BEARER","accesstoken":"ä"`:                                                              "accesstoken",
		`"credentialtype":"BEARER","accesstoken":"a","accesstokenexpiresutc":"2026-01-01T00:00:00Z"`:               "accesstokenexpiresutc",
		`"credentialtype":"ACCESSTOKEN","accesstokenexpiresutc":"tomorrow","accesstokentype":"mac"`:                "accesstokenexpiresutc accesstokentype accesstoken",
		`"credentialtype":"ACCESSTOKEN","accesstoken":"a","accesstokenexpiresutc":1767225600}`:                     "",
		`"credentialtype":"TOKENSERVER"`:                                                                           "tokenendpoint clientid",
		server:                                                                                                     "clientid",
		server + `,"clientid":"c"`:                                                                                 "clientsecret",
		server + `,"clientid":"c","clientsecret":"s","username":"u","password":"p"`:                                "username password",
		server + `,"granttype":"implicit","clientid":"c"`:                                                          "granttype",
		server + `,"granttype":"password"`:                                                                         "username password",
		server + `,"granttype":"password","username":"u","password":"p","clientsecret":"s"`:                        "clientid",
		server + `,"granttype":"json","username":"u","password":"p","clientid":"c","scopes":["a"]`:                 "clientid scopes",
		server + `,"granttype":"json","username":"u","password":"p","authstyle":"params"`:                          "authstyle",
		server + `,"granttype":"json","username":"u","password":"p","usernamefield":"password"`:                    "passwordfield",
		server + `,"granttype":"json","username":"u","password":"p","parameters":{"username":"x","client_id":"y"}`: "parameters/username",
		server + `,"clientid":"c","clientsecret":"s","authstyle":"basic","scopes":["a b",""],"parameters":{"scope":"x","n":1,"":"y"}`: "authstyle scopes/0 scopes/1 parameters/n parameters/ parameters/scope",
		server + `,"clientid":"c","clientsecret":"s","tokenpath":"","expirespath":"a..b"`:                                             "tokenpath expirespath",
		server + `,"clientid":"c","clientsecret":"s","tokenpath":"a[x]","expirespath":"${a}"`:                                         "tokenpath expirespath",
		server + `,"clientid":"c","clientsecret":"s","value":"x"`:                                                                     "value",
		`"credentialtype":"TOKENSERVER","clientid":"c","clientsecret":"s","tokenendpoint":"http://auth.example/token"`:                "tokenendpoint",
		`"credentialtype":"TOKENSERVER","clientid":"c","clientsecret":"s","tokenendpoint":"https://u:p@denied.example/#x"`:            "tokenendpoint tokenendpoint tokenendpoint",
		`"credentialtype":"TOKENSERVER","clientid":"c","clientsecret":"s","tokenendpoint":"https://auth.example/${subject}"`:          "tokenendpoint",
		`"credentialtype":"TOKENSERVER","clientid":"c","clientsecret":"s","tokenendpoint":"ftp://auth.example/"`:                      "tokenendpoint",
	}
	policy := SinkPolicy{HostDenied: func(host string) (string, bool) { return "it is denied", host == "denied.example" }}
	for members, want := range tests {
		_, err := DecodeNewSubscription([]byte(withCredential(members)), "", policy)
		got := faultsOf(t, err)
		var at []string
		for _, f := range got.Faults {
			at = append(at, strings.TrimPrefix(f.Pointer, "/sinkcredential/"))
			if strings.Contains(f.Detail, "nocolon") {
				t.Errorf("%s: quotes the secret: %s", members, f.Detail)
			}
		}
		if diff := cmp.Diff(strings.Fields(want), at); diff != "" && want != "" {
			t.Errorf("%s: %+v\n%s", members, got.Faults, diff)
		}
	}
}

// What is left out or masked is kept from the credential before, of the same kind and to the same place only.
func TestKeepCredential(t *testing.T) {
	t.Parallel()
	const (
		key    = `"credentialtype":"APIKEY","in":"query","name":"k","value":"old-value"`
		plain  = `"credentialtype":"PLAIN","identifier":"u","secret":"old-secret"`
		bearer = `"credentialtype":"BEARER","accesstoken":"old-token"`
		client = server + `,"clientid":"c","clientsecret":"old-client-secret"`
		more   = client + `,"parameters":{"a~/b":"old-a","none":""}`
		user   = server + `,"granttype":"password","username":"u","password":"old-password","clientid":"c","clientsecret":"old-client-secret"`
	)
	tests := []struct{ old, now, want string }{ // want: all secrets with what belongs to them, or the pointers of the faults
		{key, `"credentialtype":"APIKEY"`, "query k old-value"},
		{key, `"credentialtype":"APIKEY","value":"••••alue"`, "query k old-value"},
		{key, `"credentialtype":"APIKEY","secret":"••••"`, "query k old-value"},
		{key, `"credentialtype":"APIKEY","in":"query","name":"k2","value":"••••"`, "query k2 old-value"},
		{key, `"credentialtype":"APIKEY","name":"X-Key"`, "header X-Key old-value"},
		{key, `"credentialtype":"APIKEY","value":"new"`, "header Authorization new"},
		{key, `"credentialtype":"APIKEY","secret":"new"`, "header Authorization new"},
		{plain, `"credentialtype":"PLAIN"`, "u old-secret"},
		{plain, `"credentialtype":"PLAIN","identifier":"v"`, "v old-secret"},
		{plain, `"credentialtype":"PLAIN","secret":"••••"`, "u old-secret"},
		{plain, `"credentialtype":"PLAIN","secret":"a:b"`, "a b"},
		{bearer, `"credentialtype":"BEARER"`, "old-token"},
		{client, server + `,"clientid":"d"`, "old-client-secret"},
		{user, server + `,"granttype":"password","username":"u","clientid":"c"`, "old-password old-client-secret"},
		{user, server + `,"granttype":"password","username":"u"`, "old-password"},
		{user, server + `,"granttype":"password","username":"u","password":"new","clientid":"c","clientsecret":"••••cret"`, "new old-client-secret"},
		// Parameters are kept when nothing is said of any.
		{more, server + `,"clientid":"c"`, "old-client-secret a~/b=old-a none="},
		{more, server + `,"clientid":"c","parameters":null`, "old-client-secret a~/b=old-a none="},
		{more, server + `,"clientid":"c","parameters":{}`, "old-client-secret"},
		{more, server + `,"clientid":"c","parameters":{"a~/b":"••••","new":"n"}`, "old-client-secret a~/b=old-a new=n"},
		{more, server + `,"clientid":"c","parameters":{"a~/b":""}`, "old-client-secret a~/b="},
		{more, server + `,"clientid":"c","parameters":{"none":"••••"}`, "! parameters/none"},
		{more, server + `,"clientid":"c","parameters":{"absent":"••••"}`, "! parameters/absent"},
		{more, user, "old-password old-client-secret"},
		{more, strings.Replace(server, "auth.", "evil.", 1) + `,"clientid":"c","clientsecret":"s"`, "! parameters/a~0~1b"},
		{more, strings.Replace(server, "auth.", "evil.", 1) + `,"clientid":"c","clientsecret":"s","parameters":{}`, "s"},
		// Another type or form, and what was not there, is not kept.
		{plain, `"credentialtype":"APIKEY","secret":"••••"`, "! secret"},
		{plain, `"credentialtype":"APIKEY"`, "! value"},
		{key, `"credentialtype":"PLAIN","identifier":"u"`, "! secret"},
		{bearer, `"credentialtype":"ACCESSTOKEN","accesstoken":"••••"`, "! accesstoken"},
		{client, server + `,"granttype":"password","username":"u","password":"p","clientid":"c"`, "p"},
		{client, server + `,"granttype":"password","username":"u","password":"p","clientid":"c","clientsecret":"••••"`, "! clientsecret"},
		{user, server + `,"granttype":"json","username":"u"`, "! password"},
		{`"credentialtype":"NONE"`, `"credentialtype":"BEARER","accesstoken":"••••"`, "! accesstoken"},
		// Another token server must be told again.
		{client, strings.Replace(server, "auth.", "evil.", 1) + `,"clientid":"c"`, "! clientsecret"},
		{client, strings.Replace(server, "/token", "/other", 1) + `,"clientid":"c","clientsecret":"••••cret"`, "old-client-secret"},
		{user, strings.Replace(server, "auth.", "evil.", 1) + `,"granttype":"password","username":"u","clientid":"c"`, "! clientsecret password"},
	}
	for _, test := range tests {
		old, err := DecodeNewSubscription([]byte(withCredential(test.old)), "", SinkPolicy{})
		if err != nil {
			t.Fatal(err)
		}
		s := decode(t, withCredential(test.now))
		err = s.KeepSecrets(old)
		if got := said(t, s.SinkCredential, err); got != test.want {
			t.Errorf("%s after %s: %q, want %q", test.now, test.old, got, test.want)
		}
	}
	old, other := decode(t, withCredential(bearer)), decode(t, withCredential(`"credentialtype":"BEARER"`))
	other.Sink = "https://evil.example/hook"
	if got := said(t, other.SinkCredential, other.KeepSecrets(old)); got != "! accesstoken" {
		t.Errorf("another sink: %q", got)
	}
	for _, sink := range []string{"https://evil.example/${x:-50%}", "https://evil.example/${subject}"} {
		old.Sink, other.Sink = "https://partner.example/${x:-50%}", sink
		if got := said(t, other.SinkCredential, other.KeepSecrets(old)); got != "! accesstoken" {
			t.Errorf("another sink with placeholders: %q", got)
		}
	}
}

func said(t *testing.T, c *Credential, err error) string {
	t.Helper()
	if err != nil {
		all := "!"
		for _, f := range faultsOf(t, err).Faults {
			all += " " + strings.TrimPrefix(f.Pointer, "/sinkcredential/")
		}
		return all
	}
	all := []string{c.In, c.Name, c.Value.Reveal(), c.Identifier, c.Secret.Reveal(), c.AccessToken.Reveal(), c.Password.Reveal(), c.ClientSecret.Reveal()}
	for _, p := range c.Parameters {
		all = append(all, p.Name+"="+p.Text.Reveal())
	}
	return strings.Join(strings.Fields(strings.Join(all, " ")), " ")
}

// What GET shows has no secret, and sending it back changes nothing.
func TestCredentialTakesItsOwnAnswer(t *testing.T) {
	t.Parallel()
	for _, members := range []string{
		`"credentialtype":"APIKEY","in":"query","name":"k","value":"canary-canary-canary"`,
		`"credentialtype":"PLAIN","secret":"u:canary"`,
		`"credentialtype":"ACCESSTOKEN","accesstoken":"canary","accesstokenexpiresutc":"2020-01-01T00:00:00Z"`,
		server + `,"granttype":"password","username":"u","password":"canary","clientid":"c","clientsecret":"canary","parameters":{"a":"canary","b":"canary-canary-canary"}`,
	} {
		s := decode(t, withCredential(members))
		if err := s.KeepSecrets(nil); err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(s)
		if err != nil || strings.Contains(string(shown), "canary-") || strings.Contains(string(shown), `"canary"`) {
			t.Fatalf("%s %v", shown, err)
		}
		back := decode(t, string(shown))
		if err := back.KeepSecrets(s); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back, showSecrets, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", shown, diff)
		}
	}
}

func TestCredentialExpired(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &Credential{AccessTokenExpiresUTC: end}
	if c.Expired(end.Add(-1)) || !c.Expired(end) || (*Credential)(nil).Expired(end) || (&Credential{}).Expired(end) {
		t.Error("wrong end")
	}
}
