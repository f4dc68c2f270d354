package egress

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Config says where requests may go and how they leave. The zero value is not valid; begin with DefaultConfig.
type Config struct {
	Allow     []netip.Prefix // reachable although private, loopback or special; never metadata addresses
	Deny      []netip.Prefix // not reachable, also when in Allow
	PlainHTTP bool           // also http: URLs
	Source    netip.Addr     // local address to send from; zero: the system's choice
	Proxy     *Proxy         // forward proxy for every request that does not say NoProxy; nil: none
	UserAgent string         // of requests that set none

	MaxHeaderBytes int64 // of one response, all its 1xx included; more is a protocol error
	MaxBodyBytes   int64 // of one response that are read; then the connection is closed and the response counts as complete
	KeepBodyBytes  int   // of one response that are kept in Response.Body

	MaxIdlePerHost int            // idle connections kept to one host for one tenant
	MaxIdle        int            // idle connections kept in all; the one that is idle longest is closed
	Roots          *x509.CertPool // who may sign the certificates of receivers; nil: the system's
}

// DefaultConfig returns working values: https to public addresses only.
func DefaultConfig() Config {
	return Config{
		UserAgent:      "hookfleet",
		MaxHeaderBytes: 64 << 10, // a partner's whole header is some 2 KiB; Go's own 10 MB × 500 sends would be 5 GB
		MaxBodyBytes:   64 << 10, // enough to keep the connection after an error page, too little to hurt
		KeepBodyBytes:  4 << 10,  // what an attempt record shows
		MaxIdlePerHost: 512,      // a subscription may have 500 sends at a time, and a new connection costs 10 × a request
		MaxIdle:        4096,     // file descriptors that do nothing, 1 KiB of memory each
	}
}

// Validate reports every fault, each beginning with the name of its setting.
func (c Config) Validate() error {
	var errs []error
	for name, list := range map[string][]netip.Prefix{"egress.allow": c.Allow, "egress.deny": c.Deny} {
		for _, p := range list {
			if !p.IsValid() {
				errs = append(errs, fmt.Errorf("%s: not a CIDR", name))
			}
		}
	}
	if c.Source.IsValid() && (c.Source.IsMulticast() || c.Source.IsUnspecified()) {
		errs = append(errs, fmt.Errorf("egress.source: %s is no address to send from", c.Source))
	}
	if strings.ContainsFunc(c.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }) {
		errs = append(errs, errors.New("egress: user agent has characters that a header cannot carry"))
	}
	for name, n := range map[string]int64{
		"header bytes": c.MaxHeaderBytes, "body bytes": c.MaxBodyBytes,
		"idle connections of a host": int64(c.MaxIdlePerHost), "idle connections": int64(c.MaxIdle),
	} {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("egress: maximum of %s must be above 0", name))
		}
	}
	if c.KeepBodyBytes < 0 || int64(c.KeepBodyBytes) > c.MaxBodyBytes {
		errs = append(errs, errors.New("egress: kept body bytes must be 0 to the maximum that is read"))
	}
	return errors.Join(errs...)
}
