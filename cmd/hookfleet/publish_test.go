package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPublishOne(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("\xff\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"all": {
			args: []string{"--id", "1", "--source", "/s", "--subject", "<o>", "--tenant", "acme", "--time", "2026-01-01T00:00:00Z", "--attribute", "region=eu", "--data", `{"a": 1.00}`},
			want: `{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"<o>","time":"2026-01-01T00:00:00Z","tenant":"acme","region":"eu","datacontenttype":"application/json","data":{"a": 1.00}}`,
		},
		"no data":    {args: []string{"--id", "1"}, want: `{"specversion":"1.0","id":"1","source":"/hookfleet/cli","type":"t"}`},
		"null":       {args: []string{"--id", "1", "--data", "null"}, want: `{"specversion":"1.0","id":"1","source":"/hookfleet/cli","type":"t","datacontenttype":"application/json","data":null}`},
		"text":       {args: []string{"--id", "1", "--data", "a\"b", "--content-type", "text/plain"}, want: `{"specversion":"1.0","id":"1","source":"/hookfleet/cli","type":"t","datacontenttype":"text/plain","data":"a\"b"}`},
		"binary":     {args: []string{"--id", "1", "--data-file", file, "--content-type", "image/png"}, want: `{"specversion":"1.0","id":"1","source":"/hookfleet/cli","type":"t","datacontenttype":"image/png","data_base64":"/wA="}`},
		"from stdin": {args: []string{"--id", "1", "--data-file", "-"}, stdin: "[1]", want: `{"specversion":"1.0","id":"1","source":"/hookfleet/cli","type":"t","datacontenttype":"application/json","data":[1]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newBackend(t)
			f.on("POST /v1/events", 202, `{"id":"1","source":"/s","tenant":"acme","sequence":7,"duplicate":false}`)
			f.cli(t, c.stdin, append([]string{"publish", "--type", "t"}, c.args...)...).expect(t, exitOK, "event/1 accepted, sequence 7\n", "")
			if diff := cmp.Diff([]string{c.want}, f.bodies()); diff != "" {
				t.Error(diff)
			}
			if got := f.calls[0].header.Get("Content-Type"); got != "application/cloudevents+json" {
				t.Error("content type", got)
			}
		})
	}
}

func TestPublishOneAnswers(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	const answer = `{"id":"1", "sequence":7, "duplicate":true, "new":1}`
	f.on("POST /v1/events", 202, answer)
	f.cli(t, "", "publish", "--type", "t").expect(t, exitOK, "event/1 is a duplicate, sequence 7\n", "")
	f.cli(t, "", "publish", "--type", "t", "-o", "json").expect(t, exitOK, answer+"\n", "")
	f.cli(t, "", "publish", "--type", "t", "--data", "{").expect(t, exitUsage, "", "hookfleet: the data is not JSON; name its --content-type\n")
	ids := map[string]bool{}
	for _, body := range f.bodies() {
		ids[regexp.MustCompile(`"id":"[a-z0-9]+"`).FindString(body)] = true
	}
	if len(ids) != 2 || ids[""] {
		t.Error("ids that are made up differ:", ids)
	}
}

// ingest answers batches as the contract says: all or nothing, and ids that it knows are duplicates. fault gives what is
// wrong with an event; problem makes the refusal from the faults.
func ingest(f *backend, fault func(event string) string, problem func(w http.ResponseWriter, faults map[int]string)) {
	seen := map[string]bool{}
	f.mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, r *http.Request) {
		var batch []json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
			reply(w, 400, `{"code":"bad_json"}`)
			return
		}
		faults := map[int]string{}
		for i, e := range batch {
			if text := fault(string(e)); text != "" {
				faults[i] = text
			}
		}
		if len(faults) > 0 {
			problem(w, faults)
			return
		}
		var items []string
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range batch {
			items = append(items, fmt.Sprintf(`{"duplicate":%t}`, seen[string(e)]))
			seen[string(e)] = true
		}
		reply(w, 202, `{"items":[`+strings.Join(items, ",")+`]}`)
	})
}

func never(string) string { return "" }

func badWord(event string) string {
	if strings.Contains(event, "bad") {
		return "is bad"
	}
	return ""
}

// pointing names the faults by index, as the API does.
func pointing(w http.ResponseWriter, faults map[int]string) {
	var errs []string
	for i, text := range faults {
		errs = append(errs, fmt.Sprintf(`{"pointer":"/%d/type","detail":%q}`, i, text))
	}
	slices.Sort(errs)
	reply(w, 422, `{"code":"invalid_event","errors":[`+strings.Join(errs, ",")+`]}`)
}

// blunt only says that something is wrong.
func blunt(w http.ResponseWriter, _ map[int]string) {
	reply(w, 409, `{"code":"id_reuse","detail":"known with other data"}`)
}

func TestPublishLines(t *testing.T) {
	t.Parallel()
	const input = "{\"id\":1}\n\n  {\"id\":2}  \r\n{\"id\":1}\n{\"id\":3}" // the last line has no end
	f := newBackend(t)
	ingest(f, never, pointing)
	f.cli(t, input, "publish", "-").expect(t, exitOK, "3 accepted, 1 duplicates, 0 refused\n", "")
	f.cli(t, input, "publish").expect(t, exitOK, "0 accepted, 4 duplicates, 0 refused\n", "")
	f.cli(t, "{\"id\":9}\n{\"id\":9}", "publish", "-", "-o", "json").expect(t, exitOK, "{\"duplicate\":false}\n{\"duplicate\":true}\n", "1 accepted, 1 duplicates, 0 refused\n")
	f.cli(t, "", "publish", "-").expect(t, exitOK, "0 accepted, 0 duplicates, 0 refused\n", "")
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	f.cli(t, "", "publish", file).expect(t, exitOK, "0 accepted, 4 duplicates, 0 refused\n", "")
}

// Whatever way the API refuses, the lines at fault are named and the others published, in order.
func TestPublishNamesRefusedLines(t *testing.T) {
	t.Parallel()
	long := `{"id":"` + strings.Repeat("x", maxLine) + `"}`
	input := strings.Join([]string{`{"id":1}`, `{"id":"bad"}`, `not json`, `["id"]`, `{"id":2}`, long, `{"id":3}`, `{"id":"bad 2"}`}, "\n")
	for name, c := range map[string]struct {
		problem func(http.ResponseWriter, map[int]string)
		text    string
	}{
		"pointing": {pointing, "/type: is bad"},
		"blunt":    {blunt, "409 id_reuse: known with other data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newBackend(t)
			ingest(f, badWord, c.problem)
			r := f.cli(t, input, "publish", "-")
			if r.code != exitFailed || r.stdout != "3 accepted, 0 duplicates, 5 refused\n" {
				t.Error(r)
			}
			got := strings.Split(strings.TrimSpace(r.stderr), "\n")
			slices.Sort(got)
			want := []string{
				"hookfleet: refused 5 lines", "line 2: " + c.text, "line 3: is not a JSON object", "line 4: is not a JSON object",
				fmt.Sprintf("line 6: is longer than %d bytes", maxLine), "line 8: " + c.text,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Batches stay within what the API takes.
func TestPublishBounds(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]string{"many": `{"id":%d}`, "large": `{"id":%d,"data":"` + strings.Repeat("x", 900_000) + `"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 5000
			if name == "large" {
				n = 30
			}
			f := newBackend(t)
			ingest(f, never, pointing)
			var input strings.Builder
			for i := range n {
				fmt.Fprintf(&input, event+"\n", i)
			}
			f.cli(t, input.String(), "publish", "-").expect(t, exitOK, fmt.Sprintf("%d accepted, 0 duplicates, 0 refused\n", n), "")
			for _, body := range f.bodies() {
				if len(body) > 8<<20 || strings.Count(body, `"id"`) > 1000 {
					t.Errorf("a batch of %d bytes, %d events", len(body), strings.Count(body, `"id"`))
				}
			}
		})
	}
}

