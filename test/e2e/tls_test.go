package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// authority signs the certificates of sinks and clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.key = a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, self, self, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

// issue makes a certificate for 127.0.0.1 and for showing, changed by change.
func (a *authority) issue(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "ann"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	key := a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (a *authority) pem() string { return pemOf("CERTIFICATE", a.cert.Raw) }

// texts are certificate and key as a subscription says them.
func texts(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", c.Certificate[0]), pemOf("PRIVATE KEY", der)
}

// secured is a sink over TLS, which counts connections and requests, and notes whose certificates it was shown.
type secured struct {
	url                   string
	connections, requests atomic.Int64

	mu    sync.Mutex
	shown []string
}

func newSecured(t *testing.T, cfg *tls.Config) *secured {
	t.Helper()
	s := &secured{}
	l := sinktest.Listen(t)
	server := &http.Server{
		TLSConfig: cfg.Clone(), ReadHeaderTimeout: fleettest.Patience, ErrorLog: discard,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.requests.Add(1)
			name := ""
			if len(r.TLS.PeerCertificates) > 0 {
				name = r.TLS.PeerCertificates[0].Subject.CommonName
			}
			s.mu.Lock()
			s.shown = append(s.shown, name)
			s.mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ServeTLS(l, "", "") }) // ends with an error always
	t.Cleanup(func() {
		_ = server.Close() // nothing is to be drained
		serving.Wait()
	})
	s.url = "https://" + l.Addr().String()
	return s
}

// names are whose certificates it was shown from request number first on, joined by commas.
func (s *secured) names(first int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.shown[first:], ",")
}

// overTLS subscribes a sink with settings, and returns the delivery of an event once it has ended.
func overTLS(t *testing.T, s *fleettest.Server, sink string, settings map[string]any, state string) *fleettest.Delivery {
	t.Helper()
	c, name := s.Client(), unique("tls")
	r := c.Do(t, http.MethodPut, "/v1/subscriptions/"+name, map[string]any{
		"types": []string{name}, "sink": sink, "protocolsettings": settings,
		"config": map[string]any{"timeout": "5s", "retry": map[string]any{"policy": "fixed", "initial": "50ms", "maxattempts": 2}},
	})
	r.Must(t, http.StatusCreated, nil)
	if contains(string(r.Body), "PRIVATE KEY") {
		t.Errorf("the key is shown: %s", r.Body)
	}
	return c.AwaitDelivery(t, c.Publish(t, event(unique("event"), name, `1`)).Sequence, state)
}

// testTLS: own authorities, a certificate of ours, a least version; and each way in which TLS fails costs one attempt.
func testTLS(t *testing.T, s *fleettest.Server) {
	a, strangers := newAuthority(t), newAuthority(t)
	good := a.issue(nil)
	cert, key := texts(t, a.issue(nil))
	strangersCert, strangersKey := texts(t, strangers.issue(nil))
	serve := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	wants := &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool()}
	ours := map[string]any{"cacert": a.pem()}
	for name, tt := range map[string]struct {
		server *tls.Config
		tls    map[string]any
		shown  string // whose certificate; "-" = it fails
	}{
		"own authority":          {serve(good), ours, ""},
		"own authority and 1.3":  {serve(good), map[string]any{"cacert": a.pem(), "minversion": "1.3"}, ""},
		"certificate shown":      {wants, map[string]any{"cacert": a.pem(), "clientcert": cert, "clientkey": key}, "ann"},
		"no authority":           {serve(good), map[string]any{}, "-"},
		"another authority":      {serve(good), map[string]any{"cacert": strangers.pem()}, "-"},
		"expired":                {serve(a.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), ours, "-"},
		"not yet valid":          {serve(a.issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(10 * time.Minute) })), ours, "-"},
		"of another name":        {serve(a.issue(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} })), ours, "-"},
		"for another use":        {serve(a.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), ours, "-"},
		"1.1":                    {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, ours, "-"},
		"1.2 where 1.3 is asked": {&tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, map[string]any{"cacert": a.pem(), "minversion": "1.3"}, "-"},
		"no certificate shown":   {wants, ours, "-"},
		"a stranger's shown":     {wants, map[string]any{"cacert": a.pem(), "clientcert": strangersCert, "clientkey": strangersKey}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := newSecured(t, tt.server)
			if tt.shown != "-" {
				overTLS(t, s, sink.url, map[string]any{"tls": tt.tls}, "delivered")
				if got := sink.names(0); got != tt.shown {
					t.Errorf("certificate of %q was shown, want %q", got, tt.shown)
				}
				return
			}
			d := overTLS(t, s, sink.url, map[string]any{"tls": tt.tls}, "dead")
			for _, at := range d.Attempts {
				if at.Reason != "tls" || at.Status != 0 || at.Response == nil || !strings.HasPrefix(at.Response.Body, "tls: ") {
					t.Errorf("attempt %+v %+v", at, at.Response)
				}
			}
			if len(d.Attempts) != 2 || d.Reason != "exhausted" || sink.requests.Load() != 0 || sink.connections.Load() != 2 {
				t.Errorf("%+v; %d requests, %d connections", d, sink.requests.Load(), sink.connections.Load())
			}
		})
	}
	t.Run("no TLS there", func(t *testing.T) {
		t.Parallel()
		plain := sinktest.New(t)
		d := overTLS(t, s, "https://"+strings.TrimPrefix(plain.URL("/"), "http://"), nil, "dead")
		if len(d.Attempts) != 2 || d.Attempts[0].Reason != "tls" || len(plain.Got("/")) != 0 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		body := map[string]any{"sink": "https://a.example", "protocolsettings": map[string]any{
			"tls": map[string]any{"cacert": "x", "clientcert": key, "clientkey": cert, "minversion": "1.0"}, "proxy": "direct",
		}}
		p := s.Client().Do(t, http.MethodPost, "/v1/subscriptions", body).Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
		if len(p.Errors) != 5 {
			t.Errorf("%+v", p.Errors)
		}
		for _, tls := range []map[string]any{{"clientcert": cert}, {"clientkey": key}, {"clientcert": cert, "clientkey": strangersKey}} {
			body["protocolsettings"] = map[string]any{"tls": tls}
			p := s.Client().Do(t, http.MethodPost, "/v1/subscriptions", body).Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
			if len(p.Errors) != 1 || !strings.HasPrefix(p.Errors[0].Pointer, "/protocolsettings/tls/client") {
				t.Errorf("%+v", p.Errors)
			}
		}
	})
}

