package worker

import (
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// TestLeaving: a worker that leaves owns no sink, and keeps its part of the limits until it is gone.
func TestLeaving(t *testing.T) {
	t.Parallel()
	all := []string{"w-a", "w-b", "w-c"}
	for _, c := range []struct {
		name    string
		leaving string // "" = nobody
		gone    bool
		owners  int // how many workers have sinks
		parts   int // into which a limit is divided
	}{
		{"all stay", "", false, 3, 3},
		{"one leaves", "w-b", false, 2, 3},
		{"one is gone", "w-b", true, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var fleets []*fleet
			for _, id := range all {
				f := newFleet(nil, nil, zerolog.Nop(), id)
				seen := map[string]stream.Heartbeat{}
				for _, other := range all {
					if other != c.leaving || !c.gone {
						seen[other] = stream.Heartbeat{Leaving: other == c.leaving}
					}
				}
				f.set(seen)
				if id != c.leaving || !c.gone {
					fleets = append(fleets, f)
				}
			}
			owners := map[string]bool{}
			for i := range 200 {
				id, owned, limit := fmt.Sprintf("sub-%d", i), 0, 0
				for _, f := range fleets {
					if f.owns(id) {
						owned++
						owners[f.id] = true
					}
					rank, n := f.rank(id)
					if n != c.parts {
						t.Fatalf("a limit has %d parts, not %d", n, c.parts)
					}
					limit += share(64, rank, n)
				}
				if owned != 1 || limit != 64 {
					t.Fatalf("%s: %d owners, together %d of the limit", id, owned, limit)
				}
			}
			if len(owners) != c.owners || owners[c.leaving] {
				t.Errorf("owners are %v", owners)
			}
		})
	}
}
