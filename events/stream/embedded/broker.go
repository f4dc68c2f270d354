// Package embedded runs the NATS server inside our process: the broker of a fleet on one machine.
//
// It promises that what Sync was told to make durable survives a power loss, as far as the disk keeps what it confirmed.
// It does not replicate: one machine's disk is all there is. A cluster of NATS servers is the way to more.
package embedded

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// The ways to make a write durable before it is answered (nats.sync).
const (
	SyncGroup    = "group"    // we sync once a group of writes, before their answers
	SyncAlways   = "always"   // the server syncs every write itself
	SyncInterval = "interval" // nobody syncs before the answer; the server does every second
)

// maxPayload is the largest NATS message. An event is at most 1,000,000 bytes; attributes of a binary event may triple
// by percent-encoding, and a waiting delivery names its event once more.
const maxPayload = 8 << 20

// syncInterval is how often the server syncs by itself, for what nobody waits for (acks, consumer state).
const syncInterval = time.Second

// noMaxStore leaves it to stream.Storage to stop before the disk is full. The server's own choice is three quarters of
// what is free when it starts, where it refuses everything, records and timers too: before we trim, which is at 80 %.
const noMaxStore = 1 << 60

// MaxBatch is the most messages of an atomic batch here. Each is staged in a store of its own, whose files cost the server 4 ms
// of CPU whatever is in it, so requests are joined; storing so many takes some 15 ms, for which all others wait.
const MaxBatch = 2000

// startTimeout bounds recovery of the store at start: a large store after a kill is scanned.
const startTimeout = 5 * time.Minute

// authTimeout is how long a client may wait to be let in, in seconds: a guest waits until the ids of the last minutes are read (Recover), of two
// million for 2.5 s. Clients may give up sooner, by default after 2 s; when they come again that is done.
const authTimeout = 30

// startGrace is how long a server that reads its store may go on when the end was asked for: most are through by then, and shut down in
// order, after which the next one need not look at all of the store.
const startGrace = 2 * time.Second

// startLook is how often a server that starts is asked whether it has given up.
const startLook = 100 * time.Millisecond

// roomInterval is how often a broker that failed to write looks whether there is room again.
const roomInterval = time.Second

// endTimeout bounds the shutdown of the server, which takes a second at most when it is well, and 10 ms for each lane.
const endTimeout = 20 * time.Second

// ErrStuck says that the server did not shut down, and still has the store. Only the end of the process helps, and its
// start by whoever supervises it. Run returns it.
var ErrStuck = errors.New("the broker does not end")

// ErrOpening says that the end was asked for while the server still read its store, in a call that nothing ends. It goes on, and has the
// store, until the process ends, which may be at once: to the store it is a kill, which it survives. Run returns it.
var ErrOpening = errors.New("the broker still opens its store")

// Why the store is not read anew: what failed to write is to be started anew, once there is room.
var (
	errFailed = errors.New("the broker failed to write")
	errEnded  = errors.New("the broker has ended")
)

// Config says where the broker stores and who may connect.
type Config struct {
	Dir      string // the store
	Listen   string // host:port for clients; "" = in process only
	Sync     string // SyncGroup, SyncAlways or SyncInterval
	MaxStore int64  // bytes of the store; 0 = what the disk has
	// Authenticate says what a client that showed this token (or user name) may do. nil refuses all but ourselves.
	Authenticate func(token string) (Permissions, bool)
	// BeforeGuest is called each time before a client from outside is let in that may do everything; if it fails, the client is refused.
	// Nothing runs Inside then, nor begins to. It may call Recover. nil = nothing is to be done.
	BeforeGuest func() error
	// Full says that the disk is full, which stops the server whether or not it says so. nil = its log is all there is.
	Full func() bool
	// HasRoom says whether a broker that stopped storing because the disk was full may be started again.
	HasRoom func() bool
}

// Permissions are what a client may do. The zero value is nothing.
type Permissions struct {
	All     bool
	Publish []string // subjects it may publish to; it may listen to inboxes only
	Key     string   // id of what it showed, for End
}

