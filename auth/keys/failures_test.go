package keys_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/auth/keys"
)

func TestFailuresLimitOneAddress(t *testing.T) {
	t.Parallel()
	f, now := keys.NewFailures(), time.Unix(1e9, 0)
	guesser, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	allowed := 0
	for range 10_000 {
		if _, ok := f.Allowed(guesser, now); ok {
			allowed++
			f.Failed(guesser, now)
		}
	}
	if allowed != 30 {
		t.Errorf("%d failures before the limit, want 30", allowed)
	}
	after, ok := f.Allowed(guesser, now)
	if ok || after <= 0 || after > 2*time.Minute {
		t.Errorf("retry after %v, %v", after, ok)
	}
	if _, ok := f.Allowed(other, now); !ok {
		t.Error("another address is limited too")
	}
	if _, ok := f.Allowed(guesser, now.Add(after)); !ok {
		t.Error("still limited after the time that was said")
	}
	if _, ok := f.Allowed(netip.MustParseAddr("::ffff:192.0.2.1"), now); ok {
		t.Error("the mapped spelling of an address is another")
	}
}

func TestFailuresByPrefixInIPv6(t *testing.T) {
	t.Parallel()
	f, now := keys.NewFailures(), time.Unix(1e9, 0)
	for i := range 30 {
		f.Failed(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: byte(i)}), now)
	}
	if _, ok := f.Allowed(netip.MustParseAddr("2001::ffff"), now); ok {
		t.Error("the same /64 is not limited")
	}
	if _, ok := f.Allowed(netip.MustParseAddr("2001:0:0:1::1"), now); !ok {
		t.Error("another /64 is limited")
	}
}

func TestFailuresAreBounded(t *testing.T) { // alone: it measures the heap
	f, now := keys.NewFailures(), time.Unix(1e9, 0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range uint32(200_000) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], i)
		f.Failed(netip.AddrFrom4(b), now)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("200,000 addresses hold %d KiB", grown>>10)
	}
	if _, ok := f.Allowed(netip.Addr{}, now); !ok {
		t.Error("no address at all is limited")
	}
	runtime.KeepAlive(f)
}
