package registry

import "sync"

// changes tells subscribers which ids have changed.
type changes struct {
	mu    sync.Mutex
	all   map[*subscriber]struct{}
	ended bool
	pumps sync.WaitGroup
}

// subscriber holds the ids that it has not taken yet, each once: it may be slow, and misses nothing.
type subscriber struct {
	mu   sync.Mutex
	ids  map[string]struct{}
	wake chan struct{}
	out  chan string
	done chan struct{}
}

// Watch returns the ids whose subscription or health changes, each at least once after its change, until cancel is
// called or Run ends; then the channel is closed. What is read at the start counts as changed. Ids that nobody takes
// are kept, each once.
func (r *Registry) Watch() (changed <-chan string, cancel func()) { return r.changes.subscribe() }

func (c *changes) subscribe() (<-chan string, func()) {
	s := &subscriber{
		ids: make(map[string]struct{}), wake: make(chan struct{}, 1), out: make(chan string), done: make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		close(s.out)
		return s.out, func() {}
	}
	if c.all == nil {
		c.all = make(map[*subscriber]struct{})
	}
	c.all[s] = struct{}{}
	c.pumps.Go(s.pump)
	return s.out, func() { c.cancel(s) }
}

// cancel ends a subscriber once.
func (c *changes) cancel(s *subscriber) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.all[s]; there {
		delete(c.all, s)
		close(s.done)
	}
}

// end ends all subscribers and waits for them.
func (c *changes) end() {
	c.mu.Lock()
	c.ended = true
	for s := range c.all {
		delete(c.all, s)
		close(s.done)
	}
	c.mu.Unlock()
	c.pumps.Wait()
}

// note tells all subscribers of a changed id.
func (c *changes) note(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.all {
		s.mu.Lock()
		s.ids[id] = struct{}{}
		s.mu.Unlock()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// pump hands the ids out, until done.
func (s *subscriber) pump() {
	defer close(s.out)
	for {
		id, ok := s.take()
		if !ok {
			select {
			case <-s.wake:
				continue
			case <-s.done:
				return
			}
		}
		select {
		case s.out <- id:
		case <-s.done:
			return
		}
	}
}

// take removes one id before it is handed out: a change after that notes it again.
func (s *subscriber) take() (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.ids {
		delete(s.ids, id)
		return id, true
	}
	return "", false
}
