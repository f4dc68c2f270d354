package egress_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
)

// sinkEnv makes the test binary a receiver, so that a benchmark's CPU and allocations are the sender's alone.
const sinkEnv = "EGRESS_TEST_SINK"

func TestMain(m *testing.M) {
	if os.Getenv(sinkEnv) == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
	io.Copy(io.Discard, os.Stdin) // until the parent ends
}

func sink(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line) + "/hook"
}

// BenchmarkDo sends signed requests of 1 KiB over 64 connections, by Do and by a plain net/http client. cpu-µs/op is the sender's CPU.
func BenchmarkDo(b *testing.B) {
	const senders = 64
	body := bytes.Repeat([]byte("x"), 1024)
	header := func() http.Header {
		return http.Header{
			"Content-Type":      {"application/cloudevents+json"},
			"Webhook-Id":        {"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"},
			"Webhook-Timestamp": {"1674087231"},
			"Webhook-Signature": {"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="},
			"User-Agent":        {"hookfleet/1"},
		}
	}
	to := sink(b)
	target := parse(b, to)
	ours := client(b)
	plain := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 512}}
	for name, send := range map[string]func() error{
		"egress": func() error {
			_, err := ours.Do(b.Context(), &egress.Request{URL: target, Header: header(), Body: body, Timeout: 15 * time.Second, Tenant: "default"})
			return err
		},
		"net-http": func() error {
			req, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header = header()
			resp, err := plain.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			var left atomic.Int64
			run := func(n int) {
				left.Store(int64(n))
				var wg sync.WaitGroup
				for range senders {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if err := send(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			}
			run(10 * senders) // opens the connections
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			run(b.N)
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
