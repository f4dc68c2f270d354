package credential

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
)

var (
	// ErrBusy says that a token is being fetched, which takes longer than the caller waits. Token and Refused return it.
	ErrBusy = errors.New("a token is being fetched")

	// ErrSuperseded says that the credential was changed: its server is not asked any more. Token and Refused return it.
	ErrSuperseded = errors.New("the credential was changed")
)

// FailingError says that there is no token, because its server failed, and will not be asked before Until.
type FailingError struct {
	Until   time.Time
	Problem string // without secrets
}

// Error implements error.
func (f *FailingError) Error() string { return f.Problem }

// How a source behaves while its server answers slowly, or not at all.
const (
	// maxWaiting bounds the callers that wait for a fetch of somebody else: each is a delivery in hand, which others may
	// need the place of. It is the default concurrency of a subscription.
	maxWaiting = 64

	// refusedPatience is how long a delivery that was refused waits for the next token: a fetch, and what led to it.
	refusedPatience = leaseTime

	// maxForced bounds the fetches that refusals lead to within forcedWindow: a sink that refuses at random costs its token
	// server one a second.
	maxForced    = 4
	forcedWindow = 4 * time.Second

	firstBackoff = time.Second
	maxBackoff   = time.Minute

	look    = 25 * time.Millisecond  // at first, how often a lease of somebody else is looked at
	maxLook = 250 * time.Millisecond // later
)

// Fetch is what is reported of a request to a token server.
type Fetch struct {
	Key     string
	Outcome string    // OutcomeOK, or what went wrong
	Err     error     // nil = there is a token; without secrets
	RetryAt time.Time // after an error: when the next request may be made
	Again   bool      // the first success after failures
	Took    time.Duration
	Kept    error // the fleet could not be told
}

// Deps is what a source works with.
type Deps struct {
	Client  *egress.Client
	Store   Store
	Report  func(Fetch) // called after each request
	Key     string      // of the credential, in Store
	Version uint64      // of the credential; a newer one has a higher
	Tenant  string      // whose connections to use
}

// Source gives the tokens of one credential. It is safe for concurrent use.
type Source struct {
	spec     *Spec
	deps     Deps
	endpoint *url.URL
	token    path
	expires  path
	holder   string

	current    atomic.Pointer[Token]
	renewAfter atomic.Int64 // in Unix nanoseconds: no early renewal before, because the last one failed

	mu      sync.Mutex
	flight  *flight     // nil = nobody fetches
	waiting int         // callers that wait for the flight
	forced  []time.Time // the last fetches that refusals led to, maxForced of them
}

// flight is a fetch that many wait for.
type flight struct {
	done  chan struct{}
	token *Token
	err   error
}

func newSource(spec *Spec, deps Deps) (*Source, error) {
	s := &Source{spec: spec, deps: deps, holder: rand.Text()}
	var err error
	if s.endpoint, err = url.Parse(spec.TokenEndpoint); err != nil {
		return nil, errors.New("tokenendpoint is not a URL")
	}
	if s.token, err = parsePath(spec.TokenPath); err != nil {
		return nil, fmt.Errorf("tokenpath: %w", err)
	}
	if s.expires, err = parsePath(spec.ExpiresPath); err != nil {
		return nil, fmt.Errorf("expirespath: %w", err)
	}
	return s, nil
}

// Token returns a token that may be used now. Who needs one first fetches it, under ctx; others wait for at most
// patience, and not at all when many wait already (ErrBusy). A token that ends soon is renewed by one caller while the
// others use it. The error may be a *FailingError, ErrSuperseded, the context's, or the store's.
func (s *Source) Token(ctx context.Context, patience time.Duration) (*Token, error) {
	now := time.Now()
	t := s.current.Load()
	if !t.usable(now) {
		return s.await(ctx, patience, t, false)
	}
	if now.Before(t.renew) || now.UnixNano() < s.renewAfter.Load() {
		return t, nil
	}
	f, first := s.join()
	if !first {
		return t, nil
	}
	fresh, err := s.lead(ctx, f, t, false)
	if err == nil {
		return fresh, nil
	}
	again := now.Add(firstBackoff)
	if failing, ok := errors.AsType[*FailingError](err); ok {
		again = failing.Until
	}
	s.renewAfter.Store(again.UnixNano())
	if !t.usable(time.Now()) {
		return nil, err
	}
	return t, nil
}

// Refused returns the token to send again with when a sink has answered 401 to t; nil when there is no point in another.
// It waits as Token does.
func (s *Source) Refused(ctx context.Context, t *Token) (*Token, error) {
	for {
		now := time.Now()
		if newer := s.current.Load(); newer.usable(now) && newer.serial > t.serial {
			return newer, nil
		}
		if t.final(now) || s.tired(now) {
			return nil, nil
		}
		if now := s.current.Load(); now.number() <= t.serial {
			s.current.CompareAndSwap(now, nil) // others wait rather than be refused too
		}
		fresh, err := s.await(ctx, refusedPatience, t, true)
		if err != nil || fresh.serial > t.serial {
			return fresh, err
		}
	}
}

