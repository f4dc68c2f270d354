package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// How long things are kept that end by themselves.
const (
	deadRetention    = 30 * 24 * time.Hour // API.md 4
	historyRetention = 7 * 24 * time.Hour
	statusDuplicates = time.Second      // statuses have no ids; the server refuses a window above what is kept
	cancelRetention  = time.Hour        // a delivery in flight ends within its timeout, 5 minutes at most
	markerTTL        = 10 * time.Second // how long a KV marker of an expired key stays
)

// maxLanes bounds the consumers of EVENTS: 6 GB of the broker's memory, at 60 KB a lane. Without it the server's own bound
// of a thousand holds.
const maxLanes = 100_000

// checkInterval is how often the streams are compared with their birth certificates.
const checkInterval = 5 * time.Second

// ErrStreamLost says that a stream which was once made is gone, or is not the one that was made. It is never made again
// silently: that would look healthy and hide the loss. Topology.Ensure returns it.
var ErrStreamLost = errors.New("a stream is lost")

// Config says how the streams are made.
type Config struct {
	Replicas  int           // 1 on one machine, 3 in a cluster
	Retention time.Duration // of settled events
	MaxSize   int64         // bytes of EVENTS; 0 = no limit of its own
	Dedupe    time.Duration // window in which an event's id is known
	Statuses  time.Duration // how long a status is kept that no newer one replaces; 0 = there are none
}

// DefaultConfig is what API.md 6 says.
func DefaultConfig() Config {
	return Config{Replicas: 1, Retention: 72 * time.Hour, Dedupe: 10 * time.Minute, Statuses: 30 * 24 * time.Hour}
}

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Replicas < 1 || c.Replicas > 5 || c.Replicas%2 == 0 {
		errs = append(errs, fmt.Errorf("nats.replicas: %d is none of 1, 3, 5", c.Replicas))
	}
	if c.Retention <= 0 {
		errs = append(errs, fmt.Errorf("events.retention: %s is not positive", c.Retention))
	}
	if c.MaxSize < 0 {
		errs = append(errs, fmt.Errorf("events.maxsize: %d is negative", c.MaxSize))
	}
	// The server refuses windows under 100 ms, and holds every id of the window in memory.
	if c.Dedupe < 100*time.Millisecond || c.Dedupe > 7*24*time.Hour {
		errs = append(errs, fmt.Errorf("events.dedupe: %s is not within 100ms and 7d", c.Dedupe))
	}
	if c.Statuses != 0 && c.Statuses < minStatuses {
		errs = append(errs, fmt.Errorf("statuses.retention: %s is under %s", c.Statuses, minStatuses))
	}
	return errors.Join(errs...)
}

// minStatuses is the least retention of statuses: the server keeps everything for a little longer.
const minStatuses = time.Second

// certificate is what is known of a stream since its birth.
type certificate struct {
	Stream  string    `json:"stream"`
	Created time.Time `json:"created"`
}

// Topology makes the streams and buckets once, and watches that they stay.
type Topology struct {
	js  jetstream.JetStream
	cfg Config
	log zerolog.Logger

	mu      sync.Mutex
	problem string
}

// NewTopology checks cfg. It makes nothing yet.
func NewTopology(js jetstream.JetStream, cfg Config, log zerolog.Logger) (*Topology, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Topology{js: js, cfg: cfg, log: log}, nil
}

// ensureTimeout bounds Ensure: on a busy disk each of some 20 streams and buckets takes seconds.
const ensureTimeout = 2 * time.Minute

// ensureAsk bounds one step of Ensure before it is tried again: a cluster that has no leader yet never answers a request
// that came early.
const ensureAsk = 10 * time.Second

// persist does step again and again while the broker does not answer, until ctx ends.
func persist(ctx context.Context, step func(context.Context) error) error {
	for {
		asked, cancel := context.WithTimeout(ctx, ensureAsk)
		err := step(asked)
		unanswered := err != nil && asked.Err() != nil
		cancel()
		if !unanswered || ctx.Err() != nil {
			return err
		}
	}
}