// testTLSChanges: a certificate is replaced while deliveries go on, and each connection is of one certificate alone.
func testTLSChanges(t *testing.T, s *fleettest.Server) {
	a := newAuthority(t)
	named := func(name string) tls.Certificate {
		return a.issue(func(c *x509.Certificate) { c.Subject.CommonName = name })
	}
	sink := newSecured(t, &tls.Config{Certificates: []tls.Certificate{a.issue(nil)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool()})
	c, name := s.Client(), unique("tls")
	for i, who := range []string{"ann", "bob"} {
		cert, key := texts(t, named(who))
		c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"tls":{"cacert":%q,"clientcert":%q,"clientkey":%q}}}`,
			name, sink.url, a.pem(), cert, key))
		for range 2 {
			c.AwaitDelivery(t, c.Publish(t, event(unique("event"), name, `1`)).Sequence, "delivered")
		}
		// What GET answers can be PUT: the key is kept.
		c.Must(t, http.StatusOK, http.MethodPut, "/v1/subscriptions/"+name, c.Do(t, http.MethodGet, "/v1/subscriptions/"+name, nil).Body, nil)
		c.AwaitDelivery(t, c.Publish(t, event(unique("event"), name, `1`)).Sequence, "delivered")
		if got := sink.names(3 * i); got != strings.Repeat(who+",", 2)+who {
			t.Errorf("certificates of %s were shown, want %s", got, who)
		}
	}
	if n := sink.connections.Load(); n != 2 {
		t.Errorf("%d connections for two certificates", n)
	}
}

// testTLSOverride: our certificate is for the sink's origin alone. A sink that an event names for itself does not see it, and what is said of
// authorities holds there too.
func testTLSOverride(t *testing.T, s *fleettest.Server) {
	a := newAuthority(t)
	asks := &tls.Config{Certificates: []tls.Certificate{a.issue(nil)}, ClientAuth: tls.RequestClientCert}
	own, other := newSecured(t, asks), newSecured(t, asks.Clone())
	cert, key := texts(t, a.issue(nil))
	c, name := s.Client(), unique("tls")
	c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q,"sinkoverride":"webhookurl","protocolsettings":{"tls":{"cacert":%q,"clientcert":%q,"clientkey":%q}}}`,
		name, own.url, a.pem(), cert, key))
	for i, to := range []string{"", other.url + "/hook", own.url + "/elsewhere"} {
		c.AwaitDelivery(t, c.Publish(t, eventTo(fmt.Sprint(i), name, to)).Sequence, "delivered")
	}
	if got := own.names(0) + " " + other.names(0); got != "ann,ann " {
		t.Errorf("certificates of %q were shown to the sink and to the other", got)
	}
	if n := other.requests.Load(); n != 1 {
		t.Errorf("%d requests to the other", n)
	}
}
