package api

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of replays.
const (
	// maxReplayBody fits 64 filters of 4 KiB and as much again.
	maxReplayBody = maxSubscriptionBody
	// maxOpenReplays bounds those of the fleet that have not ended: the scheduler runs all of them, with up to 5,000
	// deliveries under way each.
	maxOpenReplays = 100
	// maxTenantReplays is how many of those one tenant may have, so that none keeps the others out.
	maxTenantReplays = 20
	// replayWait is after how long who has too many should try again.
	replayWait = 30 * time.Second
	// replayTries bounds how often a change of a replay looks again at what was changed meanwhile.
	replayTries = 5
)

// replayRate is the rate of a replay as it is asked for: a number of deliveries a second, or a Rate.
type replayRate struct{}

// newReplay is what makes a replay.
type newReplay struct {
	ID           string          `json:"id" doc:"made up if absent; unique in the fleet"`
	Subscription string          `json:"subscription" doc:"whose deliveries are made once more"`
	From         string          `json:"from" doc:"events: those that the subscription and filters match now, in the order of their sequences, whatever the subscription was when they were accepted; dead-letters: those of the subscription"`
	Since        time.Time       `json:"since" doc:"accepted, or given up, at this time or later; default: the oldest that is stored"`
	Until        time.Time       `json:"until" doc:"accepted, or given up, before this time; default: now. What comes after this request is never replayed"`
	Filters      []events.Filter `json:"filters" doc:"as those of a subscription: all must hold, beside the subscription's own"`
	Rate         replayRate      `json:"rate"`
	DryRun       bool            `json:"dryrun" doc:"count matched and skipped, and send nothing"`
	Again        bool            `json:"again" doc:"from events: make also what an earlier replay of this subscription has made"`
}

// replayView is a replay in an answer.
type replayView struct {
	ID           string             `json:"id"`
	Tenant       string             `json:"tenant"`
	Subscription string             `json:"subscription"`
	From         string             `json:"from" doc:"events or dead-letters"`
	Since        Time               `json:"since,omitzero" doc:"absent: the oldest that is stored"`
	Until        Time               `json:"until"`
	Filters      []events.Filter    `json:"filters,omitempty"`
	Rate         *events.Rate       `json:"rate,omitempty" doc:"absent: one that leaves room for live traffic"`
	DryRun       bool               `json:"dryrun"`
	Again        bool               `json:"again"`
	State        events.ReplayState `json:"state" doc:"done when all its deliveries have ended"`
	Reason       events.Reason      `json:"reason,omitempty" doc:"unsubscribed: it was cancelled because its subscription is gone"`
	Matched      uint64             `json:"matched" doc:"events or dead letters in the range that match, so far; at the end: sent, and those that were not made again"`
	Sent         uint64             `json:"sent" doc:"deliveries made, so far; at the end: delivered + dead + cancelled + those that ended as skipped"`
	Delivered    uint64             `json:"delivered"`
	Dead         uint64             `json:"dead"`
	Skipped      uint64             `json:"skipped" doc:"not made, because an earlier replay made them; or made, and ended as skipped"`
	Cancelled    uint64             `json:"cancelled"`
	CreatedAt    Time               `json:"createdat"`
	EndedAt      Time               `json:"endedat,omitzero" doc:"when the last of its deliveries ended, also of a cancelled one"`
}

func viewReplay(s *stream.StoredReplay) replayView {
	c := s.Run.Counts
	until := s.Until
	if until.IsZero() {
		until = s.CreatedAt
	}
	return replayView{
		ID: s.ID, Tenant: s.Tenant, Subscription: s.Subscription, From: s.From, Since: Time(s.Since), Until: Time(until), Filters: s.Filters,
		Rate: s.Rate, DryRun: s.DryRun, Again: s.Again, State: s.State(), Reason: s.Run.Reason, Matched: c.Matched, Sent: c.Sent,
		Delivered: c.Delivered, Dead: c.Dead, Skipped: c.Skipped, Cancelled: c.Cancelled, CreatedAt: Time(s.CreatedAt), EndedAt: Time(s.Run.EndedAt),
	}
}

var replayStates = []events.ReplayState{events.ReplayRunning, events.ReplayPaused, events.ReplayDone, events.ReplayCancelled}

