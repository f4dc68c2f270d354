package egress

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// keepAlive finds receivers that went away without a word while a connection was idle or an answer was awaited.
const keepAlive = 30 * time.Second

// dialer opens guarded connections.
type dialer struct {
	guard *Guard
	net   net.Dialer
	tls   *tls.Config
	agent string // what a proxy is told
}

func newDialer(cfg Config, guard *Guard) *dialer {
	d := &dialer{guard: guard, agent: cfg.UserAgent, tls: &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    cfg.Roots,
		NextProtos: []string{"http/1.1"},
	}}
	d.net = net.Dialer{
		KeepAlive:      keepAlive,
		Resolver:       &net.Resolver{PreferGo: true}, // cgo's resolver takes 127.1 and 0x7f.1 for addresses
		ControlContext: d.control,
	}
	if cfg.Source.IsValid() {
		d.net.LocalAddr = &net.TCPAddr{IP: cfg.Source.AsSlice(), Zone: cfg.Source.Zone()}
	}
	return d
}

// control sees every concrete address, after resolution and before the first packet.
func (d *dialer) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return blocked("address is not valid")
	}
	return d.guard.Check(to.Addr())
}

// to opens a connection to the host of r, by the proxy if there is one, through the handshake for https. It returns the socket too.
func (d *dialer) to(ctx context.Context, r *Request, proxy *Proxy) (nc net.Conn, tcp *net.TCPConn, err error) {
	name, port, err := d.target(r.URL)
	if err != nil {
		return nil, nil, err
	}
	if proxy == nil {
		nc, err = d.net.DialContext(ctx, "tcp", net.JoinHostPort(name, port))
		if err == nil {
			tcp = nc.(*net.TCPConn)
		}
	} else {
		nc, tcp, err = d.by(ctx, proxy, name, port, r.URL.Scheme == "https")
	}
	if err != nil || r.URL.Scheme == "http" {
		return nc, tcp, err
	}
	cfg := d.tls.Clone()
	cfg.ServerName = strings.TrimSuffix(name, ".")
	r.TLS.apply(cfg)
	secure := tls.Client(nc, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, nil, handshakeError{err}
	}
	return secure, tcp, nil
}

// target is the host of u in ASCII, as far as it can be judged before it resolves, and its port.
func (d *dialer) target(u *url.URL) (name, port string, err error) {
	if why, denied := d.guard.HostDenied(u.Hostname()); denied {
		return "", "", blocked("host %s", why)
	}
	if name, err = punycode(u.Hostname()); err != nil {
		return "", "", blocked("host is not a host name")
	}
	return name, cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]), nil
}
