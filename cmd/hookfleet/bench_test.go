package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events"
)

func TestBenchEventsAreEvents(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 100} {
		b := newBenchBatch("abcdefgh", "hookfleet.bench.x", size)
		b.number(1234567890)
		evts, batch, err := events.ParseHTTP(http.Header{"Content-Type": {b.kind}}, b.body)
		if err != nil || batch != (size > 1) || len(evts) != size {
			t.Fatalf("batch of %d: %d events, batch %v, %v", size, len(evts), batch, err)
		}
		for i, e := range evts {
			text := e.AppendStructured(nil)
			n, ok := benchNumberOf(text, "abcdefgh")
			if len(text) != benchEventBytes || !ok || n != 1234567890+i || e.ID() != fmt.Sprintf("abcdefgh-%010d", n) {
				t.Errorf("event %d of %d: %d bytes, number %d, %v, id %s", i, size, len(text), n, ok, e.ID())
			}
		}
	}
}

func TestBenchNumberOfOthers(t *testing.T) {
	t.Parallel()
	ours := string(newBenchEvent("abcdefgh", "x").text)
	for _, text := range []string{
		"", "{}", ours[:40], strings.Replace(ours, "abcdefgh", "abcdefgi", 1), strings.Replace(ours, "-0000", "-00x0", 1),
		`{"specversion":"1.0","id":"a"}`,
	} {
		if n, ok := benchNumberOf([]byte(text), "abcdefgh"); ok {
			t.Errorf("%.60s is number %d", text, n)
		}
	}
}

