package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// sinkAnswer bounds one question to the sink: the longest answer is some 20 MB over loopback.
const sinkAnswer = 30 * time.Second

// sinkChild is the sink's process, seen from the bench.
type sinkChild struct {
	cmd  *exec.Cmd
	end  io.Closer // its standard input: it ends with it
	addr string
	http *http.Client
}

func startSink() (*sinkChild, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own program: %w", err)
	}
	s := &sinkChild{cmd: exec.Command(program, "bench-sink"), http: &http.Client{Timeout: sinkAnswer}} //nolint:gosec,noctx // our own program; stop ends it
	s.cmd.Env, s.cmd.Stderr = plainEnvironment(os.Environ()), os.Stderr
	dieWithParent(s.cmd)
	if s.end, err = s.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the sink: %w", err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the sink: %w", err)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the sink: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the sink did not start: %w", err)
	}
	s.addr = "http://" + strings.TrimSpace(line)
	return s, nil
}

func (s *sinkChild) pid() int { return s.cmd.Process.Pid }

// hook is where the deliveries of kind k go.
func (s *sinkChild) hook(k int) string { return s.addr + benchHookPath + strconv.Itoa(k) }

func (s *sinkChild) stop() {
	_ = s.end.Close()
	_ = s.cmd.Wait() // it has nothing to say
}

// begin starts a run of at most so many deliveries, fan of each event. All hooks answer 204.
func (s *sinkChild) begin(ctx context.Context, run string, slots, fan int) error {
	_, err := s.ask(ctx, benchRunPath, benchRun{Run: run, Slots: slots, Fan: fan})
	return err
}

// answer says how the hooks answer from now on, in their order.
func (s *sinkChild) answer(ctx context.Context, answers ...benchAnswer) error {
	_, err := s.ask(ctx, benchAnswersPath, answers)
	return err
}

func (s *sinkChild) counts(ctx context.Context) (c benchCounts, err error) {
	body, err := s.ask(ctx, benchCountsPath, nil)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("read the sink's counts: %w", err)
	}
	return c, nil
}

// arrivals are those of the deliveries of this run, by their number.
func (s *sinkChild) arrivals(ctx context.Context) ([]benchArrival, error) {
	body, err := s.ask(ctx, benchArrivalsPath, nil)
	return decodeArrivals(body), err
}

func (s *sinkChild) ask(ctx context.Context, path string, question any) ([]byte, error) {
	text, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("ask the sink: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.addr+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("ask the sink: %w", err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the sink: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask the sink: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("ask the sink for %s: %s: %s", path, resp.Status, body)
	}
	return body, nil
}
