package embedded

import (
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// authentication lets in ourselves, and who Config.Authenticate knows. The key is a token, or the user name, because
// that is what nats://<key>@host carries.
type authentication struct{ b *Broker }

// Check implements server.Authentication.
func (a *authentication) Check(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	token := opts.Token
	if token == "" {
		token = opts.Username
	}
	if token == "" {
		return false
	}
	if subtle.ConstantTimeCompare([]byte(token), []byte(a.b.token)) == 1 {
		c.RegisterUser(&server.User{Username: "hookfleet"})
		return true
	}
	if a.b.cfg.Authenticate == nil {
		return false
	}
	p, ok := a.b.cfg.Authenticate(token)
	if !ok {
		return false
	}
	if a.b.sessions.note(c.RemoteAddress(), p.Key) {
		if s := a.b.current.Load(); s != nil {
			a.b.sessions.keep(func() map[string]uint64 { return connections(s) })
		}
	}
	if _, ok := a.b.cfg.Authenticate(token); !ok {
		return false // it has ended since, before it could be noted
	}
	if p.All {
		many, err := a.b.guests.enter(c.RemoteAddress())
		if many {
			a.b.Alone(nil)
		}
		if err != nil {
			a.b.log.Warn().Err(err).Msg("a client from outside is not let in, as the ids of events could not be read for it; it may try again")
			return false
		}
	}
	c.RegisterUser(&server.User{Username: "key", Permissions: p.server()})
	return true
}

// server translates to the server's permissions; nil there means everything. A producer's own replies come to `_INBOX.`,
// which is not where the fleet's own connections listen.
func (p Permissions) server() *server.Permissions {
	if p.All {
		return nil
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: append([]string{}, p.Publish...), Deny: denyWhenEmpty(p.Publish)},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
}

// denyWhenEmpty closes the gap that an empty allow list means everything.
func denyWhenEmpty(allow []string) []string {
	if len(allow) == 0 {
		return []string{">"}
	}
	return nil
}
