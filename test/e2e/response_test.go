package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

func contains(s, substr string) bool { return strings.Contains(s, substr) }

// responseTable is the table of API.md 3.4, row by row.
var responseTable = []struct {
	statuses       []int
	header         map[string]string
	outcome        string // of the first attempt
	reason         string
	deadLetter     string // "" = it is tried again, and delivered then
	subscriptionIs string // state after the first attempt; "" = active
}{
	{statuses: []int{200, 201, 202, 204, 206, 299}, outcome: "delivered"},
	{statuses: []int{300, 301, 302, 303, 304, 307, 308}, header: map[string]string{"Location": "/elsewhere"}, outcome: "retry", reason: "redirect"},
	{statuses: []int{400, 405, 406, 413, 415, 422, 431, 501, 505}, outcome: "dead", reason: "rejected", deadLetter: "rejected"},
	{statuses: []int{401, 403}, outcome: "retry", reason: "unauthorized"},
	{statuses: []int{402, 404, 408, 409, 418, 425, 451, 499}, outcome: "retry", reason: "client_error"},
	{statuses: []int{410}, outcome: "dead", reason: "gone", deadLetter: "gone", subscriptionIs: "disabled"},
	{statuses: []int{429}, outcome: "retry", reason: "throttled"},
	{statuses: []int{429, 503}, header: map[string]string{"Retry-After": "1"}, outcome: "retry", reason: "throttled"},
	{statuses: []int{500, 502, 503, 504, 507, 599}, outcome: "retry", reason: "server_error"},
}

// testResponses: each status does what the table says.
func testResponses(t *testing.T, s *fleettest.Server) {
	for _, row := range responseTable {
		for _, status := range row.statuses {
			t.Run(fmt.Sprintf("%d%v", status, row.header), func(t *testing.T) {
				t.Parallel()
				f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"100ms"}`, sinktest.Answer{Status: status, Header: row.header}, sinktest.Answer{})
				r := f.publish()
				state := "delivered"
				if row.deadLetter != "" {
					state = "dead"
				}
				d := f.await(r, state)
				first := d.Attempts[0]
				if first.Outcome != row.outcome || first.Reason != row.reason || first.Status != status {
					t.Errorf("attempt %+v, want %s %s", first, row.outcome, row.reason)
				}
				if d.Reason != row.deadLetter {
					t.Errorf("delivery ended with reason %q, want %q", d.Reason, row.deadLetter)
				}
				if n := len(d.Attempts); row.outcome == "retry" && n != 2 || row.outcome != "retry" && n != 1 {
					t.Errorf("%d attempts", n)
				}
				if n := len(f.sink.Got("/elsewhere")); n != 0 {
					t.Errorf("the redirect was followed %d times", n)
				}
				if row.subscriptionIs != "" {
					f.client.AwaitState(t, f.name, row.subscriptionIs)
				}
			})
		}
	}
}

// testNetwork: what goes wrong before there is a status has a reason of its own.
func testNetwork(t *testing.T, s *fleettest.Server) {
	closed := sinktest.Listen(t)
	refused := "http://" + closed.Addr().String() + "/"
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	hangs, cuts := sinktest.New(t), sinktest.New(t)
	hangs.On("/", sinktest.Answer{Until: make(chan struct{})})
	cuts.On("/", sinktest.Answer{Cut: true})
	garbage := sinktest.Raw(t, func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body) // with bytes unread, closing would reset the connection
		}
		_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n\r\n"))
	})
	for reason, sink := range map[string]string{
		"refused": refused, "timeout": hangs.URL("/"), "reset": cuts.URL("/"), "protocol": garbage,
		"dns": "http://sink.invalid/", "tls": "https://" + strings.TrimPrefix(cuts.URL("/"), "http://"),
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			c, name, timeout := s.Client(), unique("network"), "30s" // on a loaded machine all else may take long as well
			if reason == "timeout" {
				timeout = "500ms"
			}
			c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"timeout":%q,"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}}}`, name, sink, timeout))
			d := c.AwaitDelivery(t, c.Publish(t, event(unique("event"), name, `1`)).Sequence, "dead")
			for _, a := range d.Attempts {
				if a.Reason != reason || a.Status != 0 {
					t.Errorf("attempt %+v, want reason %s", a, reason)
				}
			}
			if len(d.Attempts) != 2 || d.Reason != "exhausted" {
				t.Errorf("delivery %+v", d)
			}
		})
	}
}

// TestBlocked: an address that was allowed when the subscription was made, and is not when it is dialled, gets nothing.
func TestBlocked(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`)
	s.MustStop(t)
	s.Deny("127.0.0.0/8")
	s.Start(t)
	d := f.await(f.publish(), "dead")
	if a := d.Attempts[0]; a.Reason != "blocked" || a.Outcome != "retry" {
		t.Errorf("attempt %+v, want reason blocked", a)
	}
	if n := len(f.sink.Got(f.path)); n != 0 {
		t.Errorf("%d requests reached a denied address", n)
	}
	f.client.Do(t, http.MethodPut, "/v1/subscriptions/"+f.name, `{"sink":"`+f.sink.URL("/")+`"}`).
		Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
}
