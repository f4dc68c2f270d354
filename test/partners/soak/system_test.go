package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
)

// receiver is what all partners have.
type receiver interface {
	http.Handler
	Answer(f func(*partners.Call) partners.Answer)
	Faults() []string
	Calls() []partners.Call
	Counts() (calls, taken, repeats, peak int)
}

// system is one of the five under load.
type system struct {
	name     string
	id       string // of its subscription, and its tenant
	partner  receiver
	endpoint *endpoint
	doc      partners.Settings
	each     time.Duration // between two events
	// next gives what is published next: type, subject and data, and what the partner has to be told for it, "" = nothing.
	next func(n int) (typ, subject, data, told string)

	mu   sync.Mutex
	owed map[string]bool // what the partner has to be told
	n    int             // events that were accepted
}

// put applies the subscription as it is now.
func (s *system) put(t testing.TB, c *fleettest.Client) {
	t.Helper()
	text, err := json.Marshal(s.doc)
	if err != nil {
		t.Fatal(err)
	}
	c.Subscribe(t, s.id, string(text))
}

// load publishes until ctx ends, each event until it is accepted.
func (s *system) load(ctx context.Context, t testing.TB, c *fleettest.Client) {
	beat := time.NewTicker(s.each)
	defer beat.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		typ, subject, data, told := s.next(n)
		text := fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d","source":"https://%s.example","type":%q,"tenant":%q,"subject":%q,"time":%q,"data":%s}`,
			s.name, n, s.name, typ, s.id, subject, time.Now().UTC().Format(time.RFC3339Nano), data)
		if !s.publish(t, c, text) {
			return
		}
		s.mu.Lock()
		s.n++
		if told != "" {
			s.owed[told] = true
		}
		s.mu.Unlock()
	}
}

// publish publishes one event, and again as long as the fleet says that it cannot take it now. It does not end with the
// load: what may have been accepted has to be known.
func (s *system) publish(t testing.TB, c *fleettest.Client, text string) bool {
	for range 60 {
		resp, err := c.Call(context.Background(), http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Structured}}, []byte(text))
		switch {
		case err != nil || resp.Status == http.StatusServiceUnavailable:
			timer := time.NewTimer(time.Second)
			<-timer.C
		case resp.Status == http.StatusAccepted:
			return true
		default:
			t.Errorf("%s: status %d: %s", s.name, resp.Status, resp.Body)
			return false
		}
	}
	t.Errorf("%s: no event was accepted for a minute", s.name)
	return false
}

// told are the texts of what the partner took.
func (s *system) told() map[string]int {
	all := map[string]int{}
	for _, c := range s.partner.Calls() {
		if c.Taken() {
			all[strings.TrimSpace(c.Key+" "+c.Text)]++
		}
	}
	return all
}

// untold is how much of what is owed has not come.
func (s *system) untold() (n int) {
	told := s.told()
	s.mu.Lock()
	defer s.mu.Unlock()
	for what := range s.owed {
		if told[what] == 0 {
			n++
		}
	}
	return n
}

// check compares what is owed with what was told.
func (s *system) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told()
	calls, taken, repeats, peak := s.partner.Counts()
	t.Logf("%-10s %6d events, %6d owed, %6d requests, %6d taken, %d of them again, at most %d at a time", s.name, s.n, len(s.owed), calls, taken, repeats, peak)
	var lost, twice, strange []string
	for what := range s.owed {
		if told[what] == 0 {
			lost = append(lost, what)
		}
	}
	for what, n := range told {
		if n > 1 {
			twice = append(twice, what)
		}
		if !s.owed[what] {
			strange = append(strange, what)
		}
	}
	for what, list := range map[string][]string{"lost": lost, "told twice": twice, "told and never accepted": strange} {
		if len(list) > 0 {
			slices.Sort(list)
			t.Errorf("%s: %d %s: %q", s.name, len(list), what, list[:min(len(list), 20)])
		}
	}
	for _, fault := range s.partner.Faults() {
		t.Errorf("%s: %s", s.name, fault)
	}
	if len(s.owed) == 0 {
		t.Errorf("%s: nothing was owed", s.name)
	}
}
