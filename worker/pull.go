package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// How a pull request lives at the broker.
const (
	pullExpires   = 30 * time.Second
	pullHeartbeat = 5 * time.Second
	// pullSilence without message or heartbeat means that the broker forgot the request (nats.go issue 2063): ask anew.
	pullSilence = 3 * pullHeartbeat
	// drainTimeout bounds the wait for messages that are on their way when we stop; what comes later is redelivered.
	drainTimeout = 2 * time.Second
	renewPause   = 500 * time.Millisecond
)

// puller pulls messages of one consumer, never more than it has slots for: a message that waits here unseen would run
// into its AckWait. Everything it hands out occupies a slot until release.
type puller struct {
	nc       *nats.Conn
	log      zerolog.Logger
	stream   string
	consumer string
	slots    int
	handle   func(*nats.Msg)
	inOrder  func(*nats.Msg) bool        // handles what must keep its order, and tells whether m was; nil = nothing must
	giveBack func(*nats.Msg)             // what must not be handled
	fresh    func(context.Context) error // before what has come is handled: the registry is as new as it
	renew    func(context.Context) error // before it asks a broker that was away
	over     *sync.WaitGroup             // waits for what is in hand when run has ended; nil = run does
	idle     chan struct{}               // closed: nothing more is handed out
	came     chan struct{}               // something is in come

	mu      sync.Mutex
	come    []*nats.Msg // what has come since fresh was last asked for; at most slots
	free    int         // slots neither in hand nor asked for
	asked   int         // messages that the broker owes us
	last    time.Time
	kick    chan struct{}
	stopped bool // nothing more is asked for
	deaf    bool // what comes now comes too late
	lost    bool // the consumer does not exist (any more)
}

// newPuller makes a puller with this many slots. Its caller sets handle.
func (w *Worker) newPuller(streamName, consumer string, slots int) *puller {
	return &puller{
		nc: w.nc, log: w.log, stream: streamName, consumer: consumer, slots: slots, free: slots,
		giveBack: func(m *nats.Msg) { w.finish(m, errReturned) }, fresh: w.registry.Fresh, renew: w.prepare,
		kick: make(chan struct{}, 1), idle: make(chan struct{}), came: make(chan struct{}, 1),
	}
}

// errConsumerLost ends run: whoever started the puller makes the consumer again.
var errConsumerLost = fmt.Errorf("the consumer is gone")

// run pulls until ctx ends. Each message is handled on a goroutine that is its own for that time, and all of those have
// ended when run returns, unless over waits for them.
func (p *puller) run(ctx context.Context) error {
	handling := newHandlers(p.handle)
	defer func() {
		if p.over == nil {
			handling.wait()
			return
		}
		p.over.Go(handling.wait)
	}()
	inbox := p.nc.NewInbox()
	sub, err := p.nc.Subscribe(inbox, p.received)
	if err != nil {
		return fmt.Errorf("listen for messages of %s: %w", p.consumer, err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("listen for messages of %s: %w", p.consumer, err)
	}
	var handing sync.WaitGroup
	handing.Go(func() { p.handOut(ctx, handling) })
	defer handing.Wait()
	defer p.stop(sub)
	watch := time.NewTicker(pullHeartbeat)
	defer watch.Stop()
	back := p.nc.StatusChanged(nats.CONNECTED)
	defer p.nc.RemoveStatusListener(back)
	for {
		if err := p.ask(inbox); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.kick:
		case <-watch.C:
			p.forgive(pullSilence)
		case <-back:
			p.resume(ctx)
		}
	}
}

// stop ends the subscription. What arrived before is still handed out, to be given back by who handles it.
func (p *puller) stop(sub *nats.Subscription) {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	closed := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(closed) })
	if err := sub.Drain(); err == nil { // else the connection is closed, and nothing comes any more
		select {
		case <-closed:
		case <-time.After(drainTimeout):
		}
	}
	p.mu.Lock()
	p.deaf = true
	p.mu.Unlock()
	close(p.came)
}

