package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Every demo sends something that its partner takes, and nothing that the partner finds wrong.
func TestDemos(t *testing.T) {
	t.Parallel()
	for _, name := range sceneNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := cli(t, "", "demo", name, "--for", "15s")
			out := r.stdout
			if r.code != exitOK || r.stderr != "" {
				t.Fatalf("exit code %d: %s\n%s", r.code, r.stderr, out)
			}
			m := regexp.MustCompile(`(?m)^(\d+) events published, (\d+) requests, (\d+) taken, 0 of them again, 0 faults$`).FindStringSubmatch(out)
			if m == nil {
				t.Fatal(out)
			}
			if taken, _ := strconv.Atoi(m[3]); taken == 0 || strings.Contains(out, "\x1b") {
				t.Errorf("nothing was taken, or no terminal is coloured:\n%s", out)
			}
		})
	}
}

func TestDemoWithoutAName(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"demo"}, {"demo", "nobody"}} {
		if r := cli(t, "", args...); r.code != exitUsage {
			t.Errorf("%v: exit code %d: %s", args, r.code, r.stderr)
		}
	}
}

// On a terminal the line that counts is kept below the others, and what is wrong is red.
func TestViewOfATerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	v := &view{out: &out, live: true}
	v.published("order-1 is \x1b[2Jbooked")
	v.call(&partners.Call{Method: "POST", Path: "/hook", Status: 400, Faults: []string{"no key"}})
	v.end(1, 0, 0, []string{"no key"})
	got := regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`).ReplaceAllString(out.String(), "TIME")
	want := erase + grey + `TIME  order-1 is \x1b[2Jbooked` + plain + "\n" + grey + "1 published · 0 requests · 0 taken · , 0 waiting" + plain +
		erase + red + "TIME  → POST /hook    ← 400  WRONG: no key" + plain + "\n" + grey + "1 published · 1 requests · 0 taken · , 0 waiting" + plain +
		erase + "1 events published, 1 requests, 0 taken, 0 of them again, 1 faults\nfault: no key\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
