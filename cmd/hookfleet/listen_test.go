package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/sign"
)

// listening is a receiver that runs.
type listening struct {
	url    string
	stdout *bufio.Scanner
	end    func() int // stops it and gives its exit code
}

func listen(t *testing.T, args ...string) *listening {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, stdoutW := io.Pipe()
	stderr, stderrW := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"listen", "--addr", "127.0.0.1:0"}, args...), strings.NewReader(""), stdoutW, stderrW)
		stdoutW.Close()
	}()
	t.Cleanup(func() {
		cancel()
		stdout.Close()
	})
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &listening{
		url: strings.TrimSpace(strings.TrimPrefix(line, "listening at ")), stdout: bufio.NewScanner(stdout),
		end: func() int { cancel(); return <-code },
	}
}

// post sends a webhook and gives the status of the answer.
func (l *listening) post(t *testing.T, body string, header map[string]string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+"/hook?x=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// signed are the headers of a webhook that is signed with key.
func signed(t *testing.T, key secret.Text, body string, at time.Time) map[string]string {
	t.Helper()
	k, err := sign.Parse(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"webhook-id": "msg_1", "webhook-timestamp": strconv.FormatInt(at.Unix(), 10),
		"webhook-signature": string(k.Sign(nil, "msg_1", at.Unix(), []byte(body))), "content-type": "application/cloudevents+json",
	}
}

func TestListenVerifies(t *testing.T) {
	t.Parallel()
	const body = "{\"type\": \"t\", \"data\": \"\x1b[31m\"}"
	key := sign.NewSecret()
	l := listen(t, "--secret", sign.NewSecret().Reveal(), "--secret", key.Reveal(), "--output", "json")
	cases := []struct {
		name      string
		header    map[string]string
		status    int
		signature string
	}{
		{"good", signed(t, key, body, time.Now()), 204, "ok"},
		{"other body", signed(t, key, body+" ", time.Now()), 401, ""},
		{"old", signed(t, key, body, time.Now().Add(-time.Hour)), 401, ""},
		{"other key", signed(t, sign.NewSecret(), body, time.Now()), 401, ""},
		{"unsigned", nil, 401, ""},
	}
	answered := make(chan int)
	go func() {
		for _, c := range cases {
			answered <- l.post(t, body, c.header).StatusCode
		}
	}()
	for _, c := range cases {
		if !l.stdout.Scan() {
			t.Fatal(l.stdout.Err())
		}
		var h hook
		if err := json.Unmarshal(l.stdout.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		if got := <-answered; got != c.status || h.Status != c.status {
			t.Errorf("%s: answered %d, printed %d, want %d", c.name, got, h.Status, c.status)
		}
		if h.Body != body || h.Method != "POST" || h.URL != "/hook?x=1" || c.signature == "" && h.Signature == "ok" || c.signature != "" && h.Signature != c.signature {
			t.Errorf("%s: printed %+v", c.name, h)
		}
	}
	if code := l.end(); code != exitOK {
		t.Error("exit code", code)
	}
}

// Statuses come in turn, the last one for all that follow; people see what matters, and no escape sequence.
func TestListenAnswers(t *testing.T) {
	t.Parallel()
	l := listen(t, "--status", "503,429,200", "--retry-after", "7")
	answers := make(chan string)
	go func() {
		for range 4 {
			resp := l.post(t, "\x1b[2Jhello", map[string]string{"webhook-id": "msg_1"})
			answers <- fmt.Sprint(resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		close(answers)
	}()
	var got, lines []string
	for range 4 {
		for range 4 { // headline, webhook-id, body, blank
			if !l.stdout.Scan() {
				t.Fatal(l.stdout.Err())
			}
			lines = append(lines, l.stdout.Text())
		}
		got = append(got, <-answers)
	}
	if diff := cmp.Diff([]string{"5037", "4297", "2007", "2007"}, got); diff != "" {
		t.Error(diff)
	}
	if _, rest, _ := strings.Cut(lines[0], "  "); rest != "POST /hook?x=1  signature unchecked  answered 503" {
		t.Error(lines[0])
	}
	if diff := cmp.Diff([]string{"  webhook-id: msg_1", `  \x1b[2Jhello`, ""}, lines[1:4]); diff != "" {
		t.Error(diff)
	}
}

func TestListenRefusesItsFlags(t *testing.T) {
	t.Parallel()
	r := cli(t, "", "listen", "--secret", "whsec_short", "--status", "99,600")
	if r.code != exitUsage || strings.Count(r.stderr, "--status: ") != 2 || !strings.Contains(r.stderr, "--secret: ") || strings.Contains(r.stderr, "whsec_short") {
		t.Error(r)
	}
}
