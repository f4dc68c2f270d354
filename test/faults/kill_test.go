package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// concurrency of the workers here: at most so many attempts of one are in flight.
const concurrency = 256

// operatorKey is shared by the processes of a split fleet.
const operatorKey = "hf_faults_operator_key_that_is_long_enough_0123456789"

// rate is how many events a second are offered.
const rate = 2500

// whole is a fleet in one process.
func whole(t *testing.T, o fleettest.Options) *fleettest.Server {
	t.Helper()
	o.Args = append(o.Args, "--worker-concurrency", fmt.Sprint(concurrency), "--log-level", "warn")
	return fleettest.Start(t, o)
}

// split is an API process with the broker and the scheduler, and workers beside it.
func split(t *testing.T, workers int) (api *fleettest.Server, all []*fleettest.Server) {
	t.Helper()
	api = whole(t, fleettest.Options{Roles: "api,scheduler", Key: operatorKey})
	for range workers {
		all = append(all, whole(t, fleettest.Options{Roles: "worker", Key: operatorKey, Broker: api.BrokerURL(operatorKey)}))
	}
	return api, all
}

// points are n random numbers of accepted events at which something happens, in order.
func (c *campaign) points(n, total int) []int {
	points := make([]int, n)
	for i := range points {
		points[i] = 1 + c.random.IntN(total)
	}
	slices.Sort(points)
	return points
}

// kill kills s, and notes when.
func (c *campaign) kill(s *fleettest.Server) {
	c.kills = append(c.kills, Kill{At: time.Now(), InFlight: concurrency})
	s.Kill()
}

// restart starts s again. Some starts are killed before they are through, or just after.
func (c *campaign) restart(s *fleettest.Server) {
	c.t.Helper()
	for c.random.IntN(4) == 0 {
		s.Launch(c.t)
		early := time.NewTimer(time.Duration(c.random.IntN(600)) * time.Millisecond)
		select {
		case <-early.C:
		case <-s.Done():
			c.t.Fatalf("it ended by itself with %d:\n%s", s.Exit(c.t), s.Log())
		}
		c.kill(s)
	}
	s.Start(c.t)
}

// TestKillWhole: SIGKILL of the one process under load loses nothing, and repeats at most what was in flight.
func TestKillWhole(t *testing.T) {
	c := newCampaign(t)
	s := whole(t, fleettest.Options{})
	c.sink.Subscribe(t, s.Client())
	c.start(rate, s.Client())
	total := c.pick(8_000, 100_000)
	for _, at := range c.points(c.pick(4, 20), total) {
		c.awaitAccepted(at)
		c.kill(s)
		c.restart(s)
	}
	c.awaitAccepted(total)
	c.finish(s)
	s.MustStop(t)
}

// TestKillWorker: SIGKILL of one of two workers beside an API process.
func TestKillWorker(t *testing.T) {
	c := newCampaign(t)
	api, workers := split(t, 2)
	c.sink.Subscribe(t, api.Client())
	c.start(rate, api.Client())
	total := c.pick(8_000, 100_000)
	for _, at := range c.points(c.pick(4, 20), total) {
		c.awaitAccepted(at)
		w := workers[c.random.IntN(len(workers))]
		c.kill(w)
		c.restart(w)
	}
	c.awaitAccepted(total)
	c.finish(api)
	for _, s := range append(workers, api) {
		s.MustStop(t)
	}
}

// TestTerminate: SIGTERM of the one process under load loses nothing and repeats nothing, and is in order each time.
func TestTerminate(t *testing.T) {
	c := newCampaign(t)
	s := whole(t, fleettest.Options{})
	c.sink.Subscribe(t, s.Client())
	c.start(rate, s.Client())
	total := c.pick(6_000, 50_000)
	for _, at := range c.points(c.pick(3, 20), total) {
		c.awaitAccepted(at)
		s.Restart(t)
	}
	c.awaitAccepted(total)
	c.noDuplicates(c.finish(s))
	s.MustStop(t)
}

// TestTerminateWorker: SIGTERM of one of two workers.
func TestTerminateWorker(t *testing.T) {
	c := newCampaign(t)
	api, workers := split(t, 2)
	c.sink.Subscribe(t, api.Client())
	c.start(rate, api.Client())
	total := c.pick(6_000, 50_000)
	for _, at := range c.points(c.pick(3, 20), total) {
		c.awaitAccepted(at)
		workers[c.random.IntN(len(workers))].Restart(t)
	}
	c.awaitAccepted(total)
	c.noDuplicates(c.finish(api))
	for _, s := range append(workers, api) {
		s.MustStop(t)
	}
}

func (c *campaign) noDuplicates(v *Verdict) {
	c.t.Helper()
	if v.Duplicates != 0 {
		c.t.Errorf("%d duplicates without a kill", v.Duplicates)
	}
}

// TestKillAPI: SIGKILL of one of two API processes that is not the broker's: what it answered is stored.
func TestKillAPI(t *testing.T) {
	c := newCampaign(t)
	broker, _ := split(t, 1)
	api := whole(t, fleettest.Options{Roles: "api", Key: operatorKey, Broker: broker.BrokerURL(operatorKey)})
	c.sink.Subscribe(t, api.Client())
	c.start(rate, broker.Client(), api.Client())
	total := c.pick(4_000, 40_000)
	for _, at := range c.points(c.pick(3, 10), total) {
		c.awaitAccepted(at)
		api.Kill() // it sends nothing, so nothing may come twice
		c.restart(api)
	}
	c.awaitAccepted(total)
	c.finish(broker)
}
