package worker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestKeeper: a message is in hand once, and kept alive until it is let go of.
func TestKeeper(t *testing.T) {
	t.Parallel()
	k := newKeeper(nil)
	a, b := k.add("EVENTS", 1, "a"), k.add("RETRIES", 1, "b")
	if a == nil || b == nil {
		t.Fatal("a message of its own is refused")
	}
	if k.add("EVENTS", 1, "a again") != nil {
		t.Error("a message is in hand twice")
	}
	soon := time.Now().Add(time.Second)
	if diff := cmp.Diff([]string{"a", "b"}, k.aged(soon)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	k.remove(a)
	again := k.add("EVENTS", 1, "a again")
	if again == nil {
		t.Fatal("a message that was let go of is refused")
	}
	if diff := cmp.Diff([]string{"b", "a again"}, k.aged(soon)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	k.remove(again)
	k.remove(b)
	if len(k.inHand) != 0 || k.aged(soon) != nil {
		t.Errorf("still in hand: %v", k.inHand)
	}
}
