package guide

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m)) }

const guides = "../../docs/guide/"

// reader is somebody who follows a guide.
type reader struct {
	*testing.T
	server   *fleettest.Server
	snippets map[string]Snippet
	dir      string
	hook     string // address that stands for the guides' 127.0.0.1:9000
	ran      map[string]bool
}

func newReader(t *testing.T, guide string) *reader {
	t.Helper()
	snippets, err := Read(guides + guide)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{T: t, server: fleettest.Start(t, fleettest.Options{}), snippets: snippets, dir: t.TempDir(), hook: fleettest.FreeAddress(t), ran: map[string]bool{}}
	t.Cleanup(func() {
		for name := range snippets {
			if !r.ran[name] && !t.Failed() && !t.Skipped() {
				t.Errorf("snippet %s of %s was not run", name, guide)
			}
		}
	})
	return r
}

// command is what runs a snippet, with this fleet's addresses in place of the guides'.
func (r *reader) command(ctx context.Context, name string, env ...string) *exec.Cmd {
	r.Helper()
	s, ok := r.snippets[name]
	if !ok {
		r.Fatalf("there is no snippet %s", name)
	}
	r.ran[name] = true
	host, port, _ := strings.Cut(r.hook, ":")
	code := strings.NewReplacer("localhost:8080", strings.TrimPrefix(r.server.API, "http://"), "localhost:4222", r.server.NATS,
		"127.0.0.1:9000", r.hook, `listen(9000, "127.0.0.1")`, fmt.Sprintf("listen(%s, %q)", port, host), `("127.0.0.1", 9000)`, fmt.Sprintf("(%q, %s)", host, port)).Replace(s.Code)
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
		r.Fatal(err)
	}
	var cmd *exec.Cmd
	switch filepath.Ext(name) {
	case ".sh":
		cmd = exec.CommandContext(ctx, "bash", "-euo", "pipefail", path)
	case ".go":
		cmd = exec.CommandContext(ctx, r.build(path))
	case ".mjs":
		cmd = exec.CommandContext(ctx, "node", path)
	case ".py":
		cmd = exec.CommandContext(ctx, "python3", path)
	}
	r.tool(s, filepath.Base(cmd.Path))
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), append(env, "HOOKFLEET_URL="+r.server.API, "HOOKFLEET_KEY="+r.server.Key,
		"PATH="+filepath.Dir(fleettest.Binary(r))+string(os.PathListSeparator)+os.Getenv("PATH"))...)
	return cmd
}

// build compiles a Go program outside of any module with the packages of this one.
func (r *reader) build(path string) string {
	r.Helper()
	out := strings.TrimSuffix(path, ".go")
	cmd := exec.CommandContext(r.Context(), "go", "build", "-o", out, path)
	if text, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("%s: %v\n%s", path, err, text)
	}
	return out
}

// tool skips the test, visibly, when what a snippet needs is not here.
func (r *reader) tool(s Snippet, name string) {
	r.Helper()
	if ext := filepath.Ext(s.Name); ext != ".go" {
		if _, err := exec.LookPath(name); err != nil {
			r.Skipf("SKIPPED: there is no %s here, so %s was not tried", name, s.Name)
		}
	}
	if len(s.NPM) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", append([]string{"install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix", r.dir}, s.NPM...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Skipf("SKIPPED: npm could not install %v: %v\n%s", s.NPM, err, out)
	}
}

