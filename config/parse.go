package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events"
)

func text(s string) (string, error) { return strings.TrimSpace(s), nil }

// list splits at commas. Blanks around elements do not count; an empty text is an empty list.
func list(s string) ([]string, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		e = strings.TrimSpace(e)
		if e == "" {
			return nil, errors.New("an element of the list is empty")
		}
		out = append(out, e)
	}
	return out, nil
}

// secrets reads a list whose elements no error shows.
func secrets(s string) ([]secret.Text, error) {
	return elements(s, func(e string) (secret.Text, error) { return secret.New(e), nil })
}

func roles(s string) ([]Role, error) {
	return elements(s, func(e string) (Role, error) { return Role(e), nil })
}

func prefixes(s string) ([]netip.Prefix, error) { return elements(s, prefix) }

// elements parses each element of a list, and names every one that is wrong.
func elements[T any](s string, parse func(string) (T, error)) ([]T, error) {
	names, err := list(s)
	if err != nil {
		return nil, err
	}
	var (
		out  []T
		errs []string
	)
	for _, name := range names {
		v, err := parse(name)
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		out = append(out, v)
	}
	if errs != nil {
		return nil, errors.New(strings.Join(errs, ", "))
	}
	return out, nil
}

// prefix reads a CIDR, or an address as the range of it alone. Host bits are cut off, and a range of IPv4-mapped
// addresses is taken as the IPv4 range that it is, since connections are checked in that form.
func prefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if a, aerr := netip.ParseAddr(s); err != nil && aerr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", s)
	}
	const mapped = 96 // bits before the IPv4 address in an IPv4-mapped one
	if p.Addr().Is4In6() {
		if p.Bits() < mapped {
			return netip.Prefix{}, fmt.Errorf("%q is not a CIDR of IPv4 or IPv6 addresses", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), nil
}

func address(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	return a.Unmap(), nil
}

// proxy checks the URL of a forward proxy. Its fault never shows it, because it may have a password.
func proxy(s string) (secret.Text, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return secret.Text{}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return secret.Text{}, errors.New("is not the URL of a proxy: http:// or https://, a host, and at most a port and user info")
	}
	return secret.New(s), nil
}

func number(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return n, nil
}

func boolean(s string) (bool, error) {
	switch strings.TrimSpace(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is not true or false", s)
}

func duration(s string) (time.Duration, error) {
	d, err := events.ParseDuration(strings.TrimSpace(s))
	return time.Duration(d), err
}

// units of sizes, longest first so that "GB" is not taken for "B".
var units = []struct {
	name  string
	bytes float64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// size reads a number of bytes: 500MB, 1.5GiB, 1000000. Empty is 0, which is no bound; a written 0 is refused, since it
// could mean either.
func size(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	for _, u := range units {
		n, ok := strings.CutSuffix(strings.ToUpper(s), u.name)
		if !ok {
			continue
		}
		n = strings.TrimSpace(n)
		f, err := strconv.ParseFloat(n, 64)
		if f *= u.bytes; err != nil || strings.ContainsAny(n, "EXPIN+-_") || f < 1 || f >= math.MaxInt64 {
			break
		}
		return int64(f), nil
	}
	return 0, fmt.Errorf("%q is not a size such as 10GB or 512MiB", s)
}
