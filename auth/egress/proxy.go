package egress

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Proxy is a forward proxy that the operator chose: the guard does not judge its own address, but that of what is asked of it. It is
// immutable.
type Proxy struct {
	tls           bool
	name, address string // the latter with its port
	shown         string
	authorization secret.Text // zero: none
}

var errProxy = errors.New("must be the URL of a proxy: http:// or https://, a host, and at most a port and user info")

// ParseProxy reads a proxy's URL. The error does not repeat it, because it may have a password.
func ParseProxy(text secret.Text) (*Proxy, error) {
	u, err := url.Parse(text.Reveal())
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" || u.Path != "" && u.Path != "/" ||
		u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errProxy
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if given := u.Port(); given != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(given, 10, 16); err != nil || n == 0 {
			return nil, errProxy
		}
		port = given
	}
	name, err := punycode(u.Hostname())
	if err != nil {
		return nil, errProxy
	}
	p := &Proxy{tls: u.Scheme == "https", name: strings.TrimSuffix(name, "."), address: net.JoinHostPort(name, port)}
	p.shown = u.Scheme + "://" + p.address
	if u.User != nil {
		password, _ := u.User.Password()
		p.authorization = secret.New("Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	return p, nil
}

// String is the proxy's URL with its port, and without credentials.
func (p *Proxy) String() string { return p.shown }

// appendAuthorization appends the header that a proxy knows us by, if it wants one, each line with its end before it.
func (p *Proxy) appendAuthorization(b []byte) []byte {
	if p.authorization.IsZero() {
		return b
	}
	return append(append(b, "\r\nProxy-Authorization: "...), p.authorization.Reveal()...)
}

// resolvePatience bounds the look at what the target resolves to. Behind a proxy there is often no resolver that knows, and some do not even
// say so.
const resolvePatience = 2 * time.Second

// by opens a connection to a target by the proxy: one to the proxy itself, or a tunnel. The target is judged first.
func (d *dialer) by(ctx context.Context, p *Proxy, name, port string, tunnel bool) (net.Conn, *net.TCPConn, error) {
	if err := d.judge(ctx, name); err != nil {
		return nil, nil, err
	}
	nc, tcp, err := d.reach(ctx, p)
	if err == nil && tunnel {
		if err = d.connect(ctx, p, nc, net.JoinHostPort(strings.TrimSuffix(name, "."), port)); err != nil {
			tcp.Close()
		}
	}
	if err != nil {
		return nil, nil, ofProxy(ctx, err)
	}
	return nc, tcp, nil
}

// judge resolves the name of a target and refuses it when one of its addresses is denied: the proxy may choose any. What does not resolve here
// is left to the proxy, which is there because it knows more; so a proxy has to refuse what it must not reach.
func (d *dialer) judge(ctx context.Context, name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil // it was judged as a host
	}
	looking, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	all, err := d.net.Resolver.LookupNetIP(looking, "ip", name)
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	for _, addr := range all {
		if err := d.guard.Check(addr.Unmap()); err != nil {
			return err
		}
	}
	return nil
}

// reach opens a connection to the proxy itself.
func (d *dialer) reach(ctx context.Context, p *Proxy) (net.Conn, *net.TCPConn, error) {
	free := d.net
	free.ControlContext = nil
	nc, err := free.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, nil, err
	}
	tcp := nc.(*net.TCPConn)
	if !p.tls {
		return tcp, tcp, nil
	}
	cfg := d.tls.Clone()
	cfg.ServerName = p.name
	secure := tls.Client(tcp, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, nil, handshakeError{err}
	}
	return secure, tcp, nil
}

// maxProxyHeader bounds the answer to CONNECT.
const maxProxyHeader = 16 << 10

// connect asks for a tunnel to target.
func (d *dialer) connect(ctx context.Context, p *Proxy, nc net.Conn, target string) error {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) // an error says that it is closed already
	defer stop()
	x := exchanges.Get().(*exchange)
	defer x.release()
	b := append(append(x.out[:0], "CONNECT "...), target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), target...)
	b = append(append(b, "\r\nUser-Agent: "...), d.agent...)
	x.out = append(p.appendAuthorization(b), "\r\n\r\n"...)
	if _, err := nc.Write(x.out); err != nil {
		return err
	}
	x.src, x.r, x.w = nc, 0, 0
	h, err := x.readHead(maxProxyHeader)
	switch {
	case err != nil:
		return err
	case h.status >= 300:
		return proxyAnswered(h.status)
	case x.r != x.w:
		return errBroken // a receiver of TLS does not speak first
	case !stop():
		return ended(ctx)
	}
	return nil
}

// ofProxy is the error of an exchange that got no further than the proxy. Which of the proxy's doings it was is in its text.
func ofProxy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	_, cause := kindOf(err)
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Kind != Protocol {
			return e
		}
		cause = e.Err
	}
	return &Error{Kind: Refused, Err: fmt.Errorf("proxy: %w", cause)}
}

// proxyAnswered is the error for what a proxy answers instead of asking the receiver.
func proxyAnswered(status int) error {
	kind := Refused
	if status == http.StatusGatewayTimeout {
		kind = Timeout
	}
	return &Error{Kind: kind, Err: errors.New(strings.TrimSpace(fmt.Sprintf("proxy: answered %d %s", status, http.StatusText(status))))}
}
