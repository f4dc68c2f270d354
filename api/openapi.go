package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// about is what the document says of the whole, and of all that the contract leaves open.
const about = `Hookfleet takes CloudEvents and delivers them to webhooks, durably.

Errors are RFC 9457 problems with a stable code. Lists are newest first; a page may be shorter than limit, or even empty,
while next says that there is more: one call does a bounded amount of work. A cursor is only good for the list and the
parameters that it came from. Times are RFC 3339 UTC with milliseconds. Unknown members and query parameters are refused.
Bodies are not taken compressed. HEAD works where GET does.`

// document makes the OpenAPI 3.1 document from the table of routes.
func (a *API) document() ([]byte, error) {
	s := &schemas{named: map[string]any{}}
	paths := map[string]map[string]any{}
	for i := range a.routes {
		r := &a.routes[i]
		if paths[r.path] == nil {
			paths[r.path] = map[string]any{}
		}
		paths[r.path][strings.ToLower(r.method)] = s.operation(r)
	}
	s.of(typeOf[Problem]())
	doc := map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Hookfleet", "version": a.cfg.Version, "description": about,
			"license": map[string]any{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers": []any{map[string]any{"url": "/"}},
		"paths":   paths,
		"components": map[string]any{
			"schemas": s.named,
			"securitySchemes": map[string]any{"key": map[string]any{
				"type": "http", "scheme": "bearer",
				"description": "An API key. Roles: operator may do everything; producer publishes events of its tenants and types; partner manages one tenant's subscriptions, deliveries, dead letters and replays.",
			}},
		},
	}
	return json.MarshalIndent(doc, "", " ")
}

func (s *schemas) operation(r *route) map[string]any {
	op := map[string]any{
		"operationId": r.id, "tags": []any{r.tag}, "summary": r.summary, "responses": s.responses(r), "security": []any{},
	}
	if text := strings.TrimSpace(r.text + "\n\n" + rolesText(r)); text != "" {
		op["description"] = text
	}
	if !r.public() {
		op["security"] = []any{map[string]any{"key": []any{}}}
		op["x-roles"] = r.roles
	}
	if params := s.parameters(r); len(params) > 0 {
		op["parameters"] = params
	}
	if r.body != nil {
		op["requestBody"] = s.requestBody(r.body)
	}
	return op
}

func rolesText(r *route) string {
	if r.public() {
		return ""
	}
	names := make([]string, 0, len(r.roles))
	for _, role := range r.roles {
		names = append(names, string(role))
	}
	return "Roles: " + strings.Join(names, ", ") + "."
}

func (s *schemas) requestBody(c *content) map[string]any {
	body := map[string]any{"required": !c.optional}
	if c.text != "" {
		body["description"] = c.text
	}
	media := map[string]any{}
	for _, name := range c.media {
		media[name] = map[string]any{}
		if c.value != nil {
			taken := schemas{named: s.named, input: true}
			media[name] = map[string]any{"schema": taken.of(c.value)}
		}
	}
	body["content"] = media
	return body
}

// pathTexts says what the wildcards of paths are.
var pathTexts = map[string]string{
	"id": "the id", "sequence": "the event's sequence, as the answer to its publishing said",
	"subject": "of the events, percent-encoded; one that is empty, or begins or ends with a slash, is better asked for by the parameter of /v1/statuses",
	"token":   "what the callback's address ends in",
}

func (s *schemas) parameters(r *route) []any {
	var list []any
	if name := r.pathParam(); name != "" {
		list = append(list, map[string]any{
			"name": name, "in": "path", "required": true, "description": pathTexts[name], "schema": map[string]any{"type": "string"},
		})
	}
	for _, p := range r.query {
		list = append(list, map[string]any{"name": p.name, "in": "query", "description": p.text, "schema": p.schema()})
	}
	for _, name := range r.headers {
		list = append(list, map[string]any{
			"name": name, "in": "header", "description": requestHeaders[name], "schema": map[string]any{"type": "string"},
		})
	}
	return list
}

func (p *param) schema() map[string]any {
	switch p.kind {
	case kindID:
		return map[string]any{"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"}
	case kindTime:
		return map[string]any{"type": "string", "format": "date-time"}
	case kindSequence:
		return map[string]any{"type": "integer", "minimum": 1}
	case kindEnum:
		return map[string]any{"type": "string", "enum": p.values}
	case kindLimit:
		return map[string]any{"type": "integer", "minimum": 1, "maximum": maxLimit, "default": defaultLimit}
	case kindText, kindCursor:
	}
	return map[string]any{"type": "string", "minLength": 1, "maxLength": maxParamBytes}
}

// requestHeaders are the request headers that routes read, answerHeaders those that answers carry.
var (
	requestHeaders = map[string]string{
		"If-Match": "the ETag that is to be changed, or *; 412 when it is another",
	}
	answerHeaders = map[string]string{
		"ETag":     "the revision; changes with every change of the settings, not with the status",
		"Location": "where what was made is",
	}
)

func (s *schemas) responses(r *route) map[string]any {
	all := map[string]any{}
	for _, w := range r.answers {
		answer := map[string]any{"description": w.text}
		if w.value != nil || w.media != "" {
			media := map[string]any{}
			if w.value != nil {
				media["schema"] = s.of(w.value)
			}
			name := w.media
			if name == "" {
				name = jsonType
			}
			answer["content"] = map[string]any{name: media}
		}
		if len(w.headers) > 0 {
			headers := map[string]any{}
			for _, name := range w.headers {
				headers[name] = map[string]any{"description": answerHeaders[name], "schema": map[string]any{"type": "string"}}
			}
			answer["headers"] = headers
		}
		all[strconv.Itoa(w.status)] = answer
	}
	for status, text := range r.problems() {
		all[strconv.Itoa(status)] = map[string]any{
			"description": text,
			"content":     map[string]any{problemType: map[string]any{"schema": s.of(typeOf[Problem]())}},
		}
	}
	return all
}

// problems are the statuses that the route may refuse with, each with its codes.
func (r *route) problems() map[int]string {
	known := slices.Clone(r.codes)
	if !r.public() {
		known = append(known, CodeUnauthorized, CodeForbidden, CodeTooManyFailures)
		if r.mount == nil {
			known = append(known, CodeUnavailable, CodeInternal, CodeInvalidParameter)
		}
	}
	if r.pathParam() != "" {
		known = append(known, CodeNotFound)
	}
	if slices.ContainsFunc(r.query, func(p param) bool { return p.kind == kindCursor }) {
		known = append(known, CodeBadLimit, CodeBadCursor)
	}
	if r.body != nil && r.mount == nil {
		known = append(known, CodeInvalidJSON, CodeMediaType, CodeTooLarge)
	}
	slices.Sort(known)
	texts := map[int]string{}
	for _, code := range slices.Compact(known) {
		c := codes[code]
		if texts[c.status] != "" {
			texts[c.status] += "; "
		}
		texts[c.status] += fmt.Sprintf("`%s`: %s", code, strings.ToLower(c.title[:1])+c.title[1:])
	}
	return texts
}