func (a *API) replayRoutes() []route {
	var states []string
	for _, s := range replayStates {
		states = append(states, string(s))
	}
	one := []answer{{status: 200, text: "the replay", value: typeOf[replayView]()}}
	return []route{
		{
			method: "GET", path: "/v1/replays", id: "listReplays", tag: "replays", summary: "List replays", roles: managers,
			query: append([]param{
				{name: "subscription", kind: kindID, text: "only this subscription's"},
				{name: "tenant", kind: kindID, text: "only this tenant's"},
				{name: "state", kind: kindEnum, values: states, text: "only those in this state"},
			}, pageParams...),
			handle: a.listReplays, answers: []answer{{status: 200, text: "a page of replays", value: typeOf[page[replayView]]()}},
		},
		{
			method: "POST", path: "/v1/replays", id: "createReplay", tag: "replays", summary: "Deliver events or dead letters once more", roles: managers,
			text:  createReplayText,
			body:  &content{media: []string{jsonType}, value: typeOf[newReplay](), maxBytes: maxReplayBody},
			codes: []Code{CodeInvalidReplay, CodeIDTaken, CodeNotFound, CodeTooManyReplays}, handle: a.createReplay,
			answers: []answer{{status: 201, text: "the replay, which runs", value: typeOf[replayView](), headers: []string{"Location"}}},
		},
		{
			method: "GET", path: "/v1/replays/{id}", id: "getReplay", tag: "replays", summary: "Read a replay", roles: managers,
			text:  "Its counts are a second or two behind while it runs, and exact once endedat is there. It is kept for 30 days after its end.",
			codes: []Code{CodeBadID}, handle: a.getReplay, answers: one,
		},
		{
			method: "POST", path: "/v1/replays/{id}/pause", id: "pauseReplay", tag: "replays", summary: "Pause a replay", roles: managers,
			text:  "No more deliveries are made, but for those that are being made just now. Those that were made go on. Pausing what is paused changes nothing.",
			codes: []Code{CodeBadID, CodeEnded}, handle: func(c *call) error { return a.wishReplay(c, events.ReplayPaused) }, answers: one,
		},
		{
			method: "POST", path: "/v1/replays/{id}/resume", id: "resumeReplay", tag: "replays", summary: "Resume a replay", roles: managers,
			text:  "It goes on where it stopped. Resuming what runs changes nothing.",
			codes: []Code{CodeBadID, CodeEnded}, handle: func(c *call) error { return a.wishReplay(c, events.ReplayRunning) }, answers: one,
		},
		{
			method: "DELETE", path: "/v1/replays/{id}", id: "cancelReplay", tag: "replays", summary: "Cancel a replay", roles: managers,
			text: "No more deliveries are made, and those that wait are cancelled; a request that is in flight goes on. The replay stays visible as " +
				"cancelled. Cancelling what is cancelled changes nothing; what is done cannot be cancelled.",
			codes: []Code{CodeBadID, CodeEnded}, handle: a.cancelReplay, answers: []answer{{status: 204, text: "it is cancelled"}},
		},
	}
}

const createReplayText = "Each delivery is a new one (replayof, replay) with the webhook-id of the first, and full retries that begin anew. They are made " +
	"evenly at the replay's rate, and no more of them are on their first attempt at a time than half of the subscription's concurrency, so that " +
	"the other half is for live traffic. Without a rate, all such replays together make 50 a second, and each at most half of its subscription's " +
	"own rate. From events, a delivery that an earlier replay of this subscription made is not made again, whatever the ranges of the two, unless " +
	"again is true: it counts as skipped. Replays of one subscription's events go one after the other. A dead letter leaves the list when its " +
	"replay is made; it dies as another one. What is deleted before the replay comes to it, because it is older than the retention, is not " +
	"replayed. There may be 100 replays in the fleet that have not ended, 20 of one tenant."

func (a *API) createReplay(c *call) error {
	text, err := c.body()
	if err != nil {
		return err
	}
	job, err := events.DecodeReplay(text, a.deps.Sinks)
	invalid, faulted := errors.AsType[*events.Invalid](err)
	if err != nil && (!faulted || job == nil) {
		return err
	}
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return err
	}
	if events.IsID(job.Subscription) {
		e, ok := a.deps.Registry.Lookup(job.Subscription)
		missing := events.Fault{Pointer: "/subscription", Detail: "there is no such subscription"}
		switch {
		case ok && !c.hidden(e.Subscription.Tenant):
			job.Tenant, job.Subscribed = e.Subscription.Tenant, e.CreatedAt
		case faulted:
			invalid.Faults = append(invalid.Faults, missing)
		default:
			return faulty(CodeNotFound, missing)
		}
	}
	if faulted {
		return invalid
	}
	return a.storeReplay(c, job)
}

