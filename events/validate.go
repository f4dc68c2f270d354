package events

import (
	"fmt"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of what a subscription may say, beyond those of the contract.
const (
	maxTypes        = 256                           // one index entry each
	maxTypeBytes    = 1024                          // as long as a subject may sensibly be
	maxSourceBytes  = 4096                          // a URI
	maxDescription  = 4096                          // it is text for people
	minDelay        = Duration(time.Millisecond)    // timers are 1 to 2 ms late; less makes no difference
	maxDelay        = Duration(30 * 24 * time.Hour) // dead letters are kept as long
	maxFactor       = 100.0                         // 5 s, 8 min, 14 h
	maxAttempts     = 1000                          // a record each
	maxSchedule     = 100                           // entries
	maxFilters      = 64                            // API.md 3: in the list
	maxFilterDepth  = 8                             // API.md 3
	maxFilterBytes  = 4096                          // API.md 3: of one filter, as compact JSON
	minSigningBytes = 24                            // SW-5
	maxSigningBytes = 64                            // SW-5
)

func nothingWrong(string) string { return "" }

func wrongID(s string) string {
	if !IsID(s) {
		return "must match ^[a-z0-9][a-z0-9_-]{0,62}$"
	}
	return ""
}

func wrongDescription(s string) string { return wrongLength(s, maxDescription) }

func wrongLength(s string, limit int) string {
	if len(s) > limit {
		return fmt.Sprintf("is longer than %d bytes", limit)
	}
	return ""
}

func wrongSource(s string) string {
	switch {
	case s == "":
		return "must not be empty; leave it out for any source"
	case len(s) > maxSourceBytes:
		return wrongLength(s, maxSourceBytes)
	default:
		return wrongText(s)
	}
}

// wrongType says what is wrong with one of types; "" = nothing. A star elsewhere than in a trailing ".*" would silently
// match nothing.
func wrongType(s string) string {
	name, wild := strings.CutSuffix(s, ".*")
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > maxTypeBytes:
		return wrongLength(s, maxTypeBytes)
	case strings.Contains(name, "*"):
		return "may have a * only at its end, as .*; leave types out for any type"
	case wild && name == "":
		return "has nothing before .*; leave types out for any type"
	default:
		return wrongText(s)
	}
}

// secret reads a secret. A mask passes: it asks to keep what there is.
func (d *document) secret(to *secret.Text, check func(string) string) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		if wrong := check(v.text); wrong != "" && !isMask(v.text) {
			d.fault(at, "%s", wrong)
		}
		*to = secret.New(v.text)
	}
}