// Ensure makes what is not there yet. It returns ErrStreamLost for a stream that has a birth certificate and is gone.
// Several processes may call it at the same time.
func (t *Topology) Ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	if err := t.ensureBuckets(ctx); err != nil {
		return err
	}
	var fleet jetstream.KeyValue
	err := persist(ctx, func(ctx context.Context) (err error) {
		fleet, err = t.js.KeyValue(ctx, BucketFleet)
		return err
	})
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", BucketFleet, err)
	}
	var errs []error
	for _, cfg := range t.streams() {
		errs = append(errs, persist(ctx, func(ctx context.Context) error { return t.ensureStream(ctx, fleet, cfg) }))
	}
	return errors.Join(errs...)
}

// Problem is what is wrong with the streams now; "" = nothing.
func (t *Topology) Problem() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.problem
}

// Run compares the streams with their birth certificates until ctx ends.
func (t *Topology) Run(ctx context.Context) error {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.check(ctx)
		}
	}
}

func (t *Topology) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkInterval)
	defer cancel()
	problem := ""
	if fleet, err := t.js.KeyValue(ctx, BucketFleet); err != nil {
		problem = fmt.Sprintf("bucket %s: %v", BucketFleet, err)
	} else {
		for _, cfg := range t.streams() {
			if err := t.compare(ctx, fleet, cfg.Name); err != nil {
				problem = err.Error()
				break
			}
		}
	}
	t.mu.Lock()
	changed := problem != t.problem
	t.problem = problem
	t.mu.Unlock()
	if changed && problem != "" && ctx.Err() == nil {
		t.log.Error().Str("problem", problem).Msg("streams are not as they should be")
	}
}

// compare returns ErrStreamLost when the stream is gone or is another one than was made.
func (t *Topology) compare(ctx context.Context, fleet jetstream.KeyValue, name string) error {
	born, err := readCertificate(ctx, fleet, name)
	if err != nil {
		return err
	}
	s, err := t.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: %s is gone", ErrStreamLost, name)
	}
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, err)
	}
	if created := s.CachedInfo().Created; born != nil && !created.Equal(born.Created) {
		return fmt.Errorf("%w: %s was made at %s, this one at %s", ErrStreamLost, name, born.Created, created)
	}
	return nil
}

// Born is when a stream was made, by its birth certificate.
func (t *Topology) Born(ctx context.Context, stream string) (time.Time, error) {
	fleet, err := t.js.KeyValue(ctx, BucketFleet)
	if err != nil {
		return time.Time{}, fmt.Errorf("open bucket %s: %w", BucketFleet, err)
	}
	born, err := readCertificate(ctx, fleet, stream)
	if err == nil && born == nil {
		err = fmt.Errorf("%w: %s was never made", ErrStreamLost, stream)
	}
	if err != nil {
		return time.Time{}, err
	}
	return born.Created, nil
}

func (t *Topology) ensureStream(ctx context.Context, fleet jetstream.KeyValue, cfg jetstream.StreamConfig) error {
	born, err := readCertificate(ctx, fleet, cfg.Name)
	if err != nil {
		return err
	}
	if born != nil {
		if err := t.compare(ctx, fleet, cfg.Name); err != nil {
			return err
		}
		if _, err := t.js.UpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("update stream %s: %w", cfg.Name, err)
		}
		return nil
	}
	s, err := t.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		s, err = t.js.UpdateStream(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("make stream %s: %w", cfg.Name, err)
	}
	b, err := json.Marshal(certificate{Stream: cfg.Name, Created: s.CachedInfo().Created})
	if err != nil {
		return fmt.Errorf("encode certificate of %s: %w", cfg.Name, err)
	}
	if _, err := fleet.Create(ctx, certificateKey(cfg.Name), b); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("write certificate of %s: %w", cfg.Name, err)
	}
	return nil
}

func certificateKey(stream string) string { return "stream." + stream }

// readCertificate returns nil when the stream was never made.
func readCertificate(ctx context.Context, fleet jetstream.KeyValue, stream string) (*certificate, error) {
	entry, err := fleet.Get(ctx, certificateKey(stream))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate of %s: %w", stream, err)
	}
	c := &certificate{}
	if err := json.Unmarshal(entry.Value(), c); err != nil {
		return nil, fmt.Errorf("decode certificate of %s: %w", stream, err)
	}
	return c, nil
}

