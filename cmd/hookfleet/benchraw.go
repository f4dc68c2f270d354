package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream/embedded"
)

// rawConns is how many connections the raw POST loop has, which is the unit of the ratios.
const rawConns = 64

// rawPublishes bounds what the raw publish loop has in flight, and so what it keeps in memory.
const rawPublishes = 4096

// rawLimits measures what the machine gives without a fleet.
func (b *bench) rawLimits(ctx context.Context) error {
	for _, conns := range []int{rawConns, 4 * rawConns} {
		r, err := b.rawPost(ctx, conns)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("POST loop, %d connections", conns)
		b.report.add(what, r.rate, "/s", noGoal)
		b.report.add(what+", client CPU", r.client, "µs", noGoal)
		b.report.add(what+", sink CPU", r.sink, "µs", noGoal)
	}
	rate, cpu, err := b.rawPublish(ctx)
	if err != nil {
		return err
	}
	b.report.add("JetStream publish loop", rate, "/s", noGoal)
	b.report.add("JetStream publish loop, client and server CPU", cpu, "µs", noGoal)
	return nil
}

// rawRate is what a raw loop did: requests a second, CPU microseconds a request, and those with what lay idle meanwhile.
type rawRate struct{ rate, client, sink, had float64 }

// rawPost posts events to the sink as fast as net/http lets one.
func (b *bench) rawPost(ctx context.Context, conns int) (rawRate, error) {
	s := &benchStage{bench: b, run: "rawposts"}
	if err := b.sink.begin(ctx, s.run, b.scale.events, 1); err != nil {
		return rawRate{}, err
	}
	load := &benchLoad{
		url: b.sink.hook(0), conns: conns, run: s.run, types: []string{"raw"}, limit: b.scale.events, lasting: b.scale.raw, raw: true,
	}
	sink, self := usageOf(b.sink.pid()).cpu, selfCPU()
	_, idle := machineTimes()
	ledger, err := load.send(ctx)
	if err != nil {
		return rawRate{}, fmt.Errorf("raw POST loop: %w", err)
	}
	_, idleThen := machineTimes()
	n := float64(ledger.accepted())
	r := rawRate{
		rate:   n / load.ended.Sub(load.started).Seconds(),
		client: micros(selfCPU()-self) / n, sink: micros(usageOf(b.sink.pid()).cpu-sink) / n,
	}
	r.had = r.client + r.sink + micros(idleThen-idle)/n
	return r, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// rawPublish publishes messages of an event's size to a JetStream server in our process, with files and without syncs.
func (b *bench) rawPublish(ctx context.Context) (rate, cpu float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "hookfleet-bench-")
	if err != nil {
		return 0, 0, fmt.Errorf("make a directory for the store: %w", err)
	}
	defer os.RemoveAll(dir)
	broker, err := embedded.New(embedded.Config{Dir: dir, Sync: embedded.SyncInterval}, zerolog.Nop())
	if err != nil {
		return 0, 0, err
	}
	running, end := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer end()
	ended := make(chan error, 1)
	wait.Go(func() { ended <- broker.Run(running) })
	select {
	case <-broker.Ready():
	case err := <-ended:
		return 0, 0, err
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	nc, err := broker.Connect()
	if err != nil {
		return 0, 0, err
	}
	defer nc.Close()
	return publishLoop(ctx, nc, b.scale.raw)
}

func publishLoop(ctx context.Context, nc *nats.Conn, lasting time.Duration) (rate, cpu float64, err error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(rawPublishes))
	if err != nil {
		return 0, 0, fmt.Errorf("raw publish loop: %w", err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw"}}); err != nil {
		return 0, 0, fmt.Errorf("raw publish loop: %w", err)
	}
	body := make([]byte, benchEventBytes)
	n, self, start := 0, selfCPU(), time.Now()
	for ; time.Since(start) < lasting; n++ {
		if _, err := js.PublishAsync("raw", body, jetstream.WithStallWait(time.Minute)); err != nil {
			return 0, 0, fmt.Errorf("raw publish loop: %w", err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	return float64(n) / time.Since(start).Seconds(), micros(selfCPU()-self) / float64(n), nil
}
