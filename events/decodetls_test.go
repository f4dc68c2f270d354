package events

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// pair is a certificate of its own and its key, in PEM; change says what is special about it.
func pair(t testing.TB, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}

func TestDecodeTLS(t *testing.T) {
	t.Parallel()
	cert, key := pair(t, nil)
	old, _ := pair(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early, _ := pair(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	block := func(kind, text string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)}))
	}
	tests := map[string]struct {
		tls  map[string]any
		want string
	}{
		"empty":                   {map[string]any{}, ""},
		"whole":                   {map[string]any{"cacert": cert + "\n" + cert, "clientcert": "subject: x\n" + cert, "clientkey": key, "minversion": "1.3"}, ""},
		"expired beside a good":   {map[string]any{"cacert": old + cert}, ""},
		"version":                 {map[string]any{"minversion": "1.1"}, "/minversion"},
		"version as a number":     {map[string]any{"minversion": 1.2}, "/minversion"},
		"unknown":                 {map[string]any{"verify": false}, "/verify"},
		"not PEM":                 {map[string]any{"cacert": "MIIB", "clientcert": "", "clientkey": "MIIB"}, "/cacert /clientcert /clientkey"},
		"key as certificate":      {map[string]any{"cacert": key, "clientcert": key}, "/cacert /clientcert"},
		"certificate as key":      {map[string]any{"clientcert": cert, "clientkey": cert}, "/clientkey"},
		"cut":                     {map[string]any{"cacert": cert + cert[:100]}, "/cacert"},
		"garbage in a block":      {map[string]any{"cacert": block("CERTIFICATE", "x")}, "/cacert"},
		"expired":                 {map[string]any{"cacert": old, "clientcert": old, "clientkey": key}, "/cacert /clientcert"},
		"early":                   {map[string]any{"clientcert": early, "clientkey": key}, "/clientcert"},
		"encrypted key":           {map[string]any{"clientcert": cert, "clientkey": block("ENCRYPTED PRIVATE KEY", "x")}, "/clientkey"},
		"encrypted key, old form": {map[string]any{"clientcert": cert, "clientkey": "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"}, "/clientkey"},
		"too long":                {map[string]any{"cacert": cert + strings.Repeat(" ", maxPEM), "clientcert": cert + strings.Repeat(" ", maxPEM), "clientkey": key + strings.Repeat(" ", maxPEM)}, "/cacert /clientcert /clientkey"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(test.tls)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, at := range pointersOf(t, `"protocolsettings":{"tls":`+string(text)+`}`) {
				got[at] = true
			}
			want := map[string]bool{}
			for at := range strings.FieldsSeq(test.want) {
				want["/protocolsettings/tls"+at] = true
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := pointersOf(t, `"protocolsettings":{"tls":"x","proxy":"direct"}`); len(got) != 2 {
		t.Error(got)
	}
}

func TestDecodeProxy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`"default"`: "", `"none"`: ProxyNone, `null`: ""} {
		s := decode(t, `{"sink":"https://a.example","protocolsettings":{"proxy":`+text+`}}`)
		if s.ProtocolSettings.Proxy != want {
			t.Errorf("%s: %q", text, s.ProtocolSettings.Proxy)
		}
	}
}

// The key belongs to the certificate, whether it is sent or kept.
func TestKeepSecretsChecksTheClientKey(t *testing.T) {
	t.Parallel()
	cert, key := pair(t, nil)
	other, otherKey := pair(t, nil)
	with := func(cert, key string) *Subscription {
		s := defaultSubscription("")
		s.Sink = "https://a.example"
		s.ProtocolSettings.TLS = &TLS{ClientCert: cert, ClientKey: secret.New(key)}
		return s
	}
	mask := secret.New(key).Mask()
	elsewhere := with(cert, "")
	elsewhere.Sink = "https://b.example"
	for name, tt := range map[string]struct {
		s, old *Subscription
		want   string // pointer
	}{
		"sent": {with(cert, key), nil, ""}, "of another": {with(cert, otherKey), nil, "/clientkey"},
		"without a key": {with(cert, ""), nil, "/clientkey"}, "without a certificate": {with("", key), nil, "/clientcert"},
		"omitted": {with(cert, ""), with(cert, key), ""}, "masked": {with(cert, mask), with(cert, key), ""},
		"another certificate": {with(other, ""), with(cert, key), "/clientkey"}, "both anew": {with(other, otherKey), with(cert, key), ""},
		"neither any more": {with("", ""), with(cert, key), ""}, "masked without certificate": {with("", mask), with(cert, key), "/clientcert"},
		"another origin": {elsewhere, with(cert, key), "/clientkey"},
	} {
		err := tt.s.KeepSecrets(tt.old)
		if tt.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if tt.want != "" {
			if got := faultsOf(t, err); len(got.Faults) != 1 || got.Faults[0].Pointer != "/protocolsettings/tls"+tt.want || strings.Contains(got.Error(), "PRIVATE") {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	s := with("", "")
	if err := s.KeepSecrets(with(cert, key)); err != nil || !s.ProtocolSettings.TLS.ClientKey.IsZero() {
		t.Error("a key without a certificate is kept")
	}
}

func TestTLSIsStored(t *testing.T) {
	t.Parallel()
	cert, key := pair(t, nil)
	s := defaultSubscription("")
	s.ID, s.Sink = "a", "https://a.example"
	s.ProtocolSettings.TLS, s.ProtocolSettings.Proxy = &TLS{CACert: cert, ClientCert: cert, ClientKey: secret.New(key), MinVersion: "1.3"}, ProxyNone
	text, err := Seal(s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var o Opener
	back, _, err := o.Open(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(s, back, showSecrets); diff != "" {
		t.Error(diff)
	}
	shown, err := json.Marshal(s)
	if err != nil || strings.Contains(string(shown), "PRIVATE KEY") {
		t.Errorf("%s %v", shown, err)
	}
}
