package egress

import "net/netip"

// special are the ranges that no request reaches unless the operator allows them: what the IANA special-purpose registries mark as not
// globally reachable, and a little more where something local may answer. IPv6 outside global is denied as a whole, so only what lies
// inside it is listed.
var special = prefixes(
	"0.0.0.0/8",       // this network; 0.0.0.0 is localhost on Linux
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // carrier NAT, and clouds' own services
	"127.0.0.0/8",     // loopback
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // IETF protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // IETF protocol assignments, Teredo among them
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4: an IPv4 address in disguise
	"3fff::/20",       // documentation
)

// metadata are the addresses where clouds hand out the credentials of the machine that asks. No setting opens them.
var metadata = prefixes(
	"169.254.0.0/16",     // AWS, GCP, Azure and most others (.169.254), ECS and EKS credentials (.170.2, .170.23), Tencent (.0.23)
	"100.100.100.200/32", // Alibaba
	"168.63.129.16/32",   // Azure wire server, in a public range
	"192.0.0.192/32",     // Oracle
	"fd00:ec2::254/128",  // AWS
	"fd00:ec2::23/128",   // EKS credentials
	"fd20:ce::254/128",   // GCP
)

var (
	global = netip.MustParsePrefix("2000::/3")     // all of IPv6 that is assigned for global use
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // a public IPv4 address, by a translator
	compat = netip.MustParsePrefix("::/96")        // IPv4-compatible
	siit   = netip.MustParsePrefix("::ffff:0:0:0/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// embedded returns the IPv4 address that a writes in another form, and false when it has none.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	low := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case a.Is4In6(), nat64.Contains(a), siit.Contains(a), compat.Contains(a), isISATAP(a):
		return low, true
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	default:
		return netip.Addr{}, false
	}
}

// isISATAP reports whether the interface identifier of a is 0:5efe or 200:5efe and an IPv4 address (RFC 5214).
func isISATAP(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}