// post sends event n to a hook of the sink and gives the answer.
func post(t *testing.T, s *benchSink, hook, n int, header http.Header) *http.Response {
	t.Helper()
	b := newBenchBatch("abcdefgh", "x", 1)
	b.number(n)
	r := httptest.NewRequest(http.MethodPost, fmt.Sprint(benchHookPath, hook), bytes.NewReader(b.body))
	r.Header = header
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func control(t *testing.T, s *benchSink, path string, question any) []byte {
	t.Helper()
	text, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(text)))
	if w.Code/100 != 2 {
		t.Fatal(path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func TestBenchSinkCounts(t *testing.T) {
	t.Parallel()
	s := &benchSink{}
	s.begin(benchRun{})
	start := time.Now().UnixNano()
	control(t, s, benchRunPath, benchRun{Run: "abcdefgh", Slots: 6, Fan: 2})
	control(t, s, benchAnswersPath, []benchAnswer{{}, {Fail: 1, RetryAfter: "soon"}})
	signed := http.Header{"Webhook-Signature": {"v1,x"}}
	for i, c := range []struct {
		hook, n, status int
		header          http.Header
	}{
		{0, 0, 204, signed}, {1, 0, 500, signed}, {1, 0, 204, signed}, {0, 2, 204, http.Header{}}, {0, 3, 204, signed},
	} {
		r := post(t, s, c.hook, c.n, c.header)
		if r.StatusCode != c.status || c.status == 500 && r.Header.Get("Retry-After") != "soon" {
			t.Errorf("request %d: %s", i, r.Status)
		}
	}
	var counts benchCounts
	if err := json.Unmarshal(control(t, s, benchCountsPath, nil), &counts); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(benchCounts{Arrived: 3, Taken: 4, Requests: 4, Unsigned: 1, Foreign: 1}, counts); diff != "" {
		t.Error(diff)
	}
	arrivals := decodeArrivals(control(t, s, benchArrivalsPath, nil))
	var times []int
	for i, a := range arrivals {
		times = append(times, a.times)
		if seen := a.times > 0; seen != (a.first >= start) || a.last < a.first {
			t.Errorf("arrival %d: %+v", i, a)
		}
	}
	if diff := cmp.Diff([]int{1, 2, 0, 0, 1, 0}, times); diff != "" {
		t.Error(diff)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/control/other", nil))
	if w.Code != http.StatusBadRequest {
		t.Error("unknown question:", w.Code)
	}
}

// A load sends each event once, whatever its connections and batches, and what is refused again.
func TestBenchLoad(t *testing.T) {
	t.Parallel()
	s := &benchSink{}
	s.begin(benchRun{Run: "abcdefgh", Slots: 100, Fan: 1})
	refused := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case refused <- struct{}{}:
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		default:
		}
		if r.Header.Get("Authorization") != "Bearer k" {
			t.Error("no key")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		evts, _, err := events.ParseHTTP(r.Header, body)
		if err != nil {
			t.Error(err)
		}
		for _, e := range evts {
			s.tally.Load().count(e.AppendStructured(nil), 0, true)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	for _, batch := range []int{1, 7} {
		s.begin(benchRun{Run: "abcdefgh", Slots: 100, Fan: 1})
		load := &benchLoad{
			url: server.URL, key: secret.New("k"), conns: 3, batch: batch, run: "abcdefgh", types: []string{"a", "b"}, limit: 100,
			backlog: 1000, arrived: func() int { return 0 },
		}
		ledger, err := load.send(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := 100 / batch * batch
		if got := ledger.accepted(); got != want {
			t.Errorf("batches of %d: %d accepted", batch, got)
		}
		for i, a := range decodeArrivals(s.tally.Load().encode()) {
			if sent := i < want; sent != (a.times == 1) || sent && (ledger.answered[i] < a.first || ledger.sent[i] > a.first) {
				t.Errorf("batches of %d: event %d: %+v, sent %d, answered %d", batch, i, a, ledger.sent[i], ledger.answered[i])
			}
		}
	}
}

func TestBenchLoadGivesUp(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("/", http.StatusForbidden, `{"code":"forbidden"}`)
	load := &benchLoad{url: f.URL, conns: 60, run: "abcdefgh", types: []string{"a"}, limit: 1000}
	if _, err := load.send(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
}

// What accepts as the fleet does is read by us, everything else by net/http; either way, no byte more than the answer.
func TestBenchReadsAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		want   string // of the error
	}{
		"accepted":       {"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", ""},
		"without a body": {"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", ""},
		"in chunks":      {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", ""},
		"refused":        {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull", "full"},
		"cut":            {"HTTP/1.1 202 Accepted\r\nContent-Length: 99999\r\n\r\n{}", "EOF"},
		"none":           {"", "EOF"},
	} {
		c1 := &leanConn{in: bufio.NewReader(iotest.OneByteReader(strings.NewReader(c.answer)))}
		c2 := &leanConn{in: bufio.NewReader(strings.NewReader(c.answer))}
		for _, conn := range []*leanConn{c1, c2} {
			err := conn.answer()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v", name, err)
			}
			if left := conn.in.Buffered(); left > 0 {
				t.Errorf("%s: %d bytes are left", name, left)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		of   []time.Duration
		q    float64
		want float64
	}{
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred, 0, 1}, {hundred[:1], 0.5, 1}, {hundred[:2], 0.5, 1},
	} {
		if got := quantile(c.of, c.q); got != c.want {
			t.Errorf("%v of %d: %v, want %v", c.q, len(c.of), got, c.want)
		}
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		g    goal
		v    float64
		want string
	}{
		{goalSingle, 0.4, "aim"}, {goalSingle, 0.35, "aim"}, {goalSingle, 0.3, "required"}, {goalSingle, 0.1, "short"},
		{goalCPU, 60, "aim"}, {goalCPU, 100, "required"}, {goalCPU, 120.1, "short"}, {noGoal, 5, ""},
	} {
		if got := c.g.verdict(c.v); got != c.want {
			t.Errorf("%v of %+v: %q, want %q", c.v, c.g, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := newReport(io.Discard)
	r.scenario, r.Version, r.Go, r.System, r.Cores, r.SyncMS = "single", "v1", "go1", "os/arch", 2, 0.25
	r.add("rate", 12345.6, "deliveries/s", noGoal)
	r.add("ratio", 0.2345, "ratio", goalSingle)
	r.add("CPU", 99.94, "µs", goalCPU)
	r.add("nothing", math.NaN(), "", goalCPU)
	r.note("%d cores", 2)
	var text strings.Builder
	if err := r.writeTable(&text); err != nil {
		t.Fatal(err)
	}
	want := `hookfleet v1, go1 os/arch, 2 cores, one write and sync 0.250 ms; events of 1024 bytes, goals for 2 cores

SCENARIO  FIGURE  VALUE  UNIT          REQUIRED  AIM       MEETS
single    rate    12346  deliveries/s  -         -         -
single    ratio   0.234  ratio         >= 0.220  >= 0.350  required
single    CPU     99.9   µs            <= 120    <= 70     required

note: single: 2 cores
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
	text.Reset()
	if err := r.writeJSON(&text); err != nil {
		t.Fatal(err)
	}
	var back benchReport
	if err := json.Unmarshal([]byte(text.String()), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Figures, back.Figures); diff != "" {
		t.Error(diff)
	}
}

func TestUsageIsRead(t *testing.T) {
	t.Parallel()
	stat := "4711 (hook) fleet) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 100 1 2 3"
	if got := cpuOf(stat); got != 3*time.Second {
		t.Error("CPU:", got)
	}
	status := "Name:\thookfleet\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n"
	if peak, rss := memoryOf(status, "VmHWM"), memoryOf(status, "VmRSS"); peak != 200<<20 || rss != 100<<20 {
		t.Error("memory:", peak, rss)
	}
	if busy, idle := timesOf([]byte("cpu  100 20 30 1000 500 1 2 47 0 0\ncpu0 1\n")); busy != 2*time.Second || idle != 15*time.Second {
		t.Error("machine:", busy, idle)
	}
	if busy, idle := timesOf(nil); busy != 0 || idle != 0 || cpuOf("") != 0 || memoryOf("", "VmRSS") != 0 {
		t.Error("nothing to read is not nothing used")
	}
}

func TestReadyLine(t *testing.T) {
	t.Parallel()
	f := &benchFleet{}
	if f.readReady("panic: no\n") {
		t.Error("a panic is no ready line")
	}
	line := "hookfleet is ready: roles api+worker, api http://127.0.0.1:81, nats nats://127.0.0.1:82, " +
		"operator key in /tmp/operator.key, pprof http://127.0.0.1:83\n"
	if !f.readReady(line) || f.api != "http://127.0.0.1:81" || f.nats != "nats://127.0.0.1:82" || f.pprof != "http://127.0.0.1:83" {
		t.Errorf("%+v", f)
	}
	got := plainEnvironment([]string{"PATH=/bin", "HOOKFLEET_DATA=x", "HOME=/"})
	if diff := cmp.Diff([]string{"PATH=/bin", "HOME=/"}, got); diff != "" {
		t.Error(diff)
	}
}

// The bench sends its load to this machine only.
func TestBenchStaysHome(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://localhost:8080": true, "http://[::1]:8080": true, "http://192.0.2.1:8080": false,
		"https://fleet.example": false, "": false,
	} {
		if _, err := url.Parse(text); err != nil || isLoopback(text) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	for name, args := range map[string][]string{
		"elsewhere": {"--url", "http://192.0.2.1:8080"}, "no such scenario": {"--scenario", "raw,speed"}, "format": {"-o", "xml"},
		"too long": {"--duration", "2h"}, "too many": {"--events", "-1"},
	} {
		if r := cli(t, "", append([]string{"bench"}, args...)...); r.code != exitUsage {
			t.Errorf("%s: exit code %d: %s", name, r.code, r.stderr)
		}
	}
}
