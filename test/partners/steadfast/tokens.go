package steadfast

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Tokens is a token server that wants a user with a password in fields of its own names, and gives tokens under others.
type Tokens struct {
	User, Password           string
	UserField, PasswordField string // of what it is asked
	TokenField, ExpiresField string // of what it answers, {"session": {TokenField: …, ExpiresField: seconds}}
	Life                     time.Duration
	Form                     bool // it is asked as OAuth 2 does, with grant_type=password, and answers so

	mu     sync.Mutex
	given  []time.Time // when each token was given; token n is "token-n"
	faults []string
}

// ServeHTTP gives a token.
func (s *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if wrong := s.wrong(r, body, err); wrong != "" {
		s.mu.Lock()
		s.faults = append(s.faults, wrong)
		s.mu.Unlock()
		http.Error(w, wrong, http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	s.given = append(s.given, time.Now())
	token := fmt.Sprintf("token-%d", len(s.given))
	s.mu.Unlock()
	life := int(s.Life / time.Second)
	var answer any = map[string]any{"session": map[string]any{s.TokenField: token, s.ExpiresField: life}}
	if s.Form {
		answer = map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": life}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who has gone does not get it
}

// wrong says what is wrong with a request for a token; "" = nothing.
func (s *Tokens) wrong(r *http.Request, body []byte, err error) string {
	switch {
	case err != nil:
		return "token server: " + err.Error()
	case r.Method != http.MethodPost:
		return "token server: method " + r.Method
	case s.Form:
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if r.PostFormValue("grant_type") != "password" || r.PostFormValue("username") != s.User || r.PostFormValue("password") != s.Password {
			return fmt.Sprintf("token server: asked with %d bytes of %s that are not the user's", len(body), r.Header.Get("Content-Type"))
		}
		return ""
	}
	var asked map[string]string
	if err := json.Unmarshal(body, &asked); err != nil {
		return "token server: " + err.Error()
	}
	if len(asked) != 2 || asked[s.UserField] != s.User || asked[s.PasswordField] != s.Password {
		return fmt.Sprintf("token server: asked with %d members that are not the user's", len(asked))
	}
	return ""
}

// Auth refuses what shows another token than one that was given and has not ended.
func (s *Tokens) Auth(c *partners.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int
	if _, err := fmt.Sscanf(c.Header.Get("Authorization"), "Bearer token-%d", &n); err != nil || n < 1 || n > len(s.given) {
		c.Refuse(http.StatusUnauthorized, "Authorization is %q", c.Header.Get("Authorization"))
		return
	}
	if age := c.At.Sub(s.given[n-1]); age > s.Life {
		c.Refuse(http.StatusUnauthorized, "token %d is %v old and lived %v", n, age, s.Life)
	}
}

// Given is how many tokens were given.
func (s *Tokens) Given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.given)
}

// Faults is what it was asked that was not right.
func (s *Tokens) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.faults...)
}
