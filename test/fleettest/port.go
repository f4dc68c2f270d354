package fleettest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports for processes that are restarted come from below the system's range for outgoing connections (32768 and up):
// from there, a connection of the test itself could take the port while its process is down.
const (
	firstPort = 12000
	lastPort  = 31999
	// portBlock is how many ports are one test process's: others run beside it, and must not take the port of a process that is
	// about to start. e2e, which needs most, takes some two hundred.
	portBlock = 1000
)

// ports are those of this test process.
var ports struct {
	mu    sync.Mutex
	claim net.Listener // on the block's first port, for as long as the process lives
	block int          // its first port
	next  int          // counts the ports that were given
}

// FreeAddress is a host:port that nobody listens at now, and that no outgoing connection and no other test will take.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.claim == nil {
		claimPorts(t)
	}
	for range portBlock {
		ports.next = ports.next%(portBlock-1) + 1
		l, address, err := listenAt(t, ports.block+ports.next)
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

// claimPorts finds a block that is nobody's. The caller holds mu.
func claimPorts(t testing.TB) {
	t.Helper()
	for _, i := range rand.Perm((lastPort - firstPort + 1) / portBlock) {
		var err error
		if ports.claim, _, err = listenAt(t, firstPort+i*portBlock); err == nil {
			ports.block = firstPort + i*portBlock
			return
		}
		ports.claim = nil
	}
	t.Fatal("no free block of ports")
}

func listenAt(t testing.TB, port int) (net.Listener, string, error) {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	return l, address, err
}
