package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of reading.
const (
	// readTimeout is for one answer: the longest ones load a few cold blocks of 13 ms each, so more than seconds means
	// that the broker is away.
	readTimeout = 5 * time.Second
	// scanBatch is how many messages a scan asks for at a time. At most one and a half of it wait in memory, 17 MB where
	// each has 16 records of 700 bytes.
	scanBatch = 1024
	// scanIdle is how long the broker keeps the consumer of a scan that was not ended.
	scanIdle = 30 * time.Second
)

// reader reads single messages and ranges of a stream.
//
// The server answers direct gets on the goroutine that reads from the connection they came by, so a reader must not
// share its connection with publishers.
type reader struct {
	js  jetstream.JetStream
	nc  *nats.Conn
	api string // prefix of the JetStream API
}

func newReader(js jetstream.JetStream) reader {
	return reader{js: js, nc: js.Conn(), api: apiPrefix(js)}
}

// apiPrefix is the prefix of JetStream's API subjects, with its last dot.
func apiPrefix(js jetstream.JetStream) string {
	prefix := js.Options().APIPrefix
	if prefix == "" {
		return jetstream.DefaultAPIPrefix
	}
	if prefix[len(prefix)-1] != '.' {
		prefix += "."
	}
	return prefix
}

// stored is a message as it lies in a stream.
type stored struct {
	Subject  string
	Sequence uint64
	Time     time.Time
	Header   nats.Header
	Data     []byte
}

