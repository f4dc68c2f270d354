package egress_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
)

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// client issues a certificate to show, as settings.
func (a *authority) client(t testing.TB, name string) egress.TLSSettings {
	t.Helper()
	c := a.issue(t, func(c *x509.Certificate) {
		c.Subject.CommonName, c.ExtKeyUsage = name, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return egress.TLSSettings{
		ClientCert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		ClientKey:  secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))),
	}
}

func prepare(t testing.TB, s egress.TLSSettings) *egress.TLSConfig {
	t.Helper()
	c, err := egress.NewTLS(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// secured starts a receiver over TLS that answers with the name of the certificate that it was shown.
func secured(t testing.TB, cfg *tls.Config) *receiver {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, "https", func(conn net.Conn, _ string) {
		shown := conn.(*tls.Conn).ConnectionState().PeerCertificates
		name := "nobody"
		if len(shown) > 0 {
			name = shown[0].Subject.CommonName
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
	})
}

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	system, own, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t), newAuthority(t)
	ofSystem, ofOwn := system.issue(t, nil), own.issue(t, nil)
	ann := clients.client(t, "ann")
	both := ann
	both.CACert = own.pem()
	wants := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.pool}
	}
	for name, tt := range map[string]struct {
		server *tls.Config
		s      egress.TLSSettings
		want   string // the name it is shown; "" = reason tls
	}{
		"own authority":                    {&tls.Config{Certificates: []tls.Certificate{ofOwn}}, egress.TLSSettings{CACert: own.pem()}, "nobody"},
		"one of two authorities":           {&tls.Config{Certificates: []tls.Certificate{ofOwn}}, egress.TLSSettings{CACert: strangers.pem() + own.pem()}, "nobody"},
		"the system's authority, not ours": {&tls.Config{Certificates: []tls.Certificate{ofSystem}}, egress.TLSSettings{CACert: own.pem()}, ""},
		"ours is not the system's":         {&tls.Config{Certificates: []tls.Certificate{ofOwn}}, egress.TLSSettings{}, ""},
		"certificate shown":                {wants(ofSystem), ann, "ann"},
		"certificate and authority":        {wants(ofOwn), both, "ann"},
		"certificate shown in 1.2":         {&tls.Config{Certificates: []tls.Certificate{ofSystem}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.pool, MaxVersion: tls.VersionTLS12}, ann, "ann"},
		"no certificate to show":           {wants(ofSystem), egress.TLSSettings{}, ""},
		"certificate of a stranger":        {wants(ofSystem), strangers.client(t, "eve"), ""},
		"1.3 of 1.3":                       {&tls.Config{Certificates: []tls.Certificate{ofSystem}}, egress.TLSSettings{MinVersion: "1.3"}, "nobody"},
		"1.3 of 1.2":                       {&tls.Config{Certificates: []tls.Certificate{ofSystem}, MaxVersion: tls.VersionTLS12}, egress.TLSSettings{MinVersion: "1.3"}, ""},
		"1.2 of 1.2":                       {&tls.Config{Certificates: []tls.Certificate{ofSystem}, MaxVersion: tls.VersionTLS12}, egress.TLSSettings{MinVersion: "1.2"}, "nobody"},
		"1.2 of 1.1":                       {&tls.Config{Certificates: []tls.Certificate{ofSystem}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, egress.TLSSettings{MinVersion: "1.2"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := secured(t, tt.server)
			c := client(t, func(cfg *egress.Config) { cfg.Roots = system.pool })
			req := post(t, r.url)
			req.TLS = prepare(t, tt.s)
			for range 2 {
				got, err := c.Do(t.Context(), req)
				if tt.want == "" && kindOf(err) != egress.TLS || tt.want != "" && (err != nil || string(got.Body) != tt.want) {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			if n := r.conns.Load(); tt.want != "" && n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// A connection is never used for another tenant, another certificate, other authorities or another way: what was shown on it would count for
// requests that never showed it.
func TestConnectionsAreNotShared(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := secured(t, &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}, ClientAuth: tls.RequestClientCert})
	f := proxy(t, nil, nil)
	c := client(t, func(cfg *egress.Config) { cfg.Roots = a.pool }, by(t, f.URL))
	ann, bob := a.client(t, "ann"), a.client(t, "bob")
	annByCA := ann
	annByCA.CACert = a.pem()
	kinds := []struct {
		tenant  string
		tls     *egress.TLSConfig
		noProxy bool
		shown   string
	}{
		{"a", nil, false, "nobody"}, {"b", nil, false, "nobody"}, {"a", prepare(t, ann), false, "ann"}, {"a", prepare(t, bob), false, "bob"}, {"b", prepare(t, ann), false, "ann"},
		{"a", prepare(t, annByCA), false, "ann"}, {"a", prepare(t, egress.TLSSettings{MinVersion: "1.3"}), false, "nobody"}, {"a", nil, true, "nobody"}, {"a", prepare(t, ann), true, "ann"},
	}
	for range 5 {
		for i, k := range kinds {
			req := post(t, r.url)
			req.Tenant, req.TLS, req.NoProxy = k.tenant, k.tls, k.noProxy
			if got, err := c.Do(t.Context(), req); err != nil || string(got.Body) != k.shown {
				t.Fatalf("%d: %+v, %v", i, got, err)
			}
		}
	}
	if n := r.conns.Load(); n != int64(len(kinds)) {
		t.Errorf("%d connections, want %d", n, len(kinds))
	}
	again := post(t, r.url)
	again.Tenant, again.TLS = "a", prepare(t, ann) // the same settings, prepared anew
	if _, err := c.Do(t.Context(), again); err != nil || r.conns.Load() != int64(len(kinds)) {
		t.Errorf("the same settings have another connection: %v", err)
	}
}

func TestNewTLSRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ann, bob := a.client(t, "ann"), a.client(t, "bob")
	for name, s := range map[string]egress.TLSSettings{
		"no authority": {CACert: "x"}, "no key": {ClientCert: ann.ClientCert}, "no certificate": {ClientKey: ann.ClientKey},
		"key of another": {ClientCert: ann.ClientCert, ClientKey: bob.ClientKey}, "version": {MinVersion: "1.1"},
	} {
		if _, err := egress.NewTLS(s); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A name that no resolver answers for is the proxy's to resolve, after a bounded wait.
func TestProxyResolvesWhatNobodyAnswers(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	f := proxy(t, nil, map[string]string{"partner.example.": "127.0.0.1"})
	c := client(t, by(t, f.URL))
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c.SetResolver(resolverAt(silent.LocalAddr().String()))
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if got, err := c.Do(t.Context(), post(t, "http://partner.example.:"+parse(t, r.url).Port())); err != nil || got.Status != 200 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	both.Wait()
}
