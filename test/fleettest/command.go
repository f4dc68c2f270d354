package fleettest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// Result is what came of a client command.
type Result struct {
	Args   []string
	Code   int
	Stdout string
	Stderr string
}

// CLI runs a client command against a server, with the operator's key, to its end.
func (s *Server) CLI(t testing.TB, stdin string, args ...string) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Env = append(environment(), "HOOKFLEET_URL="+s.API, "HOOKFLEET_KEY="+s.Key)
	cmd.Dir = t.TempDir()
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("run %v: %v", args, err)
	}
	return &Result{args, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Says checks the exit code, and that each of want is in what it printed.
func (r *Result) Says(t testing.TB, code int, want ...string) *Result {
	t.Helper()
	if r.Code != code {
		t.Errorf("hookfleet %s: exit code %d, want %d", strings.Join(r.Args, " "), r.Code, code)
	}
	for _, w := range want {
		if !strings.Contains(r.Stdout+r.Stderr, w) {
			t.Errorf("hookfleet %s does not say %q", strings.Join(r.Args, " "), w)
		}
	}
	if t.Failed() {
		t.Logf("hookfleet %s:\n%s%s", strings.Join(r.Args, " "), r.Stdout, r.Stderr)
	}
	return r
}
