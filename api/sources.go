package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// What the contract leaves open.
const (
	sourceBodyText = "url and type are required. lastpoll and items are read-only and ignored, so that what GET answered can be sent back."
	putSourceText  = "Replaces the whole source; what is left out becomes its default. Its items stay, at the statuses that they have. A secret that " +
		"is left out or sent as its mask is kept, unless the origin of url or tokenendpoint changes. A body whose id is another than the path's " +
		"is refused, and so is a change of tenant. The first tick is the next one after the source was made."
	deleteSourceText = "Its items are forgotten. What it has published is delivered. A subscription whose schedule names it has no ticks then."
	addItemsText     = "Starts to watch one item, or up to 1,000, at the source's initial status, for which nothing is published. An item that is " +
		"watched already stays as it is, and so does a completed one until it is forgotten, 7 days later. A key is 1 to 255 bytes of UTF-8; " +
		"since it becomes the subject of events, it cannot have control characters."
	listItemsText = "Newest first by the last change: of status, or of the error. Completed items are forgotten 7 days later."
)

// sourceView is a source in an answer.
type sourceView struct {
	*events.StatusSource
	Credential *credentialView `json:"credential,omitempty"`
	Items      itemCounts      `json:"items" access:"readonly"`
	LastPoll   *pollView       `json:"lastpoll,omitempty" access:"readonly" doc:"the present poll, or the last one; absent before the first"`
}

type itemCounts struct {
	Open      uint64 `json:"open"`
	Completed uint64 `json:"completed"`
}

// pollView is how a poll went. Its counts come when a process has done its part.
type pollView struct {
	At        Time   `json:"at"    doc:"the tick"`
	Began     Time   `json:"began"`
	Ended     Time   `json:"ended,omitzero" doc:"absent: it is under way"`
	Asked     int    `json:"asked"`
	Changed   int    `json:"changed"`
	Completed int    `json:"completed"`
	Failed    int    `json:"failed" doc:"items without a status, which are asked for again at the next tick"`
	Error     string `json:"error,omitempty" doc:"why one of them had none"`
}

// itemView is an item of a source.
type itemView struct {
	Key          string           `json:"key"`
	State        events.ItemState `json:"state"`
	Status       string           `json:"status" doc:"the last one that was found, or the initial one"`
	Changes      int              `json:"changes" doc:"how often another status was found"`
	AddedAt      Time             `json:"addedat"`
	ChangedAt    Time             `json:"changedat,omitzero" doc:"when the status was found; absent at the initial one"`
	CompletedAt  Time             `json:"completedat,omitzero"`
	Error        string           `json:"error,omitempty" doc:"why there was no status at the last tick; absent: there was one"`
	FailingSince Time             `json:"failingsince,omitzero" doc:"since when there is none"`
}

// newItem and newItems describe what adds items.
type newItem struct {
	Key string `json:"key"`
}

type newItems struct {
	Key   string    `json:"key,omitempty"   doc:"of one item"`
	Items []newItem `json:"items,omitempty" doc:"instead of key: up to 1,000"`
}

// maxItemsBody fits 1,000 keys, each of their bytes escaped.
const maxItemsBody = 2 << 20

