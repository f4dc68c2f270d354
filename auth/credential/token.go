package credential

import (
	"sync/atomic"
	"time"
)

// When a token is renewed. A request that is sent with it must arrive before it ends.
const (
	maxMargin = 5 * time.Second // before its end from which on a token is not used, and at most a tenth of its life
	maxLead   = 5 * time.Minute // before that from which on it is renewed, and at most a fifth of its life
)

// unproven is for how long a token that was fetched because the one before was refused, and is refused too, is not fetched
// once more: the sink's trouble is another one.
const unproven = 30 * time.Second

// Token is one token. It is immutable, but for what is known of it.
type Token struct {
	text    string
	values  []string // of the header Authorization; shared by all requests
	serial  uint64   // a newer one has a higher
	fetched time.Time
	renew   time.Time // from then on the next who needs it fetches another
	until   time.Time // it is not used from then on
	forced  bool      // it was fetched because the one before was refused
	proven  atomic.Bool
}

// times are when a token that was asked for at from, and lives so long (0: unknown), is renewed and ends. random, 0 to 1,
// is what keeps the tokens of many credentials from being renewed at one time.
func times(from time.Time, life time.Duration, random float64) (renew, until time.Time) {
	if life <= 0 || life > maxLife {
		life = maxLife
	}
	until = from.Add(life - min(life/10, maxMargin))
	lead := min(life/5, maxLead)
	return until.Add(-time.Duration(float64(lead) * (0.5 + random/2))), until
}

func (t *Token) usable(now time.Time) bool { return t != nil && now.Before(t.until) }

// number is t's serial; 0 for none.
func (t *Token) number() uint64 {
	if t == nil {
		return 0
	}
	return t.serial
}

// Accepted notes that a sink took the token: it answered anything but 401.
func (t *Token) Accepted() {
	if t != nil && t.forced && !t.proven.Load() {
		t.proven.Store(true)
	}
}

// final reports whether a refusal of the token says nothing about the token.
func (t *Token) final(now time.Time) bool {
	return t.forced && !t.proven.Load() && now.Sub(t.fetched) < unproven
}
