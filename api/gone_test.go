package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestCutRequestIsNotTold200: who ends its half of the connection within a body is not told that all went well.
func TestCutRequestIsNotTold200(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, rest := range map[string]string{"chunked": "Transfer-Encoding: chunked\r\n\r\n20\r\n{", "plain": "Content-Length: 32\r\n\r\n{"} {
		c, err := net.Dial("tcp", b.api.Addr().String())
		must(t, err)
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(soon)))
		_, err = fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/cloudevents+json\r\n%s", b.operator, rest)
		must(t, err)
		must(t, c.(*net.TCPConn).CloseWrite())
		if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			t.Errorf("%s: it is told %s", name, r.Status)
		}
	}
	natstest.Eventually(t, soon, func() bool {
		text := string(b.do(request{method: "GET", path: "/metrics", key: noKey}).want(http.StatusOK).body)
		return strings.Contains(text, `hookfleet_api_requests_total{route="publish",status="499"} 2`)
	})
}
