package fleettest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports for processes that are restarted come from below the system's range for outgoing connections (32768 and up):
// from there, a connection of the test itself could take the port while its process is down.
const (
	firstPort = 12000
	lastPort  = 31999
)

// FreeAddress is a host:port that nobody listens at now, and that no outgoing connection will take.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort+1))
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no free port")
	return ""
}
