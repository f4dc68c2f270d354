package egress_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
)

// authority signs what the receivers of these tests show.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

// issue returns a certificate for localhost and 127.0.0.1, changed by change.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	good := ours.issue(t, nil)
	for name, tt := range map[string]struct {
		cfg  *tls.Config
		kind egress.Kind
	}{
		"good":                  {&tls.Config{Certificates: []tls.Certificate{good}}, ""},
		"1.2":                   {&tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, ""},
		"offers h2":             {&tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2", "http/1.1"}}, ""},
		"1.1":                   {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, egress.TLS},
		"wrong name":            {&tls.Config{Certificates: []tls.Certificate{ours.issue(t, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"other.example"}, nil })}}, egress.TLS},
		"expired":               {&tls.Config{Certificates: []tls.Certificate{ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}}, egress.TLS},
		"early":                 {&tls.Config{Certificates: []tls.Certificate{ours.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })}}, egress.TLS},
		"other use":             {&tls.Config{Certificates: []tls.Certificate{ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })}}, egress.TLS},
		"unknown authority":     {&tls.Config{Certificates: []tls.Certificate{theirs.issue(t, nil)}}, egress.TLS},
		"wants our certificate": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, egress.TLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := tls.Listen("tcp", "127.0.0.1:0", tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			r := serve(t, l, "https", func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
			c := client(t, func(cfg *egress.Config) { cfg.Roots = ours.pool })
			for range 2 {
				got, err := c.Do(t.Context(), post(t, r.url))
				if tt.kind == "" && (err != nil || got.Status != 200) || tt.kind != "" && kindOf(err) != tt.kind {
					t.Fatalf("%+v, %v, want kind %q", got, err, tt.kind)
				}
			}
			if tt.kind == "" && r.conns.Load() != 1 || tt.kind != "" && r.requests.Load() != 0 {
				t.Errorf("%d connections, %d requests", r.conns.Load(), r.requests.Load())
			}
		})
	}
	t.Run("self-signed, system roots", func(t *testing.T) {
		t.Parallel()
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{good}})
		if err != nil {
			t.Fatal(err)
		}
		r := serve(t, l, "https", func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
		if _, err := client(t).Do(t.Context(), post(t, r.url)); kindOf(err) != egress.TLS {
			t.Errorf("%v, want tls", err)
		}
	})
	t.Run("no TLS there", func(t *testing.T) {
		t.Parallel()
		for _, says := range []string{"HTTP/1.0 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if conn, err := l.Accept(); err == nil {
					io.WriteString(conn, says)
					conn.Close()
				}
			}()
			if _, err := client(t).Do(t.Context(), post(t, "https://"+l.Addr().String())); kindOf(err) != egress.TLS {
				t.Errorf("%v, want tls", err)
			}
		}
	})
	t.Run("reset in the handshake", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				abort(conn)
			}
		}()
		if _, err := client(t).Do(t.Context(), post(t, "https://"+l.Addr().String())); kindOf(err) != egress.Reset {
			t.Errorf("%v, want reset", err)
		}
	})
}
