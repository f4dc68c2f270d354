package egress

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// localNames are names of this machine, with everything below .localhost.
var localNames = map[string]bool{
	"localhost": true, "localhost.localdomain": true, "localhost4": true, "localhost6": true,
	"localhost4.localdomain4": true, "localhost6.localdomain6": true, "ip6-localhost": true, "ip6-loopback": true,
}

// metadataNames are the names of metadata services; their addresses are blocked too, wherever they resolve to.
var metadataNames = map[string]bool{
	"metadata": true, "metadata.google.internal": true, "metadata.goog": true, "metadata.azure.internal": true,
	"metadata.tencentyun.com": true, "instance-data": true, "instance-data.ec2.internal": true,
}

var errName = errors.New("not a host name")

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// HostDenied reports whether the host of a URL (url.URL.Hostname) is refused before anything resolves, and why, in words for whoever
// registered it. It judges literal addresses like Check does, and refuses names of this machine (unless loopback is allowed), of metadata
// services, and every other spelling of an address: 127.1, 0x7f.1, 2130706433, digits of other scripts. "" and false means that only
// dialling can tell.
func (g *Guard) HostDenied(host string) (reason string, denied bool) {
	if host == "" {
		return "has no host", true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		why := g.judge(addr)
		return why, why != ""
	}
	name, err := asciiName(host)
	if err != nil {
		return "is not a host name", true
	}
	switch {
	case metadataNames[name]:
		return "is a metadata service", true
	case isLocal(name) && !g.allowsLoopback():
		return "is this machine", true
	case endsInNumber(name):
		return "is a number, not a name", true
	default:
		return "", false
	}
}

// asciiName returns host in lower case, without the dot of the root, and in ASCII.
func asciiName(host string) (string, error) {
	host, err := punycode(host)
	if err != nil {
		return "", err
	}
	for _, c := range []byte(host) {
		if c <= ' ' || c == 0x7f || strings.IndexByte(`%/\:?#@[]<>"^{|}`+"`", c) >= 0 {
			return "", errName
		}
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if name == "" || len(name) > 253 || strings.HasPrefix(name, ".") || strings.Contains(name, "..") {
		return "", errName
	}
	return name, nil
}

// punycode returns host in ASCII, as browsers map it: fullwidth digits become digits, ü becomes xn--….
func punycode(host string) (string, error) {
	if isASCII(host) {
		return host, nil
	}
	return idna.Lookup.ToASCII(host)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isLocal(name string) bool { return localNames[name] || strings.HasSuffix(name, ".localhost") }

func (g *Guard) allowsLoopback() bool { return g.judge(loopback4) == "" || g.judge(loopback6) == "" }

// endsInNumber is the rule by which browsers take a host for an IPv4 address: the last label is decimal, octal or hexadecimal.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.HasPrefix(last, "0x") {
		_, err := strconv.ParseUint(last[2:], 16, 64)
		return err == nil || last == "0x" || len(last) > 18
	}
	return strings.Trim(last, "0123456789") == ""
}

// CheckURL reports what is wrong with u as a target before anything resolves: nil, or an *Error of kind Blocked whose cause says it in words
// for whoever registered it. It asks for https (http with Config.PlainHTTP), a host that the guard does not refuse, a valid port, no user
// info and no fragment.
func (c *Client) CheckURL(u *url.URL) error {
	if err := c.checkScheme(u.Scheme); err != nil {
		return err
	}
	if u.Opaque != "" || u.Host == "" {
		return blocked("has no host")
	}
	if u.User != nil {
		return blocked("has user info")
	}
	if u.Fragment != "" || u.RawFragment != "" {
		return blocked("has a fragment")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return blocked("has a port that is not 1 to 65535")
		}
	}
	if why, denied := c.guard.HostDenied(u.Hostname()); denied {
		return blocked("host %s", why)
	}
	return nil
}

func (c *Client) checkScheme(scheme string) error {
	switch {
	case scheme == "https", scheme == "http" && c.cfg.PlainHTTP:
		return nil
	case scheme == "http":
		return blocked("scheme is http, and egress.plainhttp is off")
	default:
		return blocked("scheme is not https")
	}
}