// storeReplay stores a replay of a subscription that the caller may replay.
func (a *API) storeReplay(c *call, job *events.Replay) error {
	ctx := c.r.Context()
	if err := a.replayRoom(c, job.Tenant); err != nil {
		return err
	}
	if job.ID == "" {
		job.ID = "rep_" + strings.ToLower(rand.Text())
	}
	var end uint64
	var err error
	if job.From == events.ReplayDeadLetters {
		_, end, err = a.dead.Bounds(ctx)
	} else {
		_, end, err = a.events.Bounds(ctx)
	}
	if err != nil {
		return err
	}
	job.Through, job.CreatedAt = end-1, time.Now().UTC().Truncate(time.Millisecond)
	s, err := a.replays.Create(ctx, job)
	if errors.Is(err, stream.ErrReplayTaken) {
		return problem(CodeIDTaken, "there is a replay of this id")
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/replays/"+s.ID)
	return c.json(http.StatusCreated, viewReplay(s))
}

// replayRoom refuses a replay when too many have not ended.
func (a *API) replayRoom(c *call, tenant string) error {
	all, err := a.replays.List(c.r.Context())
	if err != nil {
		return err
	}
	open, own := 0, 0
	for _, s := range all {
		if s.Finished() {
			continue
		}
		if open++; s.Tenant == tenant {
			own++
		}
	}
	if open < maxOpenReplays && own < maxTenantReplays {
		return nil
	}
	p := problem(CodeTooManyReplays, "%d replays have not ended, %d of tenant %s", open, own, tenant)
	if c.tenant() != "" {
		p.Detail = "too many replays have not ended"
	}
	p.RetryAfter = replayWait
	return p
}

func (a *API) listReplays(c *call) error {
	at, after, _, err := c.query.at(c.tenant(), 1)
	if err != nil {
		return err
	}
	p := page[replayView]{Items: []replayView{}}
	tenant, none := c.wants()
	if none {
		return c.json(http.StatusOK, p)
	}
	all, err := a.replays.List(c.r.Context())
	if err != nil {
		return err
	}
	subscription, state := c.query.text("subscription"), events.ReplayState(c.query.text("state"))
	all = slices.DeleteFunc(all, func(s *stream.StoredReplay) bool {
		return tenant != "" && s.Tenant != tenant || subscription != "" && s.Subscription != subscription || state != "" && s.State() != state ||
			after != "" && compareNewest(s.CreatedAt, s.ID, time.Unix(0, int64(at[0])), after) <= 0
	})
	for _, s := range all[:min(len(all), c.query.limit)] {
		p.Items = append(p.Items, viewReplay(s))
	}
	if len(all) > c.query.limit {
		last := all[c.query.limit-1]
		p.Next = c.query.cursor(c.tenant(), last.ID, uint64(last.CreatedAt.UnixNano()))
	}
	return c.json(http.StatusOK, p)
}

// replayOf returns the replay in the path, if the caller may see it.
func (a *API) replayOf(c *call) (*stream.StoredReplay, error) {
	id, err := c.objectID()
	if err != nil {
		return nil, err
	}
	s, ok, err := a.replays.Get(c.r.Context(), id)
	if err != nil {
		return nil, err
	}
	if !ok || c.hidden(s.Tenant) {
		return nil, problem(CodeNotFound, "there is no such replay, or none any more")
	}
	return s, nil
}

func (a *API) getReplay(c *call) error {
	s, err := a.replayOf(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, viewReplay(s))
}

// setWish says what is wanted of the replay in the path.
func (a *API) setWish(c *call, wish events.ReplayState) (*stream.StoredReplay, error) {
	for try := 1; ; try++ {
		s, err := a.replayOf(c)
		if err != nil {
			return nil, err
		}
		state := s.State()
		if state == wish {
			return s, nil
		}
		if state == events.ReplayDone || state == events.ReplayCancelled {
			return nil, problem(CodeEnded, "the replay is %s", state)
		}
		err = a.replays.SetWish(c.r.Context(), s, wish)
		if err == nil || !errors.Is(err, stream.ErrMoved) || try == replayTries {
			return s, err
		}
	}
}

func (a *API) wishReplay(c *call, wish events.ReplayState) error {
	s, err := a.setWish(c, wish)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, viewReplay(s))
}

func (a *API) cancelReplay(c *call) error {
	if _, err := a.setWish(c, events.ReplayCancelled); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
