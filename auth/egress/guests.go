package egress

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// idleTimeout is when an unused connection is closed: receivers' own limits are 60 to 120 s, and a race with theirs costs an attempt.
const idleTimeout = 90 * time.Second

// guests holds one transport for each tenant, so that no connection, and nothing that a receiver ties to one, is shared by two. The number is bounded:
// the least recently used goes, with its idle connections.
type guests struct {
	cfg   Config
	dial  *dialer
	clock atomic.Int64 // counts uses; orders them without asking for the time

	mu  sync.RWMutex
	all map[string]*guest
}

type guest struct {
	http.Transport
	used atomic.Int64
}

func newGuests(cfg Config, dial *dialer) *guests {
	return &guests{cfg: cfg, dial: dial, all: map[string]*guest{}}
}

// of returns the transport of tenant.
func (g *guests) of(tenant string) *guest {
	g.mu.RLock()
	found := g.all[tenant]
	g.mu.RUnlock()
	if found == nil {
		found = g.add(tenant)
	}
	found.used.Store(g.clock.Add(1))
	return found
}

func (g *guests) add(tenant string) *guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	if found := g.all[tenant]; found != nil {
		return found
	}
	if len(g.all) >= g.cfg.MaxTenants {
		g.evict()
	}
	added := g.transport()
	g.all[tenant] = added
	return added
}

// evict is a scan, which is cheaper than keeping an order at every request as long as tenants are some thousands.
func (g *guests) evict() {
	var oldest string
	least := int64(-1)
	for tenant, one := range g.all {
		if used := one.used.Load(); least < 0 || used < least {
			oldest, least = tenant, used
		}
	}
	g.all[oldest].CloseIdleConnections()
	delete(g.all, oldest)
}

func (g *guests) transport() *guest {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &guest{Transport: http.Transport{
		Proxy:                  nil, // the environment's proxy must not see what is ours
		DialContext:            g.dial.plain,
		DialTLSContext:         g.dial.secure,
		DisableCompression:     true, // a body counts by its bytes on the wire, so no bomb goes off here
		MaxIdleConns:           g.cfg.MaxIdlePerGuest,
		MaxIdleConnsPerHost:    g.cfg.MaxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: g.cfg.MaxHeaderBytes,
		Protocols:              protocols,
	}}
}

func (g *guests) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.all {
		one.CloseIdleConnections()
	}
	clear(g.all)
}
