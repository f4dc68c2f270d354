package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of the processes that the bench starts.
const (
	fleetStart = time.Minute      // until it says that it is ready: a backlog of 200,000 is read in less than a second
	fleetStop  = 40 * time.Second // a stop takes at most 30 s by contract
	// fleetLog is how much of a fleet's log is kept: it is at level warn, and should be empty.
	fleetLog = 64 << 10
)

// benchFleet is a fleet that runs as a child of the bench, so that what it uses can be told from what the bench does.
type benchFleet struct {
	cmd   *exec.Cmd
	log   tailBuffer
	dir   string // its data
	ended chan struct{}

	api, nats, pprof string // where it can be reached; "" = not
}

// startFleet starts hookfleet serve on the data in dir with further arguments, and returns when it is ready.
func startFleet(ctx context.Context, dir string, args ...string) (*benchFleet, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own program: %w", err)
	}
	args = append([]string{
		"serve", "--data", dir, "--api-listen", "127.0.0.1:0", "--egress-allow", "127.0.0.0/8", "--egress-plainhttp",
		"--log-level", "warn", "--log-format", "json",
	}, args...)
	f := &benchFleet{cmd: exec.Command(program, args...), dir: dir, ended: make(chan struct{})} //nolint:gosec,noctx // our own program; stop ends it
	f.cmd.Env, f.cmd.Dir, f.cmd.Stderr = plainEnvironment(os.Environ()), dir, &f.log
	dieWithParent(f.cmd)
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a fleet: %w", err)
	}
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a fleet: %w", err)
	}
	ready := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- line
		_, _ = io.Copy(io.Discard, out)
		_ = f.cmd.Wait() // how it ended is in its log
		close(f.ended)
	})
	select {
	case line := <-ready:
		if f.readReady(line) {
			return f, nil
		}
		err = fmt.Errorf("the fleet did not start: %s", f.log.String())
	case <-time.After(fleetStart):
		err = fmt.Errorf("the fleet was not ready within %s: %s", fleetStart, f.log.String())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	f.kill()
	reading.Wait()
	return nil, err
}

// plainEnvironment leaves out our settings: a bench measures the same thing wherever it is started.
func plainEnvironment(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "HOOKFLEET_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// readReady takes the addresses from the line that says it is ready; false when it is none.
func (f *benchFleet) readReady(line string) bool {
	if !strings.HasPrefix(line, "hookfleet is ready") {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSpace(line), ", ") {
		name, value, _ := strings.Cut(part, " ")
		switch name {
		case "api":
			f.api = value
		case "nats":
			f.nats = value
		case "pprof":
			f.pprof = value
		}
	}
	return true
}

// key is the operator key that the first start wrote.
func (f *benchFleet) key() (secret.Text, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, "operator.key"))
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the fleet's operator key: %w", err)
	}
	return secret.New(strings.TrimSpace(string(b))), nil
}

func (f *benchFleet) pid() int { return f.cmd.Process.Pid }

// stop asks the fleet to drain, and waits.
func (f *benchFleet) stop() error {
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the fleet: %w", err)
	}
	select {
	case <-f.ended:
	case <-time.After(fleetStop):
		f.kill()
		return fmt.Errorf("the fleet did not stop within %s", fleetStop)
	}
	if code := f.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the fleet ended with exit code %d: %s", code, f.log.String())
	}
	return nil
}

// kill ends the fleet at once, and waits until it has gone.
func (f *benchFleet) kill() {
	_ = f.cmd.Process.Kill() // it may have ended
	<-f.ended
}

// tailBuffer keeps the end of what was written to it.
type tailBuffer struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if over := len(b.text) - fleetLog; over > fleetLog {
		b.text = append([]byte(nil), b.text[over:]...)
	}
	return len(p), nil
}

// String is what is kept.
func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(string(b.text))
}

// lines are the lines kept.
func (b *tailBuffer) lines() []string {
	text := b.String()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
