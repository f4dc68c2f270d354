package embedded

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// TestHeldBytesAreBounded: who writes more than may wait goes on when the connection is closed, or what waits is given away.
func TestHeldBytesAreBounded(t *testing.T) {
	t.Parallel()
	for name, free := range map[string]func(*innerConn){
		"closed": func(c *innerConn) { _ = c.Close() },
		"given":  func(c *innerConn) { _ = c.Conn.Close(); c.give() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			c := &innerConn{Conn: client, over: make(chan struct{})}
			c.hold()
			much := bytes.Repeat([]byte("x"), mostHeld+1)
			if n, err := c.Write(much); n != len(much) || err != nil {
				t.Fatal(n, err)
			}
			written := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte("y"))
				written <- err
			}()
			select {
			case err := <-written:
				t.Errorf("more was written: %v", err)
			case <-time.After(10 * time.Millisecond):
			}
			free(c)
			<-written
		})
	}
}
