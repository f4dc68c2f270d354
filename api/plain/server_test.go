package plain_test

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api/plain"
)

// soon bounds every wait of these tests; a wait that succeeds takes milliseconds.
const soon = time.Minute

// served is a running server.
type served struct {
	addr   string
	log    *logbook
	conns  *counter                        // of those that net/http has had
	stop   func(ctx context.Context) error // shuts down
	ended  chan struct{}                   // closed when everything has
	plainS *plain.Server
}

// startStandard serves by net/http alone.
func startStandard(t testing.TB, h http.Handler) *served { return start(t, h, nil) }

// startPlain serves plain requests by this package.
func startPlain(t testing.TB, h http.Handler) *served { return start(t, h, &plain.Config{}) }

func start(t testing.TB, h http.Handler, cfg *plain.Config) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{addr: l.Addr().String(), log: &logbook{}, conns: &counter{}, ended: make(chan struct{})}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: soon, IdleTimeout: soon, ErrorLog: log.New(s.log, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.conns.add()
			}
		},
	}
	var all sync.WaitGroup
	s.stop = server.Shutdown
	if cfg != nil {
		cfg.Path, cfg.Handler, cfg.MaxBody, cfg.ErrorLog = path, h, 2<<20, server.ErrorLog
		for _, d := range []*time.Duration{&cfg.HeadTimeout, &cfg.ReadTimeout, &cfg.IdleTimeout} {
			if *d == 0 {
				*d = soon
			}
		}
		p := plain.New(l, *cfg)
		all.Go(p.Run)
		l, s.plainS = p, p
		s.stop = func(ctx context.Context) error { return errors.Join(server.Shutdown(ctx), p.Shutdown(ctx)) }
	}
	all.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("net/http: %v", err)
		}
	})
	go func() {
		all.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // what a test leaves open is closed
		defer cancel()
		if s.stop(ctx) != nil {
			_ = server.Close()
		}
		<-s.ended
	})
	return s
}

// logbook is what a server logs.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