// run runs a snippet to its end, which has to be a good one.
func (r *reader) run(name string) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), fleettest.Patience)
	defer cancel()
	out, err := r.command(ctx, name).CombinedOutput()
	if err != nil {
		r.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func (r *reader) says(name string, want ...string) {
	r.Helper()
	out := r.run(name)
	for _, w := range want {
		if !strings.Contains(out, w) {
			r.Errorf("%s does not say %q:\n%s", name, w, out)
		}
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	r := newReader(t, "publish.md")
	sink := sinktest.New(t)
	r.server.Client().Subscribe(t, "all", `{"types":["order.status"],"sink":"`+sink.URL("/")+`"}`)
	r.says("key.sh", "created", "hf_")
	r.says("structured.sh", `"duplicate":false`)
	r.says("structured.sh", `"duplicate":true`)
	r.says("binary.sh", `"id":"order-1-packed"`)
	r.says("batch.sh", `"id":"order-2-booked"`)
	r.says("publish.go", "false")
	r.ran["publish.mjs"] = true
	t.Run("javascript", func(t *testing.T) {
		js := *r
		js.T = t
		js.says("publish.mjs", "false")
		sink.Wait("/", 6)
	})
	seen := map[string]bool{}
	for _, got := range sink.Wait("/", 5) {
		seen[string(got.Body)] = true
	}
	if len(seen) < 5 {
		t.Errorf("%d events arrived", len(seen))
	}
}

func TestReceive(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"receive.go", "receive.mjs", "receive.py"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, "receive.md")
			for other := range r.snippets { // each is run by its own
				r.ran[other] = r.ran[other] || strings.HasPrefix(other, "receive.") || strings.HasSuffix(other, "s.sh") || other == "lookup.sh"
			}
			r.receive(name)
		})
	}
	t.Run("look up", func(t *testing.T) {
		t.Parallel()
		r := newReader(t, "receive.md")
		for _, name := range []string{"receive.go", "receive.mjs", "receive.py"} {
			r.ran[name] = true
		}
		r.says("subscribe.sh", "subscription/my-orders created")
		r.server.Client().Publish(t, `{"specversion":"1.0","id":"1","source":"/guide","type":"order.status","subject":"order-1","data":{"status":"Booked"}}`)
		r.says("deadletters.sh", `"items":[]`)
		r.ran["lookup.sh"] = true
		fleettest.Eventually(t, "the status can be looked up", func() (bool, any) {
			out, err := r.command(t.Context(), "lookup.sh").CombinedOutput()
			return err == nil && strings.Contains(string(out), `"status":"Booked"`), string(out)
		})
	})
}

const guideSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// receive runs a receiver of the guide, and sends it an event, the same again, and what nobody signed.
func (r *reader) receive(name string) {
	r.Helper()
	r.says("subscribe.sh", "subscription/my-orders created")
	cmd := r.command(r.Context(), name, "WEBHOOK_SECRET="+guideSecret)
	p := fleettest.Exec(r.T, cmd.Path, []string{"WEBHOOK_SECRET=" + guideSecret, "PATH=" + os.Getenv("PATH")}, cmd.Args[1:]...)
	url := "http://" + r.hook + "/hook"
	fleettest.Eventually(r, name+" listens", func() (bool, any) {
		resp, err := post(r, url)
		return err == nil && resp == http.StatusUnauthorized, fmt.Sprint(resp, err)
	})
	c := r.server.Client()
	d := c.AwaitDelivery(r, c.Publish(r, `{"specversion":"1.0","id":"1","source":"/guide","type":"order.status","subject":"order-1","data":{"status":"Booked"}}`).Sequence, "delivered")
	if line, _ := p.Line(r); !strings.HasPrefix(line, "new {") || !strings.Contains(line, "Booked") {
		r.Errorf("%s says %q", name, line)
	}
	// The same webhook-id again, signed again: after a failure that the receiver did not see as one.
	c.Must(r, http.StatusOK, http.MethodPut, "/v1/subscriptions/my-orders", `{"types":["order.*"],"sink":"`+url+`","config":{"responses":[{"status":204,"action":"deadletter"}]},`+
		`"protocolsettings":{"signing":{"scheme":"standardwebhooks","secret":"`+guideSecret+`"}}}`, nil)
	again := c.AwaitDelivery(r, c.Publish(r, `{"specversion":"1.0","id":"2","source":"/guide","type":"order.status","subject":"order-1","data":{"status":"Sent"}}`).Sequence, "dead")
	if line, _ := p.Line(r); !strings.Contains(line, "Sent") {
		r.Errorf("%s says %q", name, line)
	}
	c.Must(r, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+again.ID+"/replay", nil, nil)
	if line, _ := p.Line(r); line != "again" {
		r.Errorf("%s says %q to a repeat", name, line)
	}
	if d.AttemptCount != 1 {
		r.Errorf("%+v", d)
	}
}

func post(t testing.TB, url string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Webhook-Id", "msg_forged")
	req.Header.Set("Webhook-Timestamp", fmt.Sprint(time.Now().Unix()))
	req.Header.Set("Webhook-Signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestChoose(t *testing.T) {
	t.Parallel()
	r := newReader(t, "choose.md")
	for name, id := range map[string]string{"retry.sh": "agreed-times", "order.sh": "in-order", "lifecycle.sh": "newest-only", "schedule.sh": "office-hours"} {
		r.says(name, "subscription/"+id+" created")
	}
}

// A block of code without its mark would never be run.
func TestReadFindsUnmarkedCode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "guide.md")
	for text, ok := range map[string]bool{
		"<!-- run: a.sh -->\n```sh\ntrue\n```\n": true,
		"```sh\ntrue\n```\n":                     false,
		"<!-- run: a.sh -->\n```sh\na\n```\n<!-- run: a.sh -->\n```sh\nb\n```\n": false,
		"```yaml\na: b\n```\n": true,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
