package embedded

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// manySessions is how many addresses are kept before it is looked which of them are still connected.
const manySessions = 4096

// sessions are the clients from outside that showed a key, so that its end is theirs: the server asks for it only when they connect.
type sessions struct {
	mu   sync.Mutex
	keys map[string]string // by address: the id of the key
	tidy int               // so many, and it is looked who is gone
}

// note remembers whose key a client showed. It returns true when it is to be looked who is gone.
func (s *sessions) note(addr net.Addr, key string) (many bool) {
	if addr == nil { // it is gone already
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys, s.tidy = map[string]string{}, manySessions
	}
	s.keys[addr.String()] = key
	return len(s.keys) > s.tidy
}

// keep forgets who is not among those that are connected. Who comes while it is looked for these may not be among them.
func (s *sessions) keep(connected func() map[string]uint64) {
	s.mu.Lock()
	before := slices.Collect(maps.Keys(s.keys))
	s.mu.Unlock()
	open := connected()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range before {
		if _, ok := open[addr]; !ok {
			delete(s.keys, addr)
		}
	}
	s.tidy = max(manySessions, 2*len(s.keys))
}

// of returns the addresses of those that showed the key.
func (s *sessions) of(key string) (addrs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, id := range s.keys {
		if id == key {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// End closes the connections of those that showed the key with this id. Config.Authenticate must not know the key any more.
func (b *Broker) End(key string) {
	s := b.current.Load()
	addrs := b.sessions.of(key)
	if s == nil || len(addrs) == 0 {
		return
	}
	open := connections(s)
	for _, addr := range addrs {
		if id, ok := open[addr]; ok {
			_ = s.DisconnectClientByID(id) // else it has gone by itself
		}
	}
}

// connections are the clients that are connected, by their addresses.
func connections(s *server.Server) map[string]uint64 {
	open := map[string]uint64{}
	for offset := 0; ; offset += maxConnections {
		page, err := s.Connz(&server.ConnzOptions{Limit: maxConnections, Offset: offset})
		if err != nil || len(page.Conns) == 0 {
			return open
		}
		for _, c := range page.Conns {
			open[net.JoinHostPort(c.IP, strconv.Itoa(c.Port))] = c.Cid
		}
	}
}
