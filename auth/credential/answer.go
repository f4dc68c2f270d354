package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
)

// Outcomes of a fetch, besides the kinds of egress errors.
const (
	OutcomeOK          = "ok"
	OutcomeRedirect    = "redirect"     // 3xx, which is never followed
	OutcomeRejected    = "rejected"     // 4xx
	OutcomeServerError = "server_error" // 5xx
	OutcomeInvalid     = "invalid"      // 2xx without a token that can be used
)

const (
	// maxLife is how long a token is used at most, whatever its server says: what is stored of it is kept no longer.
	maxLife = 24 * time.Hour

	// maxTokenBytes leaves room for the rest of a request's header, which servers take up to some 16 KiB of.
	maxTokenBytes = 12 << 10
)

// fetchError is why there is no token. Its text has nothing of an answer but the code of RFC 6749.
type fetchError struct {
	outcome string
	text    string
}

func (e *fetchError) Error() string { return e.text }

func invalid(format string, args ...any) error {
	return &fetchError{OutcomeInvalid, fmt.Sprintf("token server: "+format, args...)}
}

// outcomeOf is the outcome of a fetch that ended with err.
func outcomeOf(err error) string {
	if err == nil {
		return OutcomeOK
	}
	if e, ok := errors.AsType[*fetchError](err); ok {
		return e.outcome
	}
	if e, ok := errors.AsType[*egress.Error](err); ok && e.Kind != egress.Stopped {
		return string(e.Kind)
	}
	return OutcomeInvalid
}

// read takes the token, and how long it lives from now on (0: it does not say), from an answer.
func (s *Source) read(answer *egress.Response, now time.Time) (token string, life time.Duration, err error) {
	if answer.Status < 200 || answer.Status > 299 {
		return "", 0, refusal(answer)
	}
	var root any
	d := json.NewDecoder(strings.NewReader(string(answer.Body)))
	d.UseNumber()
	if err := d.Decode(&root); err != nil || d.More() {
		return "", 0, invalid("its answer is not JSON, or larger than %d KiB", maxAnswerBytes>>10)
	}
	token, ok := s.token.in(root).(string)
	switch {
	case !ok || token == "":
		return "", 0, invalid("its answer has no string at %s", s.spec.TokenPath)
	case len(token) > maxTokenBytes:
		return "", 0, invalid("its token is longer than %d KiB", maxTokenBytes>>10)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", 0, invalid("its token has characters that a header cannot carry")
	case s.spec.GrantType != grantJSON && !isBearer(root):
		return "", 0, invalid("its token is of another type than bearer")
	}
	return token, lifeOf(s.expires.in(root), now), nil
}

// isBearer reports whether token_type, if there is one, is bearer. Some servers say BearerToken.
func isBearer(root any) bool {
	object, ok := root.(map[string]any)
	if !ok || object["token_type"] == nil {
		return true
	}
	kind, ok := object["token_type"].(string)
	return ok && len(kind) >= len("bearer") && strings.EqualFold(kind[:len("bearer")], "bearer")
}

// refusal is the error of an answer that is none.
func refusal(answer *egress.Response) error {
	e := &fetchError{outcome: OutcomeRejected, text: "token server: answered " + strconv.Itoa(answer.Status)}
	switch {
	case answer.Status < 400:
		e.outcome = OutcomeRedirect
	case answer.Status >= 500:
		e.outcome = OutcomeServerError
	}
	var body struct{ Error string }
	if json.Unmarshal(answer.Body, &body) == nil && isCode(body.Error) {
		e.text += " " + body.Error
	}
	return e
}

// isCode reports whether s is a word as RFC 6749 has them, not something that a server repeats.
func isCode(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// lifeOf reads how long a token lives: seconds as a number or a string, or a time. What is missing, not positive or not
// readable is 0: the server does not say.
func lifeOf(v any, now time.Time) time.Duration {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return 0
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return min(max(at.Sub(now), 0), maxLife)
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, maxLife.Seconds()) * float64(time.Second))
}