func (a *API) sourceRoutes() []route {
	one := answer{status: 200, text: "the source", value: typeOf[sourceView](), headers: []string{"ETag"}}
	made := answer{status: 201, text: "the new source", value: one.value, headers: []string{"ETag", "Location"}}
	body := &content{media: []string{jsonType}, value: typeOf[events.StatusSource](), maxBytes: events.MaxSourceBytes, text: sourceBodyText}
	return []route{
		{
			method: "GET", path: "/v1/sources", id: "listSources", tag: "sources", roles: operatorOnly,
			summary: "List status sources", text: "Beyond the contract.", handle: a.listSources,
			query:   append([]param{{name: "tenant", kind: kindID, text: "only this tenant's"}}, pageParams...),
			answers: []answer{{status: 200, text: "a page of sources", value: typeOf[page[sourceView]]()}},
		},
		{
			method: "POST", path: "/v1/sources", id: "createSource", tag: "sources", roles: operatorOnly,
			summary: "Make a status source", text: "Beyond the contract: as for subscriptions. An id is made up if absent.",
			body: body, codes: []Code{CodeInvalidSource, CodeIDTaken}, handle: a.createSource, answers: []answer{made},
		},
		{
			method: "GET", path: "/v1/sources/{id}", id: "getSource", tag: "sources", roles: operatorOnly,
			summary: "Read a status source", codes: []Code{CodeBadID}, handle: a.getSource, answers: []answer{one},
		},
		{
			method: "PUT", path: "/v1/sources/{id}", id: "putSource", tag: "sources", roles: operatorOnly,
			summary: "Change a status source, or make it under this id", text: putSourceText, headers: []string{"If-Match"}, body: body,
			codes: []Code{CodeInvalidSource, CodeBadID, CodeRevisionConflict, CodeInvalidHeader}, handle: a.putSource, answers: []answer{one, made},
		},
		{
			method: "DELETE", path: "/v1/sources/{id}", id: "deleteSource", tag: "sources", roles: operatorOnly,
			summary: "Delete a status source", text: deleteSourceText, headers: []string{"If-Match"},
			codes: []Code{CodeBadID, CodeRevisionConflict, CodeInvalidHeader}, handle: a.deleteSource, answers: []answer{{status: 204, text: "it is gone"}},
		},
		{
			method: "GET", path: "/v1/sources/{id}/items", id: "listItems", tag: "sources", roles: operatorOnly,
			summary: "List the items of a source", text: listItemsText, codes: []Code{CodeBadID}, handle: a.listItems,
			query: append([]param{
				{name: "state", kind: kindEnum, values: []string{string(events.ItemOpen), string(events.ItemCompleted)}, text: "only those in this state"},
			}, pageParams...),
			answers: []answer{{status: 200, text: "a page of items", value: typeOf[page[itemView]]()}},
		},
		{
			method: "POST", path: "/v1/sources/{id}/items", id: "addItems", tag: "sources", roles: publishers,
			summary: "Watch items", text: addItemsText, body: &content{media: []string{jsonType}, value: typeOf[newItems](), maxBytes: maxItemsBody},
			codes: []Code{CodeInvalidItem, CodeBadID, CodeStorageFull}, handle: a.addItems,
			answers: []answer{{status: 201, text: "the items as they are now, in the order of the request", value: typeOf[page[itemView]](), headers: []string{"Location"}}},
		},
	}
}

func viewItem(i *stream.StoredItem) itemView {
	return itemView{
		Key: i.Key, State: i.State(), Status: i.Status, Changes: i.Changes, AddedAt: Time(i.AddedAt), ChangedAt: Time(i.ChangedAt),
		CompletedAt: Time(i.CompletedAt), Error: i.Error, FailingSince: Time(i.FailingSince),
	}
}

func (a *API) viewSource(ctx context.Context, e *registry.SourceEntry) (v sourceView, err error) {
	v.StatusSource = e.Source
	if c := e.Source.Credential; c != nil {
		v.Credential = &credentialView{c, Time(c.AccessTokenExpiresUTC)}
	}
	if v.Items.Open, err = a.items.Count(ctx, e.Source.ID, events.ItemOpen); err != nil {
		return v, err
	}
	if v.Items.Completed, err = a.items.Count(ctx, e.Source.ID, events.ItemCompleted); err != nil {
		return v, err
	}
	p, revision, err := a.polls.Get(ctx, e.Source.ID)
	if err != nil || revision == 0 || !p.Of.Equal(e.CreatedAt) {
		return v, err
	}
	v.LastPoll = &pollView{
		At: Time(p.At), Began: Time(p.Began), Ended: Time(p.Ended), Asked: p.Asked, Changed: p.Changed, Completed: p.Completed, Failed: p.Failed,
		Error: p.Error,
	}
	return v, nil
}

func (a *API) listSources(c *call) error {
	_, after, _, err := c.query.at("", 0)
	if err != nil {
		return err
	}
	if after != "" && !registry.IsCursor(after) {
		return badCursor()
	}
	if err := a.deps.Registry.FreshSources(c.r.Context()); err != nil {
		return err
	}
	entries, next := a.deps.Registry.ListSources(c.query.text("tenant"), after, c.query.limit)
	p := page[sourceView]{Items: []sourceView{}}
	for _, e := range entries {
		v, err := a.viewSource(c.r.Context(), e)
		if err != nil {
			return err
		}
		p.Items = append(p.Items, v)
	}
	if next != "" {
		p.Next = c.query.cursor("", next)
	}
	return c.json(http.StatusOK, p)
}

// source returns the source in the path as it is now.
func (a *API) source(c *call) (*registry.SourceEntry, error) {
	id, err := c.objectID()
	if err != nil {
		return nil, err
	}
	if err := a.deps.Registry.FreshSources(c.r.Context()); err != nil {
		return nil, err
	}
	e, ok := a.deps.Registry.Source(id)
	if !ok {
		return nil, registry.ErrNoSource
	}
	return e, nil
}

func (a *API) answerSource(c *call, status int, e *registry.SourceEntry) error {
	v, err := a.viewSource(c.r.Context(), e)
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		c.w.Header().Set("Location", "/v1/sources/"+e.Source.ID)
	}
	c.w.Header().Set("ETag", etag(e.Revision))
	return c.json(status, v)
}

func (a *API) getSource(c *call) error {
	e, err := a.source(c)
	if err != nil {
		return err
	}
	return a.answerSource(c, http.StatusOK, e)
}

