package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrConflict says that somebody else stored meanwhile. Store.Save returns it.
var ErrConflict = errors.New("stored by somebody else meanwhile")

// Store is where a fleet shares its tokens. What it keeps is secret.
type Store interface {
	// Load returns what is stored under key, and its revision; none is nil and 0.
	Load(ctx context.Context, key string) (text []byte, revision uint64, err error)
	// Save stores text over the revision, 0 = none, and returns the new one. ErrConflict when the revision is another.
	Save(ctx context.Context, key string, text []byte, revision uint64) (uint64, error)
}

// shared is what a fleet knows of the tokens of one credential.
type shared struct {
	Version uint64 `json:"version"` // of the credential

	Serial  uint64    `json:"serial,omitempty"`
	Token   string    `json:"token,omitempty"`
	Fetched time.Time `json:"fetched,omitzero"`
	Renew   time.Time `json:"renew,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Forced  bool      `json:"forced,omitempty"`
	Refused uint64    `json:"refused,omitempty"` // tokens up to this serial are not used any more

	Failures int       `json:"failures,omitempty"` // since the last success
	RetryAt  time.Time `json:"retryat,omitzero"`   // nobody asks before
	Problem  string    `json:"problem,omitempty"`

	Holder string    `json:"holder,omitempty"` // who asks now
	Lease  time.Time `json:"lease,omitzero"`   // until when it may
}

// leaseTime is how long one may ask: longer than a request takes, so that only the lease of a process that died ends.
const leaseTime = fetchTimeout + 5*time.Second

// storeTimeout bounds what is stored after a fetch, which must be also when the caller gives up.
const storeTimeout = 5 * time.Second

// load reads what is shared. What was stored for an earlier version of the credential, or cannot be read, is nothing.
func (s *Source) load(ctx context.Context) (*shared, uint64, error) {
	text, revision, err := s.deps.Store.Load(ctx, s.deps.Key)
	if err != nil {
		return nil, 0, fmt.Errorf("read the shared token: %w", err)
	}
	e := &shared{}
	if text == nil || json.Unmarshal(text, e) != nil || e.Version < s.deps.Version {
		return &shared{Version: s.deps.Version, Serial: e.Serial, Refused: e.Serial}, revision, nil
	}
	if e.Version > s.deps.Version {
		return nil, 0, ErrSuperseded
	}
	return e, revision, nil
}

func (s *Source) save(ctx context.Context, e *shared, revision uint64) (uint64, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return 0, fmt.Errorf("encode the shared token: %w", err)
	}
	revision, err = s.deps.Store.Save(ctx, s.deps.Key, text, revision)
	if err != nil {
		return 0, fmt.Errorf("store the shared token: %w", err)
	}
	return revision, nil
}

// token is the one that is shared; nil when there is none that may be used.
func (e *shared) token() *Token {
	if e.Token == "" || e.Serial <= e.Refused {
		return nil
	}
	return &Token{
		text: e.Token, values: []string{bearer(e.Token)}, serial: e.Serial,
		fetched: e.Fetched, renew: e.Renew, until: e.Until, forced: e.Forced,
	}
}

// leased reports whether somebody else asks now.
func (e *shared) leased(by string, now time.Time) bool { return e.Holder != by && now.Before(e.Lease) }

// failing is the error while the server may not be asked; nil when it may.
func (e *shared) failing(now time.Time) error {
	if !now.Before(e.RetryAt) {
		return nil
	}
	return &FailingError{Until: e.RetryAt, Problem: e.Problem}
}
