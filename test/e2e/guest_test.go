package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// TestGuestsJoinAndLeave: while events come, a worker and a client of the broker join a fleet of one process and leave it, and
// the process is stopped and started. All events are delivered, each once.
func TestGuestsJoinAndLeave(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{Key: operatorKey})
	sink, name := sinktest.New(t), unique("guests")
	s.Client().Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"concurrency":64}}`, name, sink.URL("/")))
	l := &loader{t: t, s: s, typ: name}
	for range 2 {
		l.while(func() {
			guest := fleettest.Start(t, fleettest.Options{Roles: "worker", Key: operatorKey, Broker: s.BrokerURL(operatorKey)})
			l.await(sink, 50)
			guest.MustStop(t)
		})
		l.while(func() {
			nc, _ := connect(t, s.BrokerURL(operatorKey))
			l.await(sink, 50)
			nc.Close()
		})
		sink.WaitAnswered("/", l.n)
		s.Restart(t)
	}
	l.while(func() { l.await(sink, 50) })
	times := map[string]int{}
	for _, r := range sink.WaitAnswered("/", l.n) {
		times[r.ID()]++
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	if len(times) != l.n {
		t.Errorf("%d events came, of %d", len(times), l.n)
	}
	s.MustStop(t)
}

// loader publishes small batches and single events.
type loader struct {
	t   *testing.T
	s   *fleettest.Server
	typ string
	n   int // events published
}

// while publishes for as long as do runs.
func (l *loader) while(do func()) {
	done := make(chan struct{})
	var loading sync.WaitGroup
	loading.Go(func() {
		c := l.s.Client()
		for {
			c.Publish(l.t, event(unique("event"), l.typ, "1"))
			var batch []string
			for range 4 {
				batch = append(batch, event(unique("event"), l.typ, "1"))
			}
			c.PublishBatch(l.t, "["+strings.Join(batch, ",")+"]")
			l.n += 5
			select {
			case <-done:
				return
			default:
			}
		}
	})
	do()
	close(done)
	loading.Wait()
}

// await waits until so many more have come than now.
func (l *loader) await(sink *sinktest.Sink, more int) { sink.Wait("/", len(sink.Got("/"))+more) }

// TestKillWhileAlone: a process that was alone with its broker and is killed sends nothing again but what was in flight.
func TestKillWhileAlone(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	sink, name := sinktest.New(t), unique("killed")
	answer := make(chan struct{})
	hangs := unique("hangs")
	sink.OnFunc("/", func(r *sinktest.Request) sinktest.Answer {
		if eventID(r.Body) == hangs {
			return sinktest.Answer{Until: answer}
		}
		return sinktest.Answer{}
	})
	c := s.Client()
	c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q}`, name, sink.URL("/")))
	c.Publish(t, event(hangs, name, "1"))
	sink.WaitOpen("/", 1)
	var last fleettest.Receipt
	const n = 100
	for range n {
		last = c.Publish(t, event(unique("event"), name, "1"))
	}
	sink.WaitAnswered("/", n)
	c.AwaitDelivery(t, last.Sequence, "delivered")
	s.Kill()
	close(answer)
	s.Start(t)
	l := &loader{t: t, s: s, typ: name}
	l.while(func() { l.await(sink, 20) })
	times := map[string]int{}
	for _, r := range sink.Wait("/", n+2+l.n) {
		times[eventID(r.Body)]++
	}
	for id, came := range times {
		if came != 1 && id != hangs {
			t.Errorf("%s came %d times", id, came)
		}
	}
	if times[hangs] != 2 || len(times) != n+1+l.n {
		t.Errorf("what was in flight came %d times; %d events came, of %d", times[hangs], len(times), n+1+l.n)
	}
}