// getRequest asks for one message: by Sequence, the Last of a subject, the Next of a subject (wildcards allowed) at or
// after Sequence, or the first at or after StartTime.
type getRequest struct {
	Sequence  uint64     `json:"seq,omitempty"`
	Last      string     `json:"last_by_subj,omitempty"`
	Next      string     `json:"next_by_subj,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

// direct asks any replica, which may be a little behind. It returns nil when there is no such message.
func (r reader) direct(ctx context.Context, stream string, req getRequest) (*stored, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	msg, err := r.nc.RequestWithContext(ctx, r.api+"DIRECT.GET."+stream, body)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	switch status := msg.Header.Get("Status"); status {
	case "":
		return parseDirect(msg)
	case "404":
		return nil, nil
	default:
		return nil, fmt.Errorf("read stream %s: %s %s", stream, status, msg.Header.Get("Description"))
	}
}

func parseDirect(msg *nats.Msg) (*stored, error) {
	sequence, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("sequence of a stored message: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, fmt.Errorf("time of a stored message: %w", err)
	}
	return &stored{msg.Header.Get(jetstream.SubjectHeader), sequence, at, msg.Header, msg.Data}, nil
}

// leader asks the stream's leader, which knows every acknowledged message. It returns nil when there is no such one.
func (r reader) leader(ctx context.Context, stream string, req getRequest) (*stored, error) {
	var answer struct {
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := r.call(ctx, "STREAM.MSG.GET."+stream, req, &answer); err != nil {
		if e, ok := errors.AsType[*jetstream.APIError](err); ok && e.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, nil
		}
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	m := answer.Message
	if m == nil {
		return nil, fmt.Errorf("read stream %s: an answer without message", stream)
	}
	var header nats.Header
	if len(m.Header) > 0 {
		var err error
		if header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, fmt.Errorf("header of message %d of %s: %w", m.Sequence, stream, err)
		}
	}
	return &stored{m.Subject, m.Sequence, m.Time, header, m.Data}, nil
}

// newest is the last message of a subject, and never one that was written over before: where one server has everything
// by a direct get, else by the leader. A direct get costs less, and does not queue: all requests of JetStream's API go
// through as many goroutines of the server as it has cores, and behind those that make consumers a look-up took seconds.
func (r reader) newest(ctx context.Context, stream, subject string) (*stored, error) {
	return r.certain(ctx, stream, getRequest{Last: subject})
}

// certain asks the server whose word counts.
func (r reader) certain(ctx context.Context, stream string, req getRequest) (*stored, error) {
	if r.alone() {
		return r.direct(ctx, stream, req)
	}
	return r.leader(ctx, stream, req)
}

// alone reports whether one server has everything. While there is no connection that is not known, and what is asked then
// may be answered by a replica that was left behind.
func (r reader) alone() bool {
	return r.nc.IsConnected() && r.nc.ConnectedClusterName() == "" && r.nc.IsConnected()
}

// call makes a request of JetStream's API and decodes its answer; an error in it is a *jetstream.APIError.
func (r reader) call(ctx context.Context, subject string, req, answer any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	msg, err := r.nc.RequestWithContext(ctx, r.api+subject, body)
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &failed); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// streamState is what is in a stream.
type streamState struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

// state asks the stream's leader.
func (r reader) state(ctx context.Context, stream string) (streamState, error) {
	var answer struct {
		State streamState `json:"state"`
	}
	if err := r.call(ctx, "STREAM.INFO."+stream, struct{}{}, &answer); err != nil {
		return streamState{}, fmt.Errorf("state of stream %s: %w", stream, err)
	}
	return answer.State, nil
}

// clockSkew is how far the clocks of the broker and of who wrote a message may be apart.
const clockSkew = time.Minute

// since returns the sequence of the first message of a stream stored at or after t, or just before; zero = the first.
func (r reader) since(ctx context.Context, stream string, t time.Time, state streamState) (uint64, error) {
	if t.IsZero() {
		return state.First, nil
	}
	m, err := r.leader(ctx, stream, getRequest{StartTime: new(t.Add(-clockSkew))})
	if err != nil {
		return 0, err
	}
	if m == nil {
		return state.Last + 1, nil
	}
	return m.Sequence, nil
}

// subjects returns the subjects of a stream that match filter, at most the 100,000 that the server gives at once.
func (r reader) subjects(ctx context.Context, stream, filter string) ([]string, error) {
	var answer struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	req := struct {
		Filter string `json:"subjects_filter"`
	}{filter}
	if err := r.call(ctx, "STREAM.INFO."+stream, req, &answer); err != nil {
		return nil, fmt.Errorf("subjects %s of stream %s: %w", filter, stream, err)
	}
	names := make([]string, 0, len(answer.State.Subjects))
	for name := range answer.State.Subjects {
		names = append(names, name)
	}
	return names, nil
}

// remove deletes one message. It returns false when it is not there any more.
func (r reader) remove(ctx context.Context, stream string, sequence uint64) (bool, error) {
	req := struct {
		Sequence uint64 `json:"seq"`
		NoErase  bool   `json:"no_erase"` // erasing overwrites it with random bytes first; an event is no secret
	}{sequence, true}
	err := r.call(ctx, "STREAM.MSG.DELETE."+stream, req, &struct{}{})
	if e, ok := errors.AsType[*jetstream.APIError](err); ok && isGone(e) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove message %d of stream %s: %w", sequence, stream, err)
	}
	return true, nil
}

// count returns how many messages of a stream match filter. The server reads it off its subject index. A batch get tells
// it as a by-product; asking for the subjects would list them all.
func (r reader) count(ctx context.Context, stream, filter string) (uint64, error) {
	inbox := r.nc.NewInbox()
	answers := make(chan *nats.Msg, 2) // the message and the end; the client's own channel would take 512 KiB
	sub, err := r.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return 0, fmt.Errorf("count %s of stream %s: %w", filter, stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	body := fmt.Sprintf(`{"seq":1,"next_by_subj":%q,"batch":1,"max_bytes":1}`, filter)
	if err := r.nc.PublishRequest(r.api+"DIRECT.GET."+stream, inbox, []byte(body)); err != nil {
		return 0, fmt.Errorf("count %s of stream %s: %w", filter, stream, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var msg *nats.Msg
	select {
	case msg = <-answers:
	case <-ctx.Done():
		return 0, fmt.Errorf("count %s of stream %s: %w", filter, stream, context.Cause(ctx))
	}
	switch status := msg.Header.Get("Status"); status {
	case "":
	case "404":
		return 0, nil
	default:
		return 0, fmt.Errorf("count %s of stream %s: %s %s", filter, stream, status, msg.Header.Get("Description"))
	}
	after, err := strconv.ParseUint(msg.Header.Get("Nats-Num-Pending"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("count %s of stream %s: %w", filter, stream, err)
	}
	return after + 1, nil
}

// warmStep is a third of the records of a block.
const warmStep = 4096

// warm has the server load the blocks of [from, to] one by one. A filtered read that passes over blocks which are not in
// memory loads them all under the stream's lock, 13 ms each, while nobody can write; after this it loads none.
func (r reader) warm(ctx context.Context, stream string, from, to uint64) error {
	for at := from; at <= to; at += warmStep {
		if _, err := r.direct(ctx, stream, getRequest{Sequence: at}); err != nil {
			return err
		}
	}
	return nil
}

// scan describes a range of a stream to be read in order.
type scan struct {
	stream      string
	filter      string   // "" = all. The server counts what matches after from first: warm the range before
	filters     []string // several, instead of filter; no two overlap
	from, to    uint64   // sequences, both included
	headersOnly bool
}

// readTries bounds how often a scan goes on whose consumer was lost: it is in memory, and gone when the broker reads its store anew.
const readTries = 3

// errConsumerLost: nobody answers for the consumer of a scan.
var errConsumerLost = errors.New("the consumer is gone")

// read calls fn for every message of the range in order until fn returns false. It reads through a consumer of its own:
// 150,000 to 200,000 messages/s, a third of the cost of batched gets, and without holding up writers. Not for work queues.
func (r reader) read(ctx context.Context, s scan, fn func(sequence uint64, msg *nats.Msg) bool) error {
	for try := 1; ; try++ {
		err := r.readOn(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
			s.from = sequence + 1
			return fn(sequence, msg)
		})
		if try == readTries || !errors.Is(err, errConsumerLost) {
			return err
		}
	}
}

// readOn is read by one consumer.
func (r reader) readOn(ctx context.Context, s scan, fn func(sequence uint64, msg *nats.Msg) bool) error {
	if s.from > s.to {
		return nil
	}
	c, err := r.js.CreateConsumer(ctx, s.stream, jetstream.ConsumerConfig{
		FilterSubject: s.filter, FilterSubjects: s.filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(s.from, 1),
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: s.headersOnly,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: scanIdle,
	})
	if err != nil {
		return fmt.Errorf("scan stream %s: %w", s.stream, err)
	}
	name := c.CachedInfo().Name
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		_ = r.js.DeleteConsumer(ctx, s.stream, name) // else it ends by itself after scanIdle
	}()
	if c.CachedInfo().NumPending == 0 {
		return nil // an empty stream, or everything in the range was deleted: nothing would come
	}
	if err := r.pull(ctx, s, name, fn); err != nil {
		return fmt.Errorf("scan stream %s: %w", s.stream, err)
	}
	return nil
}

// pull asks the consumer for the next batch whenever half of the last one has come.
func (r reader) pull(ctx context.Context, s scan, consumer string, fn func(uint64, *nats.Msg) bool) error {
	messages := make(chan *nats.Msg, 2*scanBatch+8) // what may be on its way, and its status messages
	inbox := r.nc.NewInbox()
	sub, err := r.nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	left, outstanding := s.to-s.from+1, uint64(0)
	patience := time.NewTimer(readTimeout)
	defer patience.Stop()
	for {
		if batch := min(left, scanBatch); batch > 0 && outstanding <= scanBatch/2 {
			req := fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, batch, readTimeout/2)
			if err := r.nc.PublishRequest(r.api+"CONSUMER.MSG.NEXT."+s.stream+"."+consumer, inbox, req); err != nil {
				return err
			}
			left, outstanding = left-batch, outstanding+batch
			patience.Reset(readTimeout)
		}
		var msg *nats.Msg
		select {
		case msg = <-messages:
		default:
			select {
			case msg = <-messages:
			case <-patience.C:
				return fmt.Errorf("the broker does not answer: %w", nats.ErrTimeout)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if msg.Reply == "" { // a status: what was asked for is not there
			return pullEnded(msg)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream > s.to || !fn(meta.Sequence.Stream, msg) {
			return nil
		}
		if outstanding--; meta.Sequence.Stream == s.to || meta.NumPending == 0 {
			return nil
		}
	}
}

// pullEnded tells the end of what there is from an error. 404 and 408 say that nothing more came in time.
func pullEnded(msg *nats.Msg) error {
	switch status := msg.Header.Get("Status"); {
	case status == "404", status == "408":
		return nil
	case status == "503", status == "409" && msg.Header.Get("Description") == "Consumer Deleted":
		return errConsumerLost
	default:
		return fmt.Errorf("%s %s", status, msg.Header.Get("Description"))
	}
}
