package egress

import "net/netip"

// Guard judges where requests may go. It is immutable and safe for concurrent use.
type Guard struct {
	allow, deny []netip.Prefix
}

// NewGuard returns the guard for the Allow and Deny of cfg.
func NewGuard(cfg Config) *Guard { return &Guard{allow: cfg.Allow, deny: cfg.Deny} }

// Check returns nil when requests may go to addr, else an *Error of kind Blocked.
func (g *Guard) Check(addr netip.Addr) error { return nil }

// HostDenied reports whether the host of a URL (url.URL.Hostname) can be refused before it is resolved, and why: "" and false for a
// name that only dialling can judge.
func (g *Guard) HostDenied(host string) (reason string, denied bool) { return "", false }
