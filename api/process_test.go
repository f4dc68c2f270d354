package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	public := func(path string) *reply { return b.do(request{method: "GET", path: path, key: noKey}) }
	if r := public("/healthz").want(http.StatusOK); r.at("status") != "ok" {
		t.Errorf("%s", r.body)
	}
	if r := public("/readyz").want(http.StatusOK); r.at("ready") != "true" || r.at("problems") != "[]" {
		t.Errorf("%s", r.body)
	}
	b.problems = []string{"no worker lives"}
	r := public("/readyz").want(http.StatusServiceUnavailable)
	if r.at("ready") != "false" || !strings.Contains(string(r.body), `{"name":"worker","detail":"no worker lives"}`) {
		t.Errorf("%s", r.body)
	}
	public("/healthz").want(http.StatusOK)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.retry(b.first(b.publish("1", "acme", "t"), "s"))
	b.hold(b.first(b.publish("2", "acme", "t"), "s"))
	b.get("/v1/nothing")
	text := string(b.do(request{method: "GET", path: "/metrics", key: noKey}).want(http.StatusOK).body)
	for _, want := range []string{
		`hookfleet_backlog{state="pending"} 2`, `hookfleet_backlog{state="retrying"} 1`, `hookfleet_backlog{state="held"} 1`,
		`hookfleet_oldest_undelivered_seconds `, `hookfleet_storage_used_ratio 0.25`,
		`hookfleet_api_requests_total{route="publish",status="202"} 2`, `hookfleet_api_requests_total{route="other",status="404"} 1`,
		`hookfleet_api_request_seconds_count{route="publish"} 2`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "hookfleet_oldest_undelivered_seconds "); ok && (strings.TrimSpace(value) == "0" || strings.HasPrefix(value, "-")) {
			t.Errorf("two events wait, and the oldest is of %s s", value)
		}
	}
}

// TestBrokerAway: what needs the broker is refused for now, what does not works on.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	srv := natstest.Server(t, t.TempDir())
	nc, js := natstest.Connect(t, srv)
	b := setupOn(t, nc, js)
	b.subscribe("s", "acme")
	natstest.Stop(srv)
	for _, path := range []string{"/v1/subscriptions/s"} {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+b.operator)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		cancel()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	b.get("/healthz").want(http.StatusOK)
	b.get("/v1/keys").want(http.StatusOK)
	b.get("/openapi.json").want(http.StatusOK)
}

// TestDrain: requests in flight are answered when the API is told to stop.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := api.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	second := b.again(cfg)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	await(t, second.Listening())
	conn, err := net.Dial("tcp", second.Addr().String())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(soon)))
	_, err = fmt.Fprintf(conn, "POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 19\r\n\r\n", b.operator)
	must(t, err)
	const taken = "HTTP/1.1 100 Continue\r\n\r\n" // once the body is asked for
	_, err = io.ReadFull(conn, make([]byte, len(taken)))
	must(t, err)
	_, err = conn.Write([]byte(`{"role":`))
	must(t, err)
	stop()
	natstest.Eventually(t, soon, func() bool { // it takes no new connection
		c, err := net.Dial("tcp", second.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	_, err = conn.Write([]byte(`"operator"}`))
	must(t, err)
	answer := make([]byte, 15)
	_, err = conn.Read(answer)
	must(t, err)
	if got := string(answer); !strings.HasPrefix(got, "HTTP/1.1 201") {
		t.Errorf("the request in flight: %q", got)
	}
	conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
}

// TestConnectionsAreBounded: what is beyond the bound waits until another ends.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := api.DefaultConfig()
	cfg.Listen, cfg.MaxConnections = "127.0.0.1:0", 2
	second := b.again(cfg)
	b.run("second api", second.Run)
	await(t, second.Listening())
	at := second.Addr().String()
	ask := func(c net.Conn, patience time.Duration) bool {
		t.Helper()
		must(t, c.SetDeadline(time.Now().Add(patience)))
		_, err := c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
		must(t, err)
		_, err = c.Read(make([]byte, 12))
		return err == nil
	}
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", at)
		must(t, err)
		defer c.Close()
		conns = append(conns, c)
	}
	if !ask(conns[0], soon) || !ask(conns[1], soon) {
		t.Fatal("within the bound")
	}
	if ask(conns[2], 200*time.Millisecond) {
		t.Error("a third connection was served beside two")
	}
	conns[0].Close()
	must(t, conns[2].SetDeadline(time.Now().Add(soon)))
	if _, err := conns[2].Read(make([]byte, 12)); err != nil {
		t.Errorf("when another had ended: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if err := api.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := api.Config{Listen: "nowhere"}.Validate()
	if err == nil || !strings.Contains(err.Error(), "api.listen") || !strings.Contains(err.Error(), "connections") {
		t.Errorf("not all faults: %v", err)
	}
}
