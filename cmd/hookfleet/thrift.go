package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage there may be before it is collected, in percent of what lives. At Go's own 100 a heap grows to twice of what
// lives. While little is allocated it costs nothing to collect sooner, and what an idle subscription costs, it would cost twice.
// At full rate what lives is mostly blocks of messages, in which there is nothing to look through, so that collecting sooner
// is cheap then, too: the heap is to stay within busyHeap, as long as that leaves some garbage.
const (
	goGarbage = 100 // Go's own
	// mostGarbage is at full rate while little lives: with goGarbage a delivery of a backlog costs 2 to 3 µs of 52 more (five runs each in turn).
	// Elsewhere it would cost memory: what a thousand lanes are made of lies scattered over a larger heap, and keeps 20 MiB more of it.
	mostGarbage = 250
	// leastGarbage is where as much lives as busyHeap: below, a heap of many subscriptions would be looked through all the time. At full rate
	// it rises to muchGarbage where twice as much lives: that is mostly the broker's ids of the last minutes, where other processes can store
	// events (decision 0028): 130 bytes and three objects each, of which a minute brings a million. With 1.3 million of them a delivery of a
	// batch costs 74 to 98 µs instead of 81 to 134, in 1,000 instead of 750 MiB; at 100 percent it was no less, in 1,250.
	leastGarbage = 30
	muchGarbage  = 60
	busyHeap     = 170 << 20 // of 300 MiB that a process may have at full rate: program, stacks and what is freed are beside it
	// busyMemory is what the Go runtime may hold in all while less than busyHeap lives: looks come each second, and a load that
	// begins between two of them, or needs much for a moment, is not to take more. The program itself is beside it, some 40 MiB.
	busyMemory  = 240 << 20
	besideHeap  = busyMemory - busyHeap // stacks, and what is freed but not given back
	fastGrowth  = 64 << 20              // within a heapLook; a load at full rate grows by 10 to 20 MiB
	idleGarbage = 60
	fullRate    = 128 << 20 // bytes allocated a second; some 6,000 deliveries
	idleRate    = 4 << 20   // bytes allocated a second, below which a process is idle: some hundred deliveries
	heapLook    = time.Second
	idleRest    = 5 // looks after which what more was needed before is given back to the system, which it is slowly otherwise
)

// thrift says how much garbage there may be, by what the process does, until ctx ends. Who sets GOGC or GOMEMLIMIT decides
// that himself.
func thrift(ctx context.Context) error {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		<-ctx.Done()
		return nil
	}
	defer debug.SetGCPercent(debug.SetGCPercent(goGarbage))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1)) // -1 only asks
	tick := time.NewTicker(heapLook)
	defer tick.Stop()
	before, percent, idle := lookAtHeap(), goGarbage, 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := lookAtHeap()
		rate := now.allocated - before.allocated
		if want := garbageFor(rate, now.live); want != percent {
			debug.SetGCPercent(want)
			percent = want
		}
		debug.SetMemoryLimit(memoryFor(rate, before.live, now))
		before = now
		if idle++; rate >= idleRate {
			idle = 0
		}
		if idle == idleRest {
			debug.FreeOSMemory()
		}
	}
}

// garbageFor is how much garbage there may be, in percent of what lives, when so many bytes were allocated in a heapLook.
func garbageFor(allocated, live uint64) int {
	switch {
	case allocated < idleRate*uint64(heapLook/time.Second):
		return idleGarbage
	case live >= busyHeap:
		return int(garbageBeyond(allocated, live))
	}
	most := uint64(goGarbage)
	if allocated >= fullRate*uint64(heapLook/time.Second) {
		most = mostGarbage
	}
	return int(min(max((busyHeap-live)*100/max(live, 1), leastGarbage), most))
}

// garbageBeyond is garbageFor where busyHeap lives, or more.
func garbageBeyond(allocated, live uint64) uint64 {
	if allocated < fullRate*uint64(heapLook/time.Second) || live < busyHeap {
		return leastGarbage
	}
	return min(leastGarbage+(live-busyHeap)*(muchGarbage-leastGarbage)/busyHeap, muchGarbage)
}

// memoryFor is what the runtime may hold, when so many bytes were allocated in a heapLook, and so many lived before it. It always leaves room
// for as much garbage as there may be where busyHeap lives, and for stacks: of thousands of connections and sends that hang these are more than the heap. There is no limit while what
// lives grows fast, as where a million subscriptions are loaded: a heap that does not fit would be collected without end.
func memoryFor(allocated, lived uint64, now heap) int64 {
	if now.live > lived+fastGrowth {
		return math.MaxInt64
	}
	return max(busyMemory, int64(now.live/100*(100+garbageBeyond(allocated, now.live)))+max(besideHeap, int64(now.stacks)+besideHeap/2))
}

// heap is what a process has allocated since it began, what of it was in use at the last collection, and its stacks, in bytes.
type heap struct{ allocated, live, stacks uint64 }

func lookAtHeap() heap {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample)
	return heap{sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()}
}
