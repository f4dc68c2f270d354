package worker

import (
	"context"
	"fmt"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/sign"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// transport is how the requests of a subscription get to its sink, and what vouches for them there.
type transport struct {
	signer     *sign.Signer      // nil = unsigned
	tls        *egress.TLSConfig // nil = as for all
	foreignTLS *egress.TLSConfig // of a target of another origin than the sink's, which our certificate is not shown to
	noProxy    bool
}

func newTransport(p *events.ProtocolSettings) (t transport, err error) {
	t.noProxy = p.Proxy == events.ProxyNone
	if s := p.Signing; s != nil {
		t.signer, err = sign.New(sign.Settings{
			Scheme: s.Scheme, Secret: s.Secret, Previous: s.Previous, Until: s.PreviousUntil,
			Header: s.Header, Hash: s.Hash, Encoding: s.Encoding, Prefix: s.Prefix,
		})
		if err != nil {
			return t, fmt.Errorf("signing: %w", err)
		}
	}
	if s := p.TLS; s != nil {
		settings := egress.TLSSettings{CACert: s.CACert, ClientCert: s.ClientCert, ClientKey: s.ClientKey, MinVersion: s.MinVersion}
		if t.tls, err = egress.NewTLS(settings); err != nil {
			return t, fmt.Errorf("tls: %w", err)
		}
		settings.ClientCert, settings.ClientKey = "", secret.Text{}
		if t.foreignTLS, err = egress.NewTLS(settings); err != nil {
			return t, fmt.Errorf("tls: %w", err)
		}
	}
	return t, nil
}

// SenderOf is where requests of this client come from.
func SenderOf(ctx context.Context, c *egress.Client) stream.Sender {
	s := stream.Sender{Addresses: c.From(ctx)}
	if p := c.Proxy(); p != nil {
		s.Proxy = p.String()
	}
	return s
}