// What trickles in is published at once: nothing waits for a batch to fill.
func TestPublishDoesNotWait(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	ingest(f, never, pointing)
	arrived := make(chan struct{})
	inner := f.Config.Handler
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		arrived <- struct{}{}
	})
	in, out := io.Pipe()
	ended := make(chan int)
	go func() {
		ended <- run(t.Context(), []string{"publish", "-", "--url", f.URL}, in, io.Discard, io.Discard)
	}()
	for i := range 3 {
		fmt.Fprintf(out, "{\"id\":%d}\n", i)
		<-arrived
	}
	out.Close()
	if code := <-ended; code != exitOK {
		t.Error("exit code", code)
	}
	if diff := cmp.Diff([]string{`[{"id":0}]`, `[{"id":1}]`, `[{"id":2}]`}, f.bodies()); diff != "" {
		t.Error(diff)
	}
}

// A full or absent API is waited for, and asked again with the same batch.
func TestPublishTriesAgain(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	tries := 0
	f.mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		switch tries++; tries {
		case 1, 2:
			w.Header().Set("Retry-After", "0")
			reply(w, []int{429, 503}[tries-1], `{"code":"later"}`)
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		default:
			reply(w, 202, `{"items":[{"duplicate":true}]}`)
		}
	})
	f.cli(t, `{"id":1}`, "publish", "-").expect(t, exitOK, "0 accepted, 1 duplicates, 0 refused\n", "")
	if diff := cmp.Diff([]string{`[{"id":1}]`, `[{"id":1}]`, `[{"id":1}]`, `[{"id":1}]`}, f.bodies()); diff != "" {
		t.Error(diff)
	}
}

func TestPublishStops(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("POST /v1/events", 403, `{"code":"wrong_role"}`)
	f.cli(t, "\n{\"id\":1}\n{\"id\":2}", "publish", "-").expect(t, exitFailed, "0 accepted, 0 duplicates, 0 refused\n", "hookfleet: stopped at line 2: 403 wrong_role\n")
	f.Close()
	r := f.cli(t, `{"id":1}`, "publish", "-")
	if r.code != exitFailed || !strings.Contains(r.stderr, "is hookfleet serve running there?") {
		t.Error(r)
	}
}
