package events

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// maxPEM bounds each of the texts of tls: a bundle of forty authorities, and a record in the store holds three of them.
const maxPEM = 64 << 10

const (
	pemCertificate = "CERTIFICATE"
	pointerTLS     = "/protocolsettings/tls"
)

// tls reads what a sink's certificate is checked against, and what is shown to it. Whether key and certificate belong together is for
// KeepSecrets to say, because the key may be one that is kept.
func (d *subscriptionReader) tls(v *jsonValue, at string) {
	t := new(TLS)
	d.s.ProtocolSettings.TLS = t
	d.object(v, at, map[string]reader{
		"cacert":     d.text(&t.CACert, wrongAuthorities),
		"clientcert": d.text(&t.ClientCert, wrongClientCert),
		"clientkey":  d.secret(&t.ClientKey, wrongClientKey),
		"minversion": d.oneOf(&t.MinVersion, "1.2", "1.3"),
	})
}

// proxy reads whether requests go by the fleet's proxy.
func (d *subscriptionReader) proxy(v *jsonValue, at string) {
	word := ""
	d.oneOf(&word, "default", ProxyNone)(v, at)
	if word == ProxyNone {
		d.s.ProtocolSettings.Proxy = ProxyNone
	}
}

// certificates reads the certificates of a PEM text, or says what is wrong with it.
func certificates(text string) (all []*x509.Certificate, wrong string) {
	if len(text) > maxPEM {
		return nil, wrongLength(text, maxPEM)
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && strings.Contains(string(rest), "-----BEGIN"):
			return nil, "is cut, or no valid PEM"
		case block == nil && all == nil:
			return nil, "has no certificate in PEM: a block that begins with -----BEGIN CERTIFICATE-----"
		case block == nil:
			return all, ""
		case block.Type != pemCertificate:
			return nil, fmt.Sprintf("has a block that is no certificate: %.40s", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Sprintf("has a certificate that cannot be read, number %d", len(all)+1)
		}
		all = append(all, cert)
	}
}

func wrongAuthorities(text string) string {
	all, wrong := certificates(text)
	if wrong != "" {
		return wrong
	}
	now := time.Now()
	for _, cert := range all {
		if now.Before(cert.NotAfter) {
			return ""
		}
	}
	return "has expired, on " + all[0].NotAfter.UTC().Format(time.RFC3339)
}

func wrongClientCert(text string) string {
	all, wrong := certificates(text)
	if wrong != "" {
		return wrong
	}
	switch now := time.Now(); {
	case now.After(all[0].NotAfter):
		return "has expired, on " + all[0].NotAfter.UTC().Format(time.RFC3339)
	case now.Before(all[0].NotBefore):
		return "is not valid before " + all[0].NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

// wrongClientKey never quotes what it got.
func wrongClientKey(text string) string {
	if len(text) > maxPEM {
		return wrongLength(text, maxPEM)
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil:
			return "has no private key in PEM"
		case block.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return "is encrypted; send it without its passphrase"
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return ""
		case block.Type == pemCertificate:
			return "has a certificate, which belongs into clientcert"
		}
	}
}

// wrongPair says what is wrong with the key of the client's certificate, once it is known.
func (t *TLS) wrongPair() []Fault {
	key := t.ClientKey.Reveal()
	switch {
	case t.ClientCert == "" && key == "":
		return nil
	case t.ClientCert == "":
		return []Fault{{pointerTLS + "/clientcert", "is required with clientkey"}}
	case key == "":
		return []Fault{{pointerTLS + "/clientkey", "is required with clientcert"}}
	}
	if _, err := tls.X509KeyPair([]byte(t.ClientCert), []byte(key)); err != nil {
		return []Fault{{pointerTLS + "/clientkey", "is not the key of clientcert, or of a kind that TLS does not know"}}
	}
	return nil
}