// Broker is the server in our process. It starts in Run.
type Broker struct {
	cfg     Config
	log     zerolog.Logger
	token   string // of our own connections
	current atomic.Pointer[server.Server]
	held    *os.File // the lock of the store: what the garbage collector finds unused it closes
	locked  chan struct{}
	ready   chan struct{}
	ended   chan struct{} // closed when Run has returned
	failed  atomic.Bool
	syncer  *syncer
	guests  guests
	inner   inner
	swap    swap
	over    bool // the server ends; of who has swap

	sessions sessions
}

// New checks cfg. It starts nothing.
func New(cfg Config, log zerolog.Logger) (*Broker, error) {
	switch cfg.Sync {
	case SyncGroup, SyncAlways, SyncInterval:
	default:
		return nil, fmt.Errorf("nats.sync: %q is none of group, always, interval", cfg.Sync)
	}
	if cfg.Listen != "" {
		if _, _, err := splitListen(cfg.Listen); err != nil {
			return nil, fmt.Errorf("nats.listen: %w", err)
		}
	}
	b := &Broker{
		cfg: cfg, log: log, token: rand.Text(), locked: make(chan struct{}), ready: make(chan struct{}), ended: make(chan struct{}),
		swap:   make(swap, 1),
		guests: guests{before: cfg.BeforeGuest},
		syncer: newSyncer(filepath.Join(cfg.Dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")),
	}
	return b, nil
}

// Locked is closed when no other process has the store any more, nor can have it until Run has returned.
func (b *Broker) Locked() <-chan struct{} { return b.locked }

// Ready is closed when the broker takes connections for the first time.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// ClientURL is where other processes connect; "" when the broker does not listen.
func (b *Broker) ClientURL() string {
	s := b.current.Load()
	if b.cfg.Listen == "" || s == nil || s.Addr() == nil {
		return ""
	}
	return "nats://" + s.Addr().String()
}

// Connect makes a connection within the process, with all permissions, that outlives restarts of the broker.
func (b *Broker) Connect(opts ...nats.Option) (*nats.Conn, error) {
	client := &innerClient{b: b}
	opts = append([]nats.Option{nats.InProcessServer(client), nats.Token(b.token)}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	client.nc = nc
	b.inner.keep(client)
	return nc, nil
}

// Sync makes what the named streams acknowledged so far durable, in the way that Config.Sync says. Concurrent calls
// share syncs.
func (b *Broker) Sync(streams ...string) error {
	if b.cfg.Sync != SyncGroup {
		return nil
	}
	for _, name := range streams {
		if err := b.syncer.sync(name); err != nil {
			return err
		}
	}
	return nil
}

// SyncMetadata makes durable which streams and consumers there are, in every mode: it is for the start, after they were
// made.
func (b *Broker) SyncMetadata() error {
	if err := syncMetadata(b.cfg.Dir); err != nil {
		return fmt.Errorf("sync what the streams are: %w", err)
	}
	return nil
}

// Failed reports whether a write to the store failed and the server has not been restarted since. Until then it answers
// nothing, also when there is room again.
func (b *Broker) Failed() bool { return b.failed.Load() }

// writeFailed is called by the server's log, the only place where it says so.
func (b *Broker) writeFailed() { b.failed.Store(true) }

// Run runs the server until ctx ends, and returns when it has shut down; ErrStuck or ErrOpening when that cannot be.
func (b *Broker) Run(ctx context.Context) error {
	defer close(b.ended)
	var err error
	if b.held, err = lock(b.cfg.Dir); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	close(b.locked)
	err = b.serve(ctx)
	if !errors.Is(err, ErrStuck) && !errors.Is(err, ErrOpening) {
		_ = b.held.Close() // which unlocks it; nothing was written
	}
	return err
}

// serve runs one server after the other.
func (b *Broker) serve(ctx context.Context) error {
	for first := true; ; first = false {
		s, err := b.start(ctx)
		if s == nil {
			return err
		}
		b.failed.Store(false)
		b.current.Store(s)
		b.resume()
		if first {
			close(b.ready)
		}
		again := b.watch(ctx)
		if err := b.end(s); err != nil || !again {
			return err
		}
		b.log.Warn().Msg("broker restarts")
	}
}

// end shuts the server down. One that cannot write may have locked itself up, as v2.15.2 does when it purges a stream on
// a full disk: then it is left behind, because nothing ends it but the end of the process, which Run's error leads to.
func (b *Broker) end(s *server.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if !b.swap.lock(ctx) {
		return ErrStuck
	}
	b.over = true
	b.swap.unlock()
	ended := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() {
		s.Shutdown()
		s.WaitForShutdown()
		close(ended)
	})
	timeout := time.NewTimer(endTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
		return nil
	case <-timeout.C:
		return ErrStuck
	}
}

// resume lets the store be read anew: another server runs.
func (b *Broker) resume() {
	b.swap.lock(context.Background())
	b.over = false
	b.swap.unlock()
}

// watch waits for the end, or for a server that failed to write, or could not have, and has room again; then it returns
// true.
func (b *Broker) watch(ctx context.Context) (again bool) {
	look := time.NewTicker(roomInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
			switch {
			case b.cfg.Full != nil && b.cfg.Full():
				if !b.failed.Swap(true) {
					b.log.Error().Msg("the disk is full; the broker is restarted when there is room")
				}
			case b.failed.Load() && (b.cfg.HasRoom == nil || b.cfg.HasRoom()):
				b.log.Warn().Msg("the broker stopped storing and there is room again")
				return true
			}
		}
	}
}

// start starts a server and returns it when it is ready; nil when ctx ends before.
func (b *Broker) start(ctx context.Context) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "hookfleet", JetStream: true, StoreDir: b.cfg.Dir, DontListen: b.cfg.Listen == "",
		NoSigs: true, NoLog: true, MaxPayload: maxPayload,
		SyncAlways: b.cfg.Sync == SyncAlways, SyncInterval: syncInterval,
		JetStreamMaxStore:          cmp.Or(b.cfg.MaxStore, noMaxStore),
		JetStreamLimits:            server.JSLimitOpts{MaxBatchSize: MaxBatch},
		CustomClientAuthentication: &authentication{b},
		AuthTimeout:                authTimeout,
		// The defaults close a client after 2 missed pings of 2 minutes; a dead worker should be seen sooner.
		PingInterval: 20 * time.Second,
		// The server else pings after 2 s, and a guest that waits to be let in takes that for an error.
		DisableShortFirstPing: true,
	}
	if b.cfg.Listen != "" {
		host, port, err := splitListen(b.cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("nats.listen: %w", err)
		}
		opts.Host, opts.Port = host, port
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	log := newServerLog(b.log, b.writeFailed)
	s.SetLoggerV2(log, false, false, false)
	if !open(ctx, s) {
		return nil, ErrOpening
	}
	ready, err := awaitReady(ctx, s, log)
	if err == nil && ready && !s.JetStreamEnabled() {
		err = fmt.Errorf("embedded broker: JetStream did not start in %s", b.cfg.Dir)
	}
	if err != nil || !ready {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

// open has the server read its store. It returns false when ctx ended and it is not through.
func open(ctx context.Context, s *server.Server) bool {
	opened := make(chan struct{})
	var opening sync.WaitGroup
	opening.Go(func() {
		s.Start()
		close(opened)
	})
	select {
	case <-opened:
		return true
	case <-ctx.Done():
	}
	grace := time.NewTimer(startGrace)
	defer grace.Stop()
	select {
	case <-opened:
		return true
	case <-grace.C:
		return false
	}
}

// awaitReady returns false without an error when ctx ends before the server is ready.
func awaitReady(ctx context.Context, s *server.Server, log *serverLog) (bool, error) {
	for end := time.Now().Add(startTimeout); time.Now().Before(end) && ctx.Err() == nil; {
		ready := s.ReadyForConnections(startLook)
		select {
		case why := <-log.gaveUp:
			return false, fmt.Errorf("embedded broker: %s", why)
		default:
		}
		if ready {
			log.started.Store(true)
			return true, nil
		}
	}
	if ctx.Err() != nil {
		return false, nil
	}
	return false, fmt.Errorf("embedded broker: not ready within %s", startTimeout)
}

func splitListen(listen string) (string, int, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q", port)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}
