package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Garbage of a process that has little to do. At Go's own 100 a heap grows to twice of what lives before it is collected, so
// that what an idle subscription costs, it costs twice. To collect sooner costs as much more as is allocated: while that is
// little, nothing.
const (
	busyGarbage = 100     // percent of what lives
	idleGarbage = 40      // percent of what lives
	idleRate    = 4 << 20 // bytes allocated a second, below which a process is idle: some hundred deliveries
	idleLook    = time.Second
	idleRest    = 5 // looks after which what more was needed before is given back to the system, which it is slowly otherwise
)

// thrift collects garbage sooner while the process is idle, until ctx ends. Who sets GOGC decides that himself.
func thrift(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	defer debug.SetGCPercent(debug.SetGCPercent(busyGarbage))
	tick := time.NewTicker(idleLook)
	defer tick.Stop()
	allocated, percent, idle := allocatedBytes(), busyGarbage, 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := allocatedBytes()
		if want := garbageFor(now - allocated); want != percent {
			debug.SetGCPercent(want)
			percent, idle = want, 0
		}
		allocated = now
		if idle++; idle == idleRest && percent == idleGarbage {
			debug.FreeOSMemory()
		}
	}
}

// garbageFor is how much garbage there may be, in percent of what lives, when so many bytes were allocated in an idleLook.
func garbageFor(allocated uint64) int {
	if allocated < idleRate*uint64(idleLook/time.Second) {
		return idleGarbage
	}
	return busyGarbage
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
