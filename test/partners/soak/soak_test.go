package soak

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/raas"
)

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m)) }

// Times of the faults: each comes once a round, and rounds follow each other until the time is up.
const (
	phase   = 8 * time.Second  // of each fault
	slow    = 2 * time.Second  // answers of the slow partner
	overlap = 30 * time.Second // of two secrets
	drain   = 3 * time.Minute  // after the load, until nothing waits
)

// soak is the five systems on one fleet.
type soak struct {
	*testing.T
	client  *fleettest.Client
	systems map[string]*system
	rounds  int
	secret  string // of raas
}

// TestSoak is the long run.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("HOOKFLEET_SOAK"))
	if err != nil {
		t.Skip("SKIPPED: the long run needs HOOKFLEET_SOAK, such as 30m: make soak")
	}
	server := fleettest.Start(t, fleettest.Options{})
	s := &soak{T: t, client: server.Client(), systems: map[string]*system{}, secret: secret}
	for _, sys := range []*system{steadfastSystem(t), cafSystem(t), raasSystem(t), secutixSystem(t), idpaySystem(t)} {
		s.systems[sys.name] = sys
		sys.put(t, s.client)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var load sync.WaitGroup
	for _, sys := range s.systems {
		load.Go(func() { sys.load(ctx, t, fleettest.NewClient(server.API, server.Key)) })
	}
	for s.wait(ctx, phase) {
		s.round(ctx)
	}
	load.Wait()
	t.Logf("%d rounds of faults in %v", s.rounds, length)
	s.drained()
	for _, sys := range s.systems {
		sys.check(t)
		if dead := s.client.DeadLetters(t, sys.id); len(dead) > 0 {
			t.Errorf("%s: %d dead letters, the first %s", sys.name, len(dead), dead[0].Reason)
		}
	}
	server.MustStop(t)
}

// wait waits for d, and gives false when the time is up before.
func (s *soak) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// round injects each fault once. What it began it ends, also when the time is up.
func (s *soak) round(ctx context.Context) {
	s.rounds++
	down, lazy := s.systems["idpay"], s.systems["caf"]
	down.endpoint.down()
	s.wait(ctx, phase)
	down.endpoint.up()
	lazy.partner.Answer(func(*partners.Call) partners.Answer { return partners.Answer{After: slow} })
	s.wait(ctx, phase)
	lazy.partner.Answer(nil)
	s.rotate(ctx)
	s.move(ctx)
}

// rotate changes the secret of raas: the client knows both for some time, and then the new one alone.
func (s *soak) rotate(ctx context.Context) {
	client := s.systems["raas"].partner.(*raas.Client)
	next := fmt.Sprintf("secret-of-round-%d", s.rounds)
	client.Know(s.secret, next)
	s.client.Must(s, http.StatusOK, http.MethodPost, "/v1/subscriptions/raas-client/rotate-secret", fmt.Sprintf(`{"secret":%q,"overlap":%q}`, next, overlap), nil)
	s.wait(ctx, phase)
	client.Know(next)
	s.secret = next
}

// move gives secutix a new URL at another server, and takes the old server away.
func (s *soak) move(ctx context.Context) {
	sys := s.systems["secutix"]
	old := sys.endpoint
	sys.endpoint = newEndpoint(s, sys.partner)
	sys.doc.Set("sink", sys.endpoint.url(fmt.Sprintf("/v%d/${orderId}?update=true", 1+s.rounds%2)))
	sys.put(s, s.client)
	old.down()
	s.wait(ctx, phase)
}

// drained waits until all that is owed was told, and nothing waits any more.
func (s *soak) drained() {
	ctx, cancel := context.WithTimeout(s.Context(), drain)
	defer cancel()
	for {
		left := 0
		for _, sys := range s.systems {
			left += sys.untold() + s.client.Subscription(s, sys.id).Status.Waiting
		}
		if left == 0 {
			return
		}
		if !s.wait(ctx, time.Second) {
			s.Errorf("%d are not told, or wait, %v after the last fault", left, drain)
			return
		}
	}
}
