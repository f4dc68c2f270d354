package faults

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestOrderChecker: what is in order is in order, and one planted disorder is found.
func TestOrderChecker(t *testing.T) {
	t.Parallel()
	const keys, each = 20, 50
	plant := func(change func(received []Received)) []string {
		l, err := NewLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		for i := range keys * each {
			id, key := fmt.Sprintf("e%d", i), fmt.Sprintf("key-%d", i%keys)
			l.Accept(Accepted{ID: id, Key: key, Sinks: []string{sinkOrdered}, Sequence: uint64(i + 1), At: start})
			l.Receive(Received{ID: id, Sink: sinkOrdered, Status: 500, At: start})
			l.Receive(Received{ID: id, Sink: sinkOrdered, Status: 200, At: start})
			if i%100 == 7 { // a duplicate after a kill is in order
				l.Receive(Received{ID: id, Sink: sinkOrdered, Status: 200, At: start})
			}
		}
		change(l.received)
		faults, _ := l.CheckOrder()
		return faults
	}
	if faults := plant(func([]Received) {}); len(faults) != 0 {
		t.Errorf("in order, and named: %v", faults)
	}
	swapped := plant(func(r []Received) {
		i := len(r) / 2
		for j := i + 1; ; j++ { // the next one of its key
			if r[j].ID != r[i].ID && number(r[j].ID)%keys == number(r[i].ID)%keys && r[j].OK() {
				r[i], r[j] = r[j], r[i]
				return
			}
		}
	})
	if len(swapped) == 0 {
		t.Error("disorder is not found")
	}
	if lost := plant(func(r []Received) { r[len(r)/2].Status, r[len(r)/2+1].Status = 500, 500 }); len(lost) == 0 {
		t.Error("one that was passed over is not found")
	}
}

func number(id string) (n int) {
	_, _ = fmt.Sscanf(id, "e%d", &n)
	return n
}

var workerID = regexp.MustCompile(`w-[a-z0-9]{12}`)

// TestLaneOwnerKilled: order is kept for each key while the owner of the lane is killed, one of three workers, and one in
// twenty attempts fails.
func TestLaneOwnerKilled(t *testing.T) {
	c := newCampaign(t)
	c.keys, c.sink.fails = c.pick(200, 1000), 20
	api := whole(t, fleettest.Options{Roles: "api,scheduler", Key: operatorKey})
	var workers []*fleettest.Server
	for range 3 {
		workers = append(workers, fleettest.Start(t, fleettest.Options{
			Roles: "worker", Key: operatorKey, Broker: api.BrokerURL(operatorKey),
			Args: []string{"--worker-concurrency", itoa(concurrency), "--log-level", "info"},
		}))
	}
	api.Client().Subscribe(t, "ordered", fmt.Sprintf(`{"types":["load.*"],"sink":%q,"config":{"timeout":"10s","concurrency":256,
		"ordering":{"key":"subject"},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"200ms","maxattempts":1000}}}`, c.sink.url+sinkOrdered))
	c.start(rate, api.Client())
	total := c.pick(10_000, 100_000)
	var takeovers []time.Duration
	for _, at := range c.points(c.pick(3, 5), total) {
		c.awaitAccepted(at)
		owner := laneOwner(t, api, workers)
		before := time.Now()
		c.kill(owner)
		c.awaitMove(before)
		takeovers = append(takeovers, time.Since(before).Round(10*time.Millisecond))
		c.restart(owner)
	}
	c.awaitAccepted(total)
	c.finish(api)
	faults, requests := c.ledger.CheckOrder()
	t.Logf("%d requests, %d out of order; something came again after %v", requests, len(faults), takeovers)
	if len(faults) > 0 {
		t.Errorf("out of order: %d:\n\t%s", len(faults), strings.Join(faults[:min(len(faults), maxNamed)], "\n\t"))
	}
	for _, s := range append(workers, api) {
		s.MustStop(t)
	}
}

// laneOwner is the process that has the lane's lease.
func laneOwner(t *testing.T, api *fleettest.Server, workers []*fleettest.Server) (owner *fleettest.Server) {
	t.Helper()
	lanes := stream.NewLanes(broker(t, api))
	fleettest.Eventually(t, "the lane has an owner that lives", func() (bool, any) {
		lease, err := lanes.Lease(t.Context(), "ordered")
		if err != nil {
			return false, err
		}
		for _, w := range workers {
			ids := workerID.FindAllString(w.Log(), -1)
			if len(ids) > 0 && strings.Contains(w.Log(), lease.Owner) && ownID(w.Log()) == lease.Owner {
				owner = w
				return true, nil
			}
		}
		return false, lease.Owner
	})
	return owner
}

// ownID is the id that a worker has had last, by its log.
func ownID(log string) string {
	var id string
	for _, m := range regexp.MustCompile(`"worker":"(w-[a-z0-9]{12})"`).FindAllStringSubmatch(log, -1) {
		id = m[1]
	}
	return id
}

// awaitMove waits until the sink gets something after the last that a killed owner may have sent.
func (c *campaign) awaitMove(after time.Time) {
	c.t.Helper()
	c.await("the lane goes on", func(_, _, missing int) bool {
		c.ledger.mu.Lock()
		defer c.ledger.mu.Unlock()
		return missing == 0 || len(c.ledger.received) > 0 && c.ledger.received[len(c.ledger.received)-1].At.After(after.Add(flightAfter))
	})
}
