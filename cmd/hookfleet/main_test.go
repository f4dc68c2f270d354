package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/keys", 200, `{"items":[]}`)
	f.on("GET /v1/deliveries", 403, `{"title":"Forbidden","code":"forbidden"}`)
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"nothing":            {[]string{}, exitOK}, // nil would be what the tests were called with
		"version":            {[]string{"version"}, exitOK},
		"version for none":   {[]string{"version", "--output", "xml"}, exitUsage},
		"help of a group":    {[]string{"subscription"}, exitOK},
		"list":               {[]string{"key", "list", "--url", f.URL}, exitOK},
		"refused":            {[]string{"delivery", "list", "--url", f.URL}, exitFailed},
		"unknown command":    {[]string{"subscribe"}, exitUsage},
		"unknown subcommand": {[]string{"subscription", "lst"}, exitUsage},
		"unknown flag":       {[]string{"key", "list", "--all-of-them"}, exitUsage},
		"missing argument":   {[]string{"subscription", "get"}, exitUsage},
		"missing flag":       {[]string{"key", "create"}, exitUsage},
		"wrong output":       {[]string{"key", "list", "--output", "xml"}, exitUsage},
		"wrong URL":          {[]string{"key", "list", "--url", "localhost:8080"}, exitUsage},
		"wrong limit":        {[]string{"key", "list", "--limit", "0"}, exitUsage},
		"wrong setting":      {[]string{"serve", "--log-level", "loud"}, exitUsage},
		"wrong status":       {[]string{"listen", "--status", "100"}, exitUsage},
		"no event":           {[]string{"publish", "--subject", "x", "--type", ""}, exitOK}, // standard input has no lines
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := cli(t, "", c.args...); got.code != c.want {
				t.Errorf("exit code %d, want %d: %s", got.code, c.want, got.stderr)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.mux.HandleFunc("GET /v1/keys", func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if code := run(ctx, []string{"key", "list", "--url", f.URL}, strings.NewReader(""), &strings.Builder{}, &strings.Builder{}); code != exitInterrupted {
		t.Error("exit code", code)
	}
}

// A wrong configuration names all its faults, on lines of their own.
func TestServeNamesEveryFault(t *testing.T) {
	t.Parallel()
	cli(t, "", "serve", "--log-level", "loud", "--worker-concurrency", "many", "--secrets-keys", "x").expect(t, exitUsage, "",
		`hookfleet: the settings are wrong:
  worker.concurrency: "many" is not a whole number (--worker-concurrency)
  log.level: "loud" is not one of trace, debug, info, warn, error (--log-level)
  secrets.keys: key 1 is not 32 bytes in base64 or hex (hookfleet key new-secret makes one)
`)
}

// The key is the flag's, else that of HOOKFLEET_KEY, of HOOKFLEET_OPERATOR_KEY, or of the file that the first start wrote.
func TestWhichKey(t *testing.T) {
	f := newBackend(t)
	f.on("GET /v1/keys", 200, `{"items":[]}`)
	t.Chdir(t.TempDir())
	t.Setenv("HOOKFLEET_URL", f.URL)
	ask := func(args ...string) string {
		if r := cli(t, "", append([]string{"key", "list"}, args...)...); r.code != exitOK {
			t.Fatal(r.stderr)
		}
		return f.calls[len(f.calls)-1].header.Get("Authorization")
	}
	expect := func(want string, args ...string) {
		t.Helper()
		if got := ask(args...); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("")
	if err := os.MkdirAll("data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("data", "operator.key"), []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("Bearer from-file")
	t.Setenv("HOOKFLEET_OPERATOR_KEY", "from-operator")
	expect("Bearer from-operator")
	t.Setenv("HOOKFLEET_KEY", "from-env")
	expect("Bearer from-env")
	expect("Bearer from-flag", "--key", "from-flag")
}

func TestProblemsAreShownWhole(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/subscriptions/a", 422, `{"title":"Invalid","status":422,"code":"invalid","detail":"two things","errors":[{"pointer":"/sink","detail":"is missing"},{"pointer":"/types/0","detail":"is \u001b[31mred"}]}`)
	f.on("GET /v1/subscriptions/once", 422, `{"code":"invalid","detail":"/sink: is missing","errors":[{"pointer":"/sink","detail":"is missing"}]}`)
	f.on("GET /v1/subscriptions/b", 502, "<html>bad gateway</html>")
	f.on("GET /v1/subscriptions/c", 401, `{"title":"Unauthorized","code":"unauthorized"}`)
	f.mux.Handle("GET /v1/subscriptions/d", http.RedirectHandler("https://elsewhere.example/", http.StatusFound))
	f.cli(t, "", "subscription", "get", "a").expect(t, exitFailed, "", "hookfleet: 422 invalid: two things\n  /sink: is missing\n  /types/0: is \\x1b[31mred\n")
	f.cli(t, "", "subscription", "get", "once").expect(t, exitFailed, "", "hookfleet: 422 invalid\n  /sink: is missing\n")
	f.cli(t, "", "subscription", "get", "b").expect(t, exitFailed, "", "hookfleet: 502 Bad Gateway: <html>bad gateway</html>\n")
	f.cli(t, "", "subscription", "get", "c").expect(t, exitFailed, "", "hookfleet: 401 unauthorized\n  give a key with --key or HOOKFLEET_KEY\n")
	if r := f.cli(t, "", "subscription", "get", "d"); r.code != exitFailed || !strings.HasPrefix(r.stderr, "hookfleet: 302 Found") {
		t.Error("a redirect is followed, with the key:", r)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /healthz", 200, `{"status":"ok"}`)
	f.on("GET /readyz", 503, `{"title":"Not ready","code":"not_ready","detail":"the broker is away"}`)
	f.cli(t, "", "health", "--live").expect(t, exitOK, "{\"status\":\"ok\"}\n", "")
	f.cli(t, "", "health").expect(t, exitFailed, "", "hookfleet: 503 not_ready: the broker is away\n")
}

// TestVersionHasNoOutputForPrograms: version was the one command that did not know --output.
func TestVersionHasNoOutputForPrograms(t *testing.T) {
	t.Parallel()
	got := cli(t, "", "version", "--output", "json")
	var v map[string]string
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || got.code != exitOK || v["version"] != version() || v["go"] == "" || v["platform"] == "" {
		t.Errorf("exit code %d, %s", got.code, got.stdout)
	}
}
