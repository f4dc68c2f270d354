package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/events"
)

// keyView is an API key in an answer.
type keyView struct {
	ID          string    `json:"id"`
	Role        keys.Role `json:"role"`
	Tenants     []string  `json:"tenants,omitempty" doc:"whose events a producer publishes; absent: the default tenant's. Of a partner the one that it is"`
	Types       []string  `json:"types,omitempty"   doc:"what it publishes: exactly this type, or all that begin so with a trailing dot or .*; absent: every type"`
	Description string    `json:"description,omitempty"`
	CreatedAt   Time      `json:"createdat"`
	Key         string    `json:"key,omitempty" doc:"the key itself: only in the answer that made it"`
}

// newKey is what makes a key.
type newKey struct {
	Role        keys.Role `json:"role" doc:"operator, producer or partner"`
	Tenants     []string  `json:"tenants,omitempty" doc:"whose events a producer publishes; absent: the default tenant's. Of a partner the one that it is"`
	Types       []string  `json:"types,omitempty"   doc:"what it publishes: exactly this type, or all that begin so with a trailing dot or .*; absent: every type"`
	Description string    `json:"description,omitempty"`
}

func (a *API) keyRoutes() []route {
	return []route{
		{
			method: "GET", path: "/v1/keys", id: "listKeys", tag: "keys", summary: "List the API keys", roles: operatorOnly,
			query: pageParams, handle: a.listKeys,
			answers: []answer{{status: 200, text: "a page of keys, without the keys themselves", value: typeOf[page[keyView]]()}},
		},
		{
			method: "POST", path: "/v1/keys", id: "createKey", tag: "keys", summary: "Make an API key", roles: operatorOnly,
			text: "The key is shown in this answer only; it is stored hashed. Other API processes take it milliseconds later. A partner key is for " +
				"exactly one tenant: what it lists is of that tenant, what it makes without a tenant is too, and making something for another is " +
				"forbidden. Another tenant's object is not found by it, but its id is taken. By NATS it may do nothing.",
			body:  &content{media: []string{jsonType}, value: typeOf[newKey](), maxBytes: maxKeyBody},
			codes: []Code{CodeInvalidKey}, handle: a.createKey,
			answers: []answer{{status: 201, text: "the key", value: typeOf[keyView](), headers: []string{"Location"}}},
		},
		{
			method: "GET", path: "/v1/keys/{id}", id: "getKey", tag: "keys", summary: "Read an API key", roles: operatorOnly,
			text: "Beyond the contract, so that Location leads somewhere.", codes: []Code{CodeBadID}, handle: a.getKey,
			answers: []answer{{status: 200, text: "the key, without the key itself", value: typeOf[keyView]()}},
		},
		{
			method: "DELETE", path: "/v1/keys/{id}", id: "deleteKey", tag: "keys", summary: "End an API key", roles: operatorOnly,
			text: "Requests with it are refused at once here, and milliseconds later by other API processes; NATS connections that it opened to " +
				"an embedded broker are closed. The key operator is the operator's own and cannot be deleted: a new HOOKFLEET_OPERATOR_KEY ends it.",
			codes: []Code{CodeBadID, CodeOperatorKey}, handle: a.deleteKey,
			answers: []answer{{status: 204, text: "it is gone"}},
		},
	}
}

// maxKeyBody fits the longest list of tenants and types that a key may have.
const maxKeyBody = 64 << 10

func viewKey(k *keys.Key) keyView {
	return keyView{
		ID: k.ID, Role: k.Role, Tenants: k.Tenants, Types: k.Types, Description: k.Description, CreatedAt: Time(k.CreatedAt),
	}
}

func (a *API) listKeys(c *call) error {
	at, after, _, err := c.query.at("", 1)
	if err != nil {
		return err
	}
	all := a.deps.Keys.list()
	if after != "" {
		since := time.Unix(0, int64(at[0]))
		all = all[firstAfter(all, since, after):]
	}
	p := page[keyView]{Items: []keyView{}}
	for _, k := range all[:min(len(all), c.query.limit)] {
		p.Items = append(p.Items, viewKey(k))
	}
	if len(all) > c.query.limit {
		last := all[c.query.limit-1]
		p.Next = c.query.cursor("", last.ID, uint64(last.CreatedAt.UnixNano()))
	}
	return c.json(http.StatusOK, p)
}

// firstAfter is where the keys older than this one begin.
func firstAfter(all []*keys.Key, at time.Time, id string) int {
	i := slices.IndexFunc(all, func(k *keys.Key) bool { return compareNewest(k.CreatedAt, k.ID, at, id) > 0 })
	if i < 0 {
		return len(all)
	}
	return i
}

// compareNewest orders by time, newest first, then by id.
func compareNewest(at time.Time, id string, thanAt time.Time, thanID string) int {
	return cmp.Or(thanAt.Compare(at), cmp.Compare(id, thanID))
}

func (a *API) createKey(c *call) error {
	text, err := c.body()
	if err != nil {
		return err
	}
	var role string
	k := &keys.Key{CreatedAt: time.Now().UTC()}
	members := map[string]any{"role": &role, "tenants": &k.Tenants, "types": &k.Types, "description": &k.Description}
	if err := decodeObject(text, CodeInvalidKey, members); err != nil {
		return err
	}
	k.Role = keys.Role(role)
	if err := checkKey(k); err != nil {
		return err
	}
	if len(a.deps.Keys.list()) >= maxKeys {
		return faulty(CodeInvalidKey, events.Fault{Detail: "there are too many keys; delete some"})
	}
	id, secret := keys.Generate()
	k.ID, k.Hash = id, keys.HashOf(secret.Reveal())
	if err := a.deps.Keys.Put(c.r.Context(), k); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/keys/"+k.ID)
	view := viewKey(k)
	view.Key = secret.Reveal()
	return c.json(http.StatusCreated, view)
}

// checkKey names every fault of a key that is to be made.
func checkKey(k *keys.Key) error {
	err := k.Validate()
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var faults []events.Fault
	for _, err := range all {
		faults = append(faults, keyFault(err.Error()))
	}
	return faulty(CodeInvalidKey, faults...)
}

// keyFault takes a fault of keys.Validate apart: the member, and what is wrong.
func keyFault(text string) events.Fault {
	member, detail, found := strings.Cut(text, ": ")
	if !found {
		return events.Fault{Detail: text}
	}
	return events.Fault{Pointer: "/" + member, Detail: detail}
}

func (a *API) getKey(c *call) error {
	k, err := a.keyOf(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, viewKey(k))
}

func (a *API) deleteKey(c *call) error {
	k, err := a.keyOf(c)
	if err != nil {
		return err
	}
	if k.ID == operatorID {
		return problem(CodeOperatorKey, "the operator's own key is ended by setting another, not by deleting it")
	}
	if err := a.deps.Keys.Delete(c.r.Context(), k.ID); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) keyOf(c *call) (*keys.Key, error) {
	id, err := c.objectID()
	if err != nil {
		return nil, err
	}
	k, ok := a.deps.Keys.get(id)
	if !ok {
		return nil, problem(CodeNotFound, "there is no such key")
	}
	return k, nil
}