func (t *Topology) ensureBuckets(ctx context.Context) error {
	for _, cfg := range t.buckets() {
		err := persist(ctx, func(ctx context.Context) error {
			_, err := t.js.CreateOrUpdateKeyValue(ctx, cfg)
			return err
		})
		if err != nil {
			return fmt.Errorf("make bucket %s: %w", cfg.Bucket, err)
		}
	}
	return nil
}

func (t *Topology) buckets() []jetstream.KeyValueConfig {
	plain := func(name string) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{Bucket: name, History: 1, Storage: jetstream.FileStorage, Replicas: t.cfg.Replicas}
	}
	expiring := func(name string, ttl time.Duration) jetstream.KeyValueConfig {
		cfg := plain(name)
		cfg.TTL, cfg.LimitMarkerTTL = ttl, markerTTL
		return cfg
	}
	return []jetstream.KeyValueConfig{
		expiring(BucketFleet, 0),
		plain(BucketSubscriptions),
		plain(BucketSinks),
		plain(BucketKeys),
		plain(BucketLanes),
		plain(BucketLifecycle),
		plain(BucketSources),
		plain(BucketSourceTicks),
		plain(BucketPolls),
		plain(BucketReplays),
		plain(BucketReplayed),
		expiring(BucketPollers, 0),
		expiring(BucketWorkers, 0),
		expiring(BucketPaces, 0),
		expiring(BucketCancels, cancelRetention),
		expiring(BucketTokens, tokenRetention),
	}
}

// streams are the settings of DESIGN.md, "What flows where".
func (t *Topology) streams() []jetstream.StreamConfig {
	file := func(c jetstream.StreamConfig) jetstream.StreamConfig {
		c.Storage, c.Replicas, c.AllowDirect = jetstream.FileStorage, t.cfg.Replicas, true
		return c
	}
	maxSize := t.cfg.MaxSize
	if maxSize == 0 {
		maxSize = -1
	}
	return []jetstream.StreamConfig{
		// No MaxAge: what is not delivered is never deleted by age. The scheduler trims what is settled.
		file(jetstream.StreamConfig{
			Name: Events, Subjects: []string{SubjectEvents + ">"}, Retention: jetstream.LimitsPolicy,
			Discard: jetstream.DiscardNew, MaxBytes: maxSize, Duplicates: t.cfg.Dedupe, AllowAtomicPublish: true,
			MaxConsumers: maxLanes,
		}),
		// No limits: with schedules the server refuses Discard New, and would delete the oldest timers.
		file(jetstream.StreamConfig{
			Name: Retries, Subjects: []string{SubjectRetry + ">", SubjectDue + ">", subjectPin}, Retention: jetstream.WorkQueuePolicy,
			AllowMsgSchedules: true,
		}),
		// One message a delivery: putting it there twice is refused, so holding again is harmless.
		file(jetstream.StreamConfig{
			Name: HeldName, Subjects: []string{SubjectHeld + ">"}, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, DiscardNewPerSubject: true,
		}),
		file(jetstream.StreamConfig{
			Name: DeadName, Subjects: []string{SubjectDead + ">"}, Retention: jetstream.LimitsPolicy,
			MaxAge: deadRetention, MaxMsgsPerSubject: 1,
		}),
		file(jetstream.StreamConfig{
			Name: Attempts, Subjects: []string{SubjectHistory + ">"}, Retention: jetstream.LimitsPolicy,
			MaxAge: historyRetention, Compression: jetstream.S2Compression, AllowBatchPublish: true,
		}),
		// One message an item. Completed ones carry the time that they are kept for.
		file(jetstream.StreamConfig{
			Name: Items, Subjects: []string{SubjectItems + ">"}, Retention: jetstream.LimitsPolicy,
			Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, AllowMsgTTL: true,
		}),
		file(jetstream.StreamConfig{
			Name: StatusesName, Subjects: []string{SubjectStatuses + ">"}, Retention: jetstream.LimitsPolicy,
			MaxAge: max(t.cfg.Statuses, minStatuses), MaxMsgsPerSubject: 1, Duplicates: statusDuplicates,
		}),
	}
}
