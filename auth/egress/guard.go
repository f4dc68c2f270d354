package egress

import (
	"fmt"
	"net/netip"
	"slices"
)

// Guard judges where requests may go. It is immutable and safe for concurrent use.
type Guard struct {
	allow, deny []netip.Prefix
}

// NewGuard returns the guard for the Allow and Deny of cfg.
func NewGuard(cfg Config) *Guard {
	return &Guard{allow: masked(cfg.Allow), deny: masked(cfg.Deny)}
}

// masked copies list, so that the caller's later changes do not reach the guard, and clears host bits.
func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = p.Masked()
	}
	return out
}

// Check returns nil when requests may go to addr, else an *Error of kind Blocked. addr is judged in the spelling it has: an IPv4 address
// mapped into IPv6 is refused as such, so unmap what comes from a socket. In this order: metadata addresses are never reachable in any
// spelling; Deny; Allow; everything special, and IPv6 outside 2000::/3, is refused.
func (g *Guard) Check(addr netip.Addr) error {
	if why := g.judge(addr); why != "" {
		return blocked("address %s %s", addr, why)
	}
	return nil
}

func (g *Guard) judge(addr netip.Addr) string {
	switch v4, has := embedded(addr); {
	case !addr.IsValid():
		return "is not valid"
	case addr.Zone() != "":
		return "has a zone"
	case within(metadata, addr), has && within(metadata, v4):
		return "is a metadata service"
	case within(g.deny, addr), has && within(g.deny, v4):
		return "is denied by egress.deny"
	case addr.Is4In6():
		return "is an IPv4 address mapped into IPv6"
	case within(g.allow, addr):
		return ""
	case nat64.Contains(addr):
		return g.judge(v4)
	case within(special, addr), addr.Is6() && (!global.Contains(addr) || isISATAP(addr)):
		return "is private or special"
	default:
		return ""
	}
}

func within(list []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// blocked returns the refusal of the guard. No argument may be a whole URL.
func blocked(format string, args ...any) error {
	return &Error{Kind: Blocked, Err: fmt.Errorf(format, args...)}
}