// tired reports whether refusals have led to as many fetches lately as they may.
func (s *Source) tired(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.forced) == maxForced && now.Sub(s.forced[0]) < forcedWindow
}

func (s *Source) force(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forced = append(s.forced, now)
	s.forced = s.forced[max(0, len(s.forced)-maxForced):]
}

// join returns the fetch under way, or a new one that the caller has to lead.
func (s *Source) join() (f *flight, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, false
	}
	s.flight = &flight{done: make(chan struct{})}
	return s.flight, true
}

// await returns the token of the fetch under way, or fetches it.
func (s *Source) await(ctx context.Context, patience time.Duration, stale *Token, forced bool) (*Token, error) {
	f, first := s.join()
	if first {
		return s.lead(ctx, f, stale, forced)
	}
	if !s.queue() {
		return nil, ErrBusy
	}
	defer s.unqueue()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-f.done:
		if errors.Is(f.err, context.Canceled) {
			return nil, ErrBusy // who fetched gave up; the caller need not
		}
		return f.token, f.err
	case <-late.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a token: %w", ctx.Err())
	}
}

func (s *Source) queue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= maxWaiting {
		return false
	}
	s.waiting++
	return true
}

func (s *Source) unqueue() {
	s.mu.Lock()
	s.waiting--
	s.mu.Unlock()
}

// lead fetches for all who joined.
func (s *Source) lead(ctx context.Context, f *flight, stale *Token, forced bool) (*Token, error) {
	f.err = ErrBusy // of a panic
	defer func() {
		s.mu.Lock()
		s.flight = nil
		s.mu.Unlock()
		close(f.done)
	}()
	f.token, f.err = s.renew(ctx, stale, forced)
	if f.err == nil {
		s.current.Store(f.token)
	}
	return f.token, f.err
}

// renew returns a token that is newer than stale: somebody else's, or its own. One asks at a time, in the whole fleet.
func (s *Source) renew(ctx context.Context, stale *Token, forced bool) (*Token, error) {
	for wait := look; ; wait = min(2*wait, maxLook) {
		e, revision, err := s.load(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if t := e.token(); t.usable(now) && t.serial > stale.number() {
			return t, nil
		}
		if err := e.failing(now); err != nil {
			return nil, err
		}
		switch {
		case !e.leased(s.holder, now):
			if forced {
				e.Refused = max(e.Refused, stale.number())
			}
			e.Holder, e.Lease = s.holder, now.Add(leaseTime)
			revision, err = s.save(ctx, e, revision)
			if err == nil {
				return s.fetch(ctx, e, revision, stale, forced)
			}
			if !errors.Is(err, ErrConflict) {
				return nil, err
			}
		case !forced && stale.usable(now): // it does not have to be now
			return nil, ErrBusy
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a token: %w", ctx.Err())
		case <-time.After(wait):
		}
	}
}

// fetch asks the server, and stores what came of it in e, which is leased.
func (s *Source) fetch(ctx context.Context, e *shared, revision uint64, stale *Token, forced bool) (*Token, error) {
	start := time.Now()
	if forced {
		s.force(start)
	}
	text, life, err := s.ask(ctx, start)
	end := time.Now()
	report := Fetch{Key: s.deps.Key, Outcome: outcomeOf(err), Err: err, Took: end.Sub(start), Again: err == nil && e.Failures > 0}
	stopped := ctx.Err() != nil && errors.Is(err, context.Canceled)
	e.Holder, e.Lease = "", time.Time{}
	switch {
	case stopped:
	case err != nil:
		e.Failures++
		e.RetryAt, e.Problem = end.Add(backoff(e.Failures, mrand.Float64())), err.Error() //nolint:gosec // jitter is no secret
		report.RetryAt = e.RetryAt
	default:
		e.Serial = max(e.Serial, stale.number()) + 1
		e.Token, e.Fetched, e.Forced = text, end, forced
		e.Renew, e.Until = times(start, life, mrand.Float64()) //nolint:gosec // jitter is no secret
		e.Failures, e.RetryAt, e.Problem = 0, time.Time{}, ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_, report.Kept = s.save(ctx, e, revision)
	if stopped {
		return nil, err
	}
	s.report(report)
	if err != nil {
		return nil, &FailingError{Until: e.RetryAt, Problem: e.Problem}
	}
	return e.token(), nil
}

func (s *Source) report(f Fetch) {
	if s.deps.Report != nil {
		s.deps.Report(f)
	}
}

// ask makes one request.
func (s *Source) ask(ctx context.Context, now time.Time) (token string, life time.Duration, err error) {
	r, err := s.request()
	if err != nil {
		return "", 0, err
	}
	answer, err := s.deps.Client.Do(ctx, r)
	if err != nil {
		return "", 0, fmt.Errorf("token server: %w", err)
	}
	return s.read(answer, now)
}

// backoff is how long a server that has failed so many times is not asked.
func backoff(failures int, random float64) time.Duration {
	delay := min(firstBackoff<<min(failures-1, 10), maxBackoff)
	return time.Duration(float64(delay) * (0.8 + 0.4*random))
}
