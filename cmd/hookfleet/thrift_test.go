package main

import (
	"context"
	"runtime/debug"
	"testing"
	"time"
)

// TestThrift: garbage is collected sooner only while little is allocated, and Go's own setting is left behind.
func TestThrift(t *testing.T) {
	for allocated, want := range map[uint64]int{0: idleGarbage, idleRate - 1: idleGarbage, idleRate: busyGarbage, 1 << 40: busyGarbage} {
		if got := garbageFor(allocated); got != want {
			t.Errorf("%d bytes: %d percent, want %d", allocated, got, want)
		}
	}
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(70)
	defer debug.SetGCPercent(before)
	ctx, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := thrift(ctx); err != nil {
		t.Error(err)
	}
	if got := debug.SetGCPercent(70); got != 70 {
		t.Errorf("left %d percent behind", got)
	}
}
