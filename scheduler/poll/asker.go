package poll

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/credential"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

const (
	// maxAnswer is how much of an answer is read; the status must be in it.
	maxAnswer = 64 << 10
	// maxURL bounds the URL of a request: common servers and proxies take request lines of 8 KiB.
	maxURL = 8 << 10
	// tokenPatience is how long a request waits for a token that another one fetches.
	tokenPatience = 20 * time.Second
)

// asker asks one version of a source.
type asker struct {
	client     *egress.Client
	source     *events.StatusSource
	credential *credential.Credential
	path       *events.StatusPath
	pieces     []events.Piece
	base       *url.URL // with a key that needs no escape
	dots       bool     // its own path has segments . or ..
}

var errLocked = errors.New("its secrets cannot be opened")

func newAsker(client *egress.Client, entry *registry.SourceEntry, deps credential.Deps) (*asker, error) {
	if entry.Locked != nil {
		return nil, errLocked
	}
	s := entry.Source
	a := &asker{client: client, source: s}
	var err error
	if a.pieces, err = events.ParseTemplate(s.URL); err != nil {
		return nil, fmt.Errorf("url %w", err)
	}
	if a.path, err = events.NewStatusPath(s.Status); err != nil {
		return nil, fmt.Errorf("status %w", err)
	}
	if a.base, err = url.Parse(a.text("k")); err != nil {
		return nil, errors.New("url is not a URL") // whose text may have secrets
	}
	a.dots = hasDots(a.base.EscapedPath())
	if s.Credential == nil {
		return a, nil
	}
	deps.Client, deps.Key, deps.Version, deps.Tenant = client, "source."+s.ID, entry.Revision, s.Tenant
	spec := credential.Spec(*s.Credential)
	a.credential, err = credential.New(&spec, deps)
	return a, err
}

// text is the URL with a key in it.
func (a *asker) text(key string) string {
	var b strings.Builder
	for _, piece := range a.pieces {
		if piece.Placeholder == nil {
			b.WriteString(piece.Text)
		} else {
			b.WriteString(strings.ReplaceAll(url.QueryEscape(key), "+", "%20")) // all but unreserved characters
		}
	}
	return b.String()
}

// url is where a key is asked for.
func (a *asker) url(key string) (*url.URL, error) {
	text := a.text(key)
	if len(text) > maxURL {
		return nil, errors.New("the url is too long with this key")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the url is none with this key")
	case u.Scheme != a.base.Scheme || u.Host != a.base.Host || u.User != nil || u.Opaque != "" || u.Fragment != "":
		return nil, errors.New("the url is of another origin with this key")
	case !a.dots && hasDots(u.EscapedPath()):
		return nil, errors.New("the url has a segment . or .. with this key, which is another path to servers")
	}
	return u, nil
}

// hasDots reports whether a segment of path is . or .. in any spelling.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}

// accepted are the media types that an answer may have.
var accepted = []string{"application/json"}

// ask returns the status of an item. The error says why there is none, without secrets.
func (a *asker) ask(ctx context.Context, key string) (events.Value, error) {
	u, err := a.url(key)
	if err != nil {
		return events.Value{}, err
	}
	if a.source.Credential.Expired(time.Now()) {
		return events.Value{}, errors.New("the access token has expired")
	}
	answer, err := a.send(ctx, u)
	if err != nil {
		return events.Value{}, err
	}
	if answer.Status < 200 || answer.Status > 299 {
		return events.Value{}, fmt.Errorf("answered %d %s", answer.Status, http.StatusText(answer.Status))
	}
	return a.path.Find(answer.Body)
}

// send asks, once more with a newer token when the one at hand is refused.
func (a *asker) send(ctx context.Context, u *url.URL) (*egress.Response, error) {
	source := a.credential.Source()
	if source == nil {
		return a.sendWith(ctx, u, nil)
	}
	token, err := source.Token(ctx, tokenPatience)
	if err != nil {
		return nil, fmt.Errorf("no token: %w", err)
	}
	answer, err := a.sendWith(ctx, u, token)
	if err != nil || answer.Status != http.StatusUnauthorized {
		if err == nil {
			token.Accepted()
		}
		return answer, err
	}
	newer, err := source.Refused(ctx, token)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no token: %w", err)
	case newer == nil:
		return answer, nil
	}
	if answer, err = a.sendWith(ctx, u, newer); err == nil && answer.Status != http.StatusUnauthorized {
		newer.Accepted()
	}
	return answer, err
}

func (a *asker) sendWith(ctx context.Context, u *url.URL, token *credential.Token) (*egress.Response, error) {
	r := &egress.Request{
		Method: http.MethodGet, URL: u, Header: http.Header{"Accept": accepted}, Tenant: a.source.Tenant,
		Timeout: time.Duration(a.source.Timeout), Keep: maxAnswer,
	}
	a.credential.Apply(r, token)
	return a.client.Do(ctx, r)
}
