package fleettest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a test waits for what must come: generous, for a loaded machine under -race.
const Patience = 60 * time.Second

// drainTime is what SIGTERM may take (API.md 6).
const drainTime = 30 * time.Second

// Process is one run of the binary.
type Process struct {
	cmd   *exec.Cmd
	lines chan string   // of standard output; closed at its end
	done  chan struct{} // closed when it has ended
	wait  sync.WaitGroup

	mu     sync.Mutex
	stderr strings.Builder
}

// Exec starts binary with args and no HOOKFLEET_ variables but those of env. It ends with the test at the latest.
func Exec(t testing.TB, binary string, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{
		cmd:   exec.Command(binary, args...),
		lines: make(chan string, 1024),
		done:  make(chan struct{}),
	}
	p.cmd.Env = append(environment(), env...)
	p.cmd.Dir = t.TempDir() // no hookfleet.yaml of somebody else's
	// When the test process is killed, its children are too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err1 := p.cmd.StdoutPipe()
	stderr, err2 := p.cmd.StderrPipe()
	if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.readLines(stdout) })
	reading.Go(func() { p.readLog(stderr) })
	p.wait.Go(func() {
		reading.Wait()
		_ = p.cmd.Wait() // ProcessState says it
		close(p.done)
	})
	t.Cleanup(func() {
		end := tail(p.Log(), 30)
		if t.Failed() {
			p.dump()
		}
		p.Kill()
		p.wait.Wait()
		if t.Failed() {
			t.Logf("%s %s\nall of its log: %s (kept with -artifacts)\n%s", p.cmd.Path, strings.Join(args, " "), p.keepLog(t), end)
		}
	})
	return p
}

// dump lets it write its goroutines into its log, for whoever looks for the reason of a failure.
func (p *Process) dump() {
	p.Signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second): // it is no Go program, or past that
	}
}

// keepLog writes the whole log to a file.
func (p *Process) keepLog(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("%d.log", p.PID()))
	if err := os.WriteFile(path, []byte(p.Log()), 0o600); err != nil {
		t.Log(err)
	}
	return path
}

// environment is ours without what the fleet would read.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HOOKFLEET_") {
			env = append(env, v)
		}
	}
	return env
}

func (p *Process) readLines(r io.Reader) {
	defer close(p.lines)
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		p.lines <- scan.Text()
	}
}

func (p *Process) readLog(r io.Reader) {
	for b := bufio.NewReader(r); ; {
		line, err := b.ReadString('\n')
		p.mu.Lock()
		p.stderr.WriteString(line)
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Log is what it wrote to standard error so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Line is the next line of its standard output; false when there will be none.
func (p *Process) Line(t testing.TB) (string, bool) {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		return line, ok
	case <-time.After(Patience):
		t.Fatalf("no output within %v; its log:\n%s", Patience, tail(p.Log(), 60))
		return "", false
	}
}

// Output waits for its end and gives all lines of its standard output that were not read before.
func (p *Process) Output(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for line, ok := p.Line(t); ok; line, ok = p.Line(t) {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Signal sends it a signal; one that has ended gets none.
func (p *Process) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends it as a power cut would, as far as a process can be, and returns when it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	p.drain()
	<-p.done
}

// drain reads on, so that it cannot be stuck in writing.
func (p *Process) drain() {
	p.wait.Go(func() {
		for range p.lines {
		}
	})
}

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit waits for its end and gives its exit code; -1 when a signal ended it.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	return p.exitWithin(t, Patience)
}

func (p *Process) exitWithin(t testing.TB, limit time.Duration) int {
	t.Helper()
	p.drain()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("it has not ended within %v; its log:\n%s", limit, tail(p.Log(), 60))
		return 0
	}
}

// Stop asks it to end, and gives its exit code.
func (p *Process) Stop(t testing.TB) int {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.exitWithin(t, drainTime)
}

// tail is the end of a log.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if cut := len(all) - lines; cut > 0 {
		all = append([]string{fmt.Sprintf("… %d lines before", cut)}, all[cut:]...)
	}
	return strings.Join(all, "\n")
}
