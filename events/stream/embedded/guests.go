package embedded

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// guestGrace is how long a guest that was let in may be missing among the connections: it is entered there after it is let in.
const guestGrace = 5 * time.Second

// maxConnections is how many connections are looked at for guests. Where there are more, guests are taken to be among them.
const maxConnections = 4096

// manyGuests is how many addresses are kept before it is looked which of them are gone, if nobody asks.
const manyGuests = 2 * maxConnections

// guests are the clients from outside that may do everything: such a one may take what others wait for, or store what others know
// nothing of.
type guests struct {
	inside sync.RWMutex // read: something runs that no guest may see
	some   atomic.Bool  // one is here, or was until we looked

	mu    sync.Mutex
	here  map[string]time.Time // by address: when it was let in
	gone  time.Time            // when it was found that none is left
	leave func()               // to be called before the first one gets in; nil = nobody is to be told

	before func() error // Config.BeforeGuest
}

// enter lets a guest in, once who was alone has left. many says that it is to be looked who is gone.
func (g *guests) enter(addr net.Addr) (many bool, err error) {
	g.mu.Lock()
	if g.here == nil {
		g.here = map[string]time.Time{}
	}
	if addr != nil { // else it is gone already
		g.here[addr.String()] = time.Now()
	}
	g.some.Store(true)
	leave := g.leave
	many = len(g.here) > manyGuests
	g.mu.Unlock()
	g.inside.Lock()   // what began before has ended
	g.inside.Unlock() //nolint:staticcheck // and what begins now sees that somebody is here
	var leaving sync.WaitGroup
	if leave != nil {
		leaving.Go(leave)
	}
	if g.before != nil {
		err = g.before()
	}
	leaving.Wait()
	return many, err
}

// none reports whether no guest is here, of the addresses that are connected, and has leave called before that changes; nil changes
// nothing.
func (g *guests) none(connected func(addr string) bool, leave func(), now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for addr, since := range g.here {
		if !connected(addr) && now.Sub(since) > guestGrace {
			delete(g.here, addr)
		}
	}
	if len(g.here) > 0 {
		return false
	}
	if g.some.Swap(false) {
		g.gone = now
	}
	if leave != nil {
		g.leave = leave
	}
	return true
}

// Alone reports whether no client from outside is connected that may do everything. If so, and leave is not nil, leave is called each
// time before one gets in, which waits until it returns; the server gives it 2 s. Producers are no such clients.
func (b *Broker) Alone(leave func()) bool {
	s := b.current.Load()
	if s == nil {
		return false
	}
	open, err := s.Connz(&server.ConnzOptions{Limit: maxConnections})
	if err != nil || open.Total > maxConnections {
		return false
	}
	here := make(map[string]bool, len(open.Conns))
	for _, c := range open.Conns {
		here[net.JoinHostPort(c.IP, strconv.Itoa(c.Port))] = true
	}
	return b.guests.none(func(addr string) bool { return here[addr] }, leave, time.Now())
}

// Inside runs do while no client from outside is connected that may do everything, and lets none in until do has returned. Otherwise it
// returns false. Who came and went is only noticed by Alone.
func (b *Broker) Inside(do func()) bool {
	b.guests.inside.RLock()
	defer b.guests.inside.RUnlock()
	if b.guests.some.Load() {
		return false
	}
	do()
	return true
}

// Left is when it was found that no client from outside that may do everything was left, as Alone counts them; zero = there never was one.
func (b *Broker) Left() time.Time {
	b.guests.mu.Lock()
	defer b.guests.mu.Unlock()
	return b.guests.gone
}
