package main

import (
	"context"
	"math"
	"runtime/debug"
	"testing"
	"time"
)

// TestThrift: garbage is collected sooner while little is allocated, and where the heap would become large, and Go's own
// setting is left behind.
func TestThrift(t *testing.T) {
	for _, tt := range []struct {
		allocated, live uint64
		want            int
	}{
		{0, 0, idleGarbage},
		{idleRate - 1, 1 << 30, idleGarbage},
		{idleRate, 0, goGarbage},
		{fullRate - 1, busyHeap / 4, goGarbage},
		{fullRate, busyHeap / 4, mostGarbage},
		{1 << 40, busyHeap / 2, goGarbage},
		{1 << 40, busyHeap * 2 / 3, 50},
		{1 << 40, busyHeap - 1, leastGarbage},
		{fullRate - 1, busyHeap * 2, leastGarbage},
		{fullRate, busyHeap, leastGarbage},
		{fullRate, busyHeap * 3 / 2, (leastGarbage + muchGarbage) / 2},
		{fullRate, busyHeap * 2, muchGarbage},
		{1 << 40, 1 << 40, muchGarbage},
	} {
		if got := garbageFor(tt.allocated, tt.live); got != tt.want {
			t.Errorf("%d bytes a second, %d live: %d percent, want %d", tt.allocated, tt.live, got, tt.want)
		}
	}
	for _, tt := range []struct {
		allocated, live, stacks uint64
		want                    int64
	}{
		{0, 0, 0, busyMemory},
		{1 << 40, busyHeap * 3 / 4, 0, busyMemory},
		{1 << 40, busyHeap, 0, besideHeap + busyHeap*13/10},
		{0, 1 << 40, 0, besideHeap + 1<<40/10*13},
		{fullRate, 1 << 40, 0, besideHeap + 1<<40/10*16},
		{0, 20 << 20, 100 << 20, busyMemory},
		{0, 20 << 20, 256 << 20, 26<<20 + 256<<20 + besideHeap/2}, // with less it was collected without end
	} {
		if got := memoryFor(tt.allocated, tt.live, heap{live: tt.live, stacks: tt.stacks}); got < tt.want-1000 || got > tt.want+1000 {
			t.Errorf("%d live, %d of stacks: %d bytes in all, want %d", tt.live, tt.stacks, got, tt.want)
		}
	}
	if got := memoryFor(0, 20<<20, heap{live: 100 << 20}); got != math.MaxInt64 { // or a start with many subscriptions takes twice as long
		t.Errorf("while the heap grows: %d bytes in all", got)
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetGCPercent(70)
	defer debug.SetGCPercent(before)
	limit := debug.SetMemoryLimit(1 << 40)
	defer debug.SetMemoryLimit(limit)
	ctx, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := thrift(ctx); err != nil {
		t.Error(err)
	}
	if got := debug.SetGCPercent(70); got != 70 {
		t.Errorf("left %d percent behind", got)
	}
	if got := debug.SetMemoryLimit(-1); got != 1<<40 {
		t.Errorf("left a limit of %d bytes behind", got)
	}
}