// ask requests as many messages as there are free slots, once that is worth a request.
func (p *puller) ask(inbox string) error {
	p.mu.Lock()
	n := p.free
	if p.lost {
		p.mu.Unlock()
		return errConsumerLost
	}
	// A request costs as much as some messages: wait until a quarter is free, unless nothing is on its way.
	if p.stopped || n <= 0 || (p.asked > 0 && n < p.slots/4) {
		p.mu.Unlock()
		return nil
	}
	p.free, p.asked, p.last = 0, p.asked+n, time.Now()
	p.mu.Unlock()
	body := fmt.Sprintf(`{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, n, pullExpires.Nanoseconds(), pullHeartbeat.Nanoseconds())
	err := p.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.stream+"."+p.consumer, inbox, []byte(body))
	if err != nil {
		return fmt.Errorf("ask for messages of %s: %w", p.consumer, err)
	}
	return nil
}

// forgive takes back what the broker owes us when it has been silent for too long.
func (p *puller) forgive(silence time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked > 0 && time.Since(p.last) >= silence {
		p.log.Warn().Str("consumer", p.consumer).Int("messages", p.asked).Msg("asking the broker anew")
		p.free, p.asked = p.free+p.asked, 0
	}
}

// resume goes on after the broker was away. It may have been killed, and with it our requests and its memory of the last
// acks: what was settled is learned before anything is asked for.
func (p *puller) resume(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.renew(ctx)
		if err == nil {
			break
		}
		p.log.Warn().Err(err).Str("consumer", p.consumer).Msg("broker is back, its state is not read yet")
		select {
		case <-ctx.Done():
		case <-time.After(renewPause):
		}
	}
	p.forgive(0)
}

// release frees the slot of a message that was handed out.
func (p *puller) release() {
	p.mu.Lock()
	p.free++
	worth := p.asked == 0 || p.free >= p.slots/4
	p.mu.Unlock()
	if worth {
		p.poke()
	}
}

func (p *puller) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *puller) received(m *nats.Msg) {
	if len(m.Data) == 0 && m.Header.Get("Status") != "" {
		p.status(m)
		return
	}
	p.mu.Lock()
	p.last = time.Now()
	if p.asked > 0 {
		p.asked--
	} else {
		p.free-- // owed by a request that was forgiven
	}
	defer p.mu.Unlock()
	if p.deaf {
		return
	}
	if p.come = append(p.come, m); len(p.come) == 1 {
		p.came <- struct{}{} // has room: it was taken with what came before
	}
}

// freshWithin is how long asking for freshness may take: what has come is not kept alive meanwhile, and is given back
// when another worker may have it soon.
const freshWithin = ackWait / 4

// handOut hands out what has come, once the registry is as new as it is. All that comes while that is asked for shares
// the next answer, and waits in a list: a goroutine that waits for each costs a twentieth of a delivery. It returns when
// came is closed and everything is handed out.
func (p *puller) handOut(ctx context.Context, handling *handlers[*nats.Msg]) {
	defer close(p.idle)
	defer handling.dismiss()
	for more := true; more; {
		_, more = <-p.came
		p.mu.Lock()
		batch := p.come
		p.come = nil
		p.mu.Unlock()
		start := time.Now()
		err := p.fresh(ctx)
		for _, m := range batch {
			switch {
			case err != nil || time.Since(start) > freshWithin: // the broker is away, or we stop
				p.giveBack(m)
				p.release()
			case p.inOrder != nil && p.inOrder(m):
				p.release()
			default:
				handling.give(m)
			}
		}
	}
}

// status takes the broker's word about a request.
func (p *puller) status(m *nats.Msg) {
	code, description := m.Header.Get("Status"), m.Header.Get("Description")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	switch code {
	case "100": // heartbeat
		return
	case "503", "404":
		p.lost = code == "503"
	case "409":
		p.lost = strings.Contains(description, "Consumer Deleted")
	}
	unsent, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil {
		unsent = p.asked
	}
	unsent = min(unsent, p.asked)
	p.asked -= unsent
	p.free += unsent
	p.poke()
}

// delivered is what the reply subject of a pulled message says of it.
type delivered struct {
	Sequence uint64    // in the stream
	Times    int       // how often it was handed out, this time included
	Stored   time.Time // when the broker stored it
}

// parseDelivered reads $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<times>.<sequence>.<consumer sequence>.<time>.<pending>[.<random>].
func parseDelivered(reply string) (d delivered, ok bool) {
	var room [16]string // one per delivery: no allocation for it
	tokens := room[:0]
	for rest, more := reply, true; more && len(tokens) < len(room); {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		tokens = append(tokens, token)
	}
	at := 4
	if len(tokens) >= 11 {
		at = 6
	}
	if len(tokens) < at+5 {
		return d, false
	}
	times, err1 := strconv.Atoi(tokens[at])
	sequence, err2 := strconv.ParseUint(tokens[at+1], 10, 64)
	stored, err3 := strconv.ParseInt(tokens[at+3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return d, false
	}
	return delivered{Sequence: sequence, Times: times, Stored: time.Unix(0, stored)}, true
}

// Answers to the broker about a message. Ack belongs to settle.go alone.
var (
	inProgress = []byte("+WPI")
	nak        = []byte("-NAK")
)

// consumerState is the part of a consumer's info that is needed here.
type consumerState struct {
	AckFloor struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"ack_floor"`
	Delivered struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"delivered"`
	NumPending    uint64 `json:"num_pending"`
	NumAckPending int    `json:"num_ack_pending"`
}

// readConsumer asks the broker for a consumer's state.
func readConsumer(ctx context.Context, nc *nats.Conn, streamName, consumer string) (*consumerState, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	answer, err := nc.RequestWithContext(ctx, "$JS.API.CONSUMER.INFO."+streamName+"."+consumer, nil)
	if err != nil {
		return nil, fmt.Errorf("look at consumer %s: %w", consumer, err)
	}
	var state struct {
		consumerState
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &state); err != nil {
		return nil, fmt.Errorf("look at consumer %s: %w", consumer, err)
	}
	if state.Error != nil {
		return nil, fmt.Errorf("look at consumer %s: %s", consumer, state.Error.Description)
	}
	return &state.consumerState, nil
}
