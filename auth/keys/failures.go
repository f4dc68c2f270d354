package keys

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What one address may fail: a person who mistypes, or a fleet with an old key that asks every second, still sees 401; a guesser gets 30
// guesses an hour beyond the first, at keys of 256 bits.
const (
	failureBurst = 30
	failureEvery = 2 * time.Minute
)

// maxAddresses bounds the addresses that are remembered, in two halves; the older half is forgotten when the newer is full. 200 bytes each.
const maxAddresses = 20_000

// ipv6Prefix is what counts as one address in IPv6: what one customer has.
const ipv6Prefix = 64

// Failures limits failed authentications by remote address. It is safe for concurrent use, and bounded whatever comes.
type Failures struct {
	mu         sync.Mutex
	young, old map[netip.Addr]*rate.Limiter
}

// NewFailures returns a limiter that has seen nobody.
func NewFailures() *Failures { return &Failures{young: map[netip.Addr]*rate.Limiter{}} }

// Allowed reports whether addr may be told 401, or, when it has failed too often, after which time it may try again. It counts nothing.
func (f *Failures) Allowed(addr netip.Addr, now time.Time) (retryAfter time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.known(subject(addr))
	if l == nil {
		return 0, true
	}
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0, true
	}
	return time.Duration(missing * float64(failureEvery)), false
}

// Failed counts a failed authentication by addr.
func (f *Failures) Failed(addr netip.Addr, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	addr = subject(addr)
	l := f.known(addr)
	if l == nil {
		l = rate.NewLimiter(rate.Every(failureEvery), failureBurst)
	}
	f.remember(addr, l)
	l.AllowN(now, 1)
}

func (f *Failures) known(addr netip.Addr) *rate.Limiter {
	if l := f.young[addr]; l != nil {
		return l
	}
	return f.old[addr]
}

func (f *Failures) remember(addr netip.Addr, l *rate.Limiter) {
	if len(f.young) >= maxAddresses/2 && f.young[addr] == nil {
		f.old, f.young = f.young, map[netip.Addr]*rate.Limiter{}
	}
	f.young[addr] = l
}

// subject is who stands behind addr, as far as addresses tell.
func subject(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(ipv6Prefix); err == nil {
			return p.Addr()
		}
	}
	return addr
}
