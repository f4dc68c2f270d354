package egress

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// TLSSettings are what one receiver wants otherwise than others.
type TLSSettings struct {
	CACert     string      // PEM: the only authorities of its certificate; "" = those of Config
	ClientCert string      // PEM: what is shown to it, with its chain; "" = nothing
	ClientKey  secret.Text // PEM, of ClientCert
	MinVersion string      // 1.2 or 1.3; "" = 1.2
}

// TLSConfig is what TLSSettings come to, prepared once and used for any number of requests. It is safe for concurrent use.
type TLSConfig struct {
	config   tls.Config
	identity string // the same for the same settings alone: connections are shared within it
}

// NewTLS prepares the settings. The error does not repeat a key.
func NewTLS(s TLSSettings) (*TLSConfig, error) {
	t := &TLSConfig{}
	if s.CACert != "" {
		t.config.RootCAs = x509.NewCertPool()
		if !t.config.RootCAs.AppendCertsFromPEM([]byte(s.CACert)) {
			return nil, errors.New("cacert: has no certificate")
		}
	}
	if s.ClientCert != "" || !s.ClientKey.IsZero() {
		pair, err := tls.X509KeyPair([]byte(s.ClientCert), []byte(s.ClientKey.Reveal()))
		if err != nil {
			return nil, errors.New("clientcert and clientkey: are no certificate and its key")
		}
		// Whatever authorities the receiver says that it knows: to show nothing would hide from it, and from us, what is wrong.
		t.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	switch s.MinVersion {
	case "", "1.2":
	case "1.3":
		t.config.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("minversion: %q is not 1.2 or 1.3", s.MinVersion)
	}
	t.identity = s.identity()
	return t, nil
}

// identity is a digest of the settings. Lengths tell where one ends and the next begins.
func (s *TLSSettings) identity() string {
	h := sha256.New()
	for _, text := range []string{s.CACert, s.ClientCert, s.ClientKey.Reveal(), s.MinVersion} {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// apply puts the settings into what is used without them.
func (t *TLSConfig) apply(cfg *tls.Config) {
	if t == nil {
		return
	}
	if t.config.RootCAs != nil {
		cfg.RootCAs = t.config.RootCAs
	}
	cfg.GetClientCertificate = t.config.GetClientCertificate
	cfg.MinVersion = max(cfg.MinVersion, t.config.MinVersion)
}

// id tells settings apart; "" is none.
func (t *TLSConfig) id() string {
	if t == nil {
		return ""
	}
	return t.identity
}
