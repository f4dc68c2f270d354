package egress

import (
	"sync"
	"time"
)

// idleTimeout is when an unused connection is closed: receivers' own limits are 60 to 120 s, and a race with theirs costs an attempt.
const idleTimeout = 90 * time.Second

// sweepEvery is how often unused connections are looked through.
const sweepEvery = 15 * time.Second

// pool holds idle connections. It starts no goroutine: a timer runs while there is something to close.
type pool struct {
	perHost, max int

	mu     sync.Mutex
	hosts  map[host][]*conn // each: the last is the one used last, and is taken first
	young  *conn            // all of them by when they came, the youngest first
	old    *conn
	count  int
	timer  *time.Timer
	closed bool
}

func newPool(cfg Config) *pool {
	return &pool{perHost: cfg.MaxIdlePerHost, max: cfg.MaxIdle, hosts: map[host][]*conn{}}
}

// take returns the connection to h that was used last, or nil.
func (p *pool) take(h host, now time.Time) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[h]
	for len(list) > 0 {
		c := list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
		p.hosts[h] = list
		p.unlink(c)
		if c.until.After(now) {
			return c
		}
		c.drop()
	}
	return nil
}

// put keeps c for patience at most, or closes it when there are too many to its host, or the oldest of all when there are too many.
func (p *pool) put(c *conn, patience time.Duration) {
	c.used = true
	c.until = time.Now().Add(min(patience, idleTimeout))
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[c.host]
	if p.closed || patience <= 0 || len(list) >= p.perHost {
		c.drop()
		return
	}
	if p.count >= p.max {
		p.remove(p.old)
		list = p.hosts[c.host] // the oldest may have been of the same host
	}
	p.hosts[c.host] = append(list, c)
	p.link(c)
	if p.timer == nil {
		p.timer = time.AfterFunc(sweepEvery, p.sweep)
	}
}

func (p *pool) link(c *conn) {
	c.prev, c.next = nil, p.young
	if p.young != nil {
		p.young.prev = c
	} else {
		p.old = c
	}
	p.young = c
	p.count++
}

func (p *pool) unlink(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		p.young = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		p.old = c.prev
	}
	c.prev, c.next = nil, nil
	p.count--
}

// remove closes an idle connection, wherever it stands.
func (p *pool) remove(c *conn) {
	list := p.hosts[c.host]
	for i, other := range list {
		if other == c {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	p.hosts[c.host] = list
	p.unlink(c)
	c.drop()
}

// sweep closes what has been idle for long, and forgets hosts without connections.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for c := p.old; c != nil; {
		younger := c.prev
		if !c.until.After(now) {
			p.remove(c)
		}
		c = younger
	}
	for h, list := range p.hosts {
		if len(list) == 0 {
			delete(p.hosts, h)
		}
	}
	if len(p.hosts) == 0 || p.closed {
		p.timer = nil
		return
	}
	p.timer.Reset(sweepEvery)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for p.old != nil {
		p.remove(p.old)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
}