func (a *API) decodeSource(c *call) (*events.StatusSource, error) {
	text, err := c.body()
	if err != nil {
		return nil, err
	}
	return events.DecodeSource(text, "", a.deps.Sinks)
}

func (a *API) createSource(c *call) error {
	s, err := a.decodeSource(c)
	if err != nil {
		return err
	}
	if s.ID == "" {
		s.ID = "src_" + strings.ToLower(rand.Text())
	}
	if err := a.forgetSource(c.r.Context(), s.ID); err != nil {
		return err
	}
	e, err := a.deps.Registry.CreateSource(c.r.Context(), s)
	if err != nil {
		return err
	}
	return a.answerSource(c, http.StatusCreated, e)
}

func (a *API) putSource(c *call) error {
	id, err := c.objectID()
	if err != nil {
		return err
	}
	s, err := a.decodeSource(c)
	if err != nil {
		return err
	}
	if s.ID != "" && s.ID != id {
		return faulty(CodeInvalidSource, events.Fault{Pointer: "/id", Detail: "is another than the path's"})
	}
	s.ID = id
	old, revision, err := a.replacedSource(c)
	switch {
	case err != nil:
		return err
	case old != nil && old.Source.Tenant != s.Tenant:
		return faulty(CodeInvalidSource, events.Fault{Pointer: "/tenant", Detail: "cannot be changed"})
	case old == nil:
		if err := a.forgetSource(c.r.Context(), id); err != nil {
			return err
		}
	}
	e, created, err := a.deps.Registry.PutSource(c.r.Context(), s, revision)
	if err != nil {
		return err
	}
	if created {
		return a.answerSource(c, http.StatusCreated, e)
	}
	return a.answerSource(c, http.StatusOK, e)
}

// replacedSource is replaced for sources.
func (a *API) replacedSource(c *call) (old *registry.SourceEntry, revision uint64, err error) {
	want, conditional, err := parseIfMatch(c.r.Header)
	if err != nil {
		return nil, 0, err
	}
	if err := a.deps.Registry.FreshSources(c.r.Context()); err != nil {
		return nil, 0, err
	}
	old, there := a.deps.Registry.Source(c.id)
	switch {
	case !conditional:
		return old, 0, nil
	case !there, !want.any && !slices.Contains(want.revisions, old.Revision):
		return nil, 0, registry.ErrConflict
	}
	return old, old.Revision, nil
}

func (a *API) deleteSource(c *call) error {
	if _, err := c.objectID(); err != nil {
		return err
	}
	old, revision, err := a.replacedSource(c)
	switch {
	case err != nil:
		return err
	case old == nil:
		return registry.ErrNoSource
	}
	if err := a.deps.Registry.DeleteSource(c.r.Context(), c.id, revision); err != nil {
		return err
	}
	if err := a.forgetSource(c.r.Context(), c.id); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// forgetSource removes what is left of a source that is not there. It precedes a new one of its id too: a deletion may
// have been cut short.
func (a *API) forgetSource(ctx context.Context, id string) error {
	if _, there := a.deps.Registry.Source(id); there {
		return nil
	}
	if err := a.items.Forget(ctx, id); err != nil {
		return err
	}
	return a.polls.Forget(ctx, id)
}

func (a *API) listItems(c *call) error {
	at, _, _, err := c.query.at("", 1)
	if err != nil {
		return err
	}
	e, err := a.source(c)
	if err != nil {
		return err
	}
	items, next, err := a.items.List(c.r.Context(), stream.ItemQuery{
		Source: e.Source.ID, State: events.ItemState(c.query.text("state")), Limit: c.query.limit, Before: at[0],
	})
	if err != nil {
		return err
	}
	p := page[itemView]{Items: []itemView{}}
	for _, item := range items {
		p.Items = append(p.Items, viewItem(item))
	}
	if next != 0 {
		p.Next = c.query.cursor("", "", next)
	}
	return c.json(http.StatusOK, p)
}

func (a *API) addItems(c *call) error {
	e, err := a.source(c)
	if err != nil {
		return err
	}
	if !c.key.MayFeed(e.Source.Tenant) {
		return registry.ErrNoSource
	}
	text, err := c.body()
	if err != nil {
		return err
	}
	keys, err := events.DecodeItems(text)
	if err != nil {
		return err
	}
	items, err := a.items.Add(c.r.Context(), e.Source.ID, keys, e.Source.Initial)
	if err != nil {
		return err
	}
	p := page[itemView]{Items: []itemView{}}
	for i := range items {
		p.Items = append(p.Items, viewItem(&items[i]))
	}
	c.w.Header().Set("Location", "/v1/sources/"+e.Source.ID+"/items")
	return c.json(http.StatusCreated, p)
}
