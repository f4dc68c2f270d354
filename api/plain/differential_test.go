package plain_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// handler does what requests ask of it, in all ways that a handler may answer.
func handler(w http.ResponseWriter, r *http.Request) {
	w = struct{ http.ResponseWriter }{w} // as routes do: http.MaxBytesReader is not to know it
	h := w.Header()
	h.Set("X-Saw", fmt.Sprint(r.Method, r.URL, r.Proto, r.Host, r.RequestURI, r.ContentLength, r.TransferEncoding, r.Close, len(r.Header)))
	switch r.Header.Get("X-Do") {
	case "nothing":
	case "unread":
		http.Error(w, "no", http.StatusUnauthorized)
	case "some":
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
		http.Error(w, "no", http.StatusUnauthorized)
	case "closed":
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		fmt.Fprint(w, err)
	case "close":
		h.Set("Connection", "close")
		w.WriteHeader(http.StatusServiceUnavailable)
	case "fields":
		h["X-Two"] = []string{"1", "2"}
		h["bad name"], h["X-Split"], h["Date"] = []string{"1"}, []string{" a\r\nX-Evil: 1 "}, []string{"today"}
		h["Transfer-Encoding"] = []string{"identity"}
		delete(h, "Transfer-Encoding")
		w.WriteHeader(499)
		h.Set("X-Late", "1")
		w.WriteHeader(http.StatusOK)
		fmt.Fprint(w, "<html>sniffed")
	case "none":
		w.WriteHeader(http.StatusNoContent)
		_, err := w.Write([]byte("x"))
		if !errors.Is(err, http.ErrBodyNotAllowed) {
			panic(err)
		}
	case "short":
		h.Set("Content-Length", "10")
		fmt.Fprint(w, "12345")
	case "long":
		h.Set("Content-Length", "5")
		fmt.Fprint(w, "12345")
		if _, err := w.Write([]byte("6")); !errors.Is(err, http.ErrContentLength) {
			panic(err)
		}
	case "panic":
		panic("at the disco")
	case "abort":
		fmt.Fprint(w, "x")
		panic(http.ErrAbortHandler)
	default:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "cut", http.StatusBadRequest)
			return
		}
		h.Set("Content-Type", "text/plain")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(body)
	}
}

// answered is one answer, as far as two servers must agree.
type answered struct {
	Status string
	Header http.Header
	Body   string
	Cut    bool // its end did not come; whether by a close or a reset depends on what else the client had sent
	Close  bool
}

// talk sends what is given, piece by piece, and returns the answers until the server closes or as many came as are expected.
func talk(t *testing.T, addr string, pieces []string, half bool, expected int) (all []answered) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(soon))
	go func() {
		for i, piece := range pieces {
			if i > 0 {
				<-time.After(2 * time.Millisecond) // so that most come apart; when they do not, the answer is the same
			}
			if _, err := io.WriteString(c, piece); err != nil {
				return // the server has closed
			}
		}
		if half {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	in := bufio.NewReader(c)
	for len(all) < expected {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return all
		}
		body, err := io.ReadAll(r.Body)
		if at, err := http.ParseTime(r.Header.Get("Date")); err == nil && time.Since(at) < soon {
			r.Header.Set("Date", "now")
		}
		if r.ContentLength >= 0 {
			r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10)) // which http.ReadResponse may take out
		}
		all = append(all, answered{r.Status, r.Header, string(body), err != nil, r.Close})
		if r.Close {
			if _, err := in.ReadByte(); err == nil {
				t.Error("bytes behind the last answer")
			}
			return all
		}
	}
	return all
}

func post(fields, body string) string {
	return fmt.Sprintf("%sHost: x\r\n%sContent-Length: %d\r\n\r\n%s", line, fields, len(body), body)
}

// TestSameAnswers: what this package and net/http answer to the same bytes differs in the date alone.
func TestSameAnswers(t *testing.T) {
	t.Parallel()
	ours, theirs := startPlain(t, http.HandlerFunc(handler)), startStandard(t, http.HandlerFunc(handler))
	ok := post("", "body")
	large := strings.Repeat("x", 300<<10)
	for name, c := range map[string]struct {
		pieces   []string
		half     bool
		expected int
		left     bool // net/http has had the connection
	}{
		"one":                       {[]string{ok}, false, 1, false},
		"three":                     {[]string{ok, ok, post("", "other")}, false, 3, false},
		"pipelined":                 {[]string{ok + post("X-A: 1\r\n", "2") + ok}, false, 3, false},
		"no body":                   {[]string{post("", "") + ok}, false, 2, false},
		"in pieces":                 {[]string{ok[:3], ok[3:40], ok[40 : len(ok)-2], ok[len(ok)-2:] + ok[:30], ok[30:]}, false, 2, false},
		"large":                     {[]string{post("", large), ok, post("", large)[:100_000], post("", large)[100_000:]}, false, 3, false},
		"beyond its bound":          {[]string{post("", strings.Repeat("x", 1<<20+1)), ok}, false, 2, false},
		"beyond what is plain":      {[]string{line + "Host: x\r\nX-Do: unread\r\nContent-Length: 9000000\r\n\r\n" + large}, false, 1, true},
		"bodies that nobody reads":  {[]string{post("X-Do: unread\r\n", "body") + ok + post("X-Do: some\r\n", large[:200<<10]) + post("X-Do: nothing\r\n", "body") + ok}, false, 5, false},
		"a long one that is unread": {[]string{post("X-Do: unread\r\n", large), ok}, false, 2, false},
		"closed body":               {[]string{post("X-Do: closed\r\n", "")}, false, 1, false},
		"handler closes":            {[]string{post("X-Do: close\r\n", "body"), ok}, false, 2, false},
		"fields":                    {[]string{post("X-Do: fields\r\n", "body"), ok}, false, 2, false},
		"no content":                {[]string{post("X-Do: none\r\n", "body"), ok}, false, 2, false},
		"short":                     {[]string{post("X-Do: short\r\n", "body"), ok}, false, 2, false},
		"long":                      {[]string{post("X-Do: long\r\n", "body"), ok}, false, 2, false},
		"panic":                     {[]string{post("X-Do: panic\r\n", "body"), ok}, false, 2, false},
		"abort":                     {[]string{post("X-Do: abort\r\n", "body"), ok}, false, 2, false},
		"client closes":             {[]string{post("Connection: close\r\n", "body"), ok}, false, 2, true},
		"new lines between":         {[]string{ok + "\r\n" + ok + "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"}, false, 3, true},
		"a new line first":          {[]string{"\r\n" + ok}, false, 1, true},
		"others":                    {[]string{"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", ok}, false, 2, true},
		"others behind":             {[]string{ok, "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", ok}, false, 3, true},
		"others in one piece":       {[]string{ok + "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + ok}, false, 3, true},
		"chunked":                   {[]string{ok, line + "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nbody\r\n", "0\r\n\r\n", ok}, false, 3, true},
		"both lengths":              {[]string{line + "Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ok}, false, 2, true},
		"two lengths":               {[]string{line + "Host: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody" + ok}, false, 2, true},
		"expect":                    {[]string{line + "Host: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", "body"}, false, 2, true},
		"line feeds":                {[]string{"POST /v1/events HTTP/1.1\nHost: x\nContent-Length: 4\n\nbody", ok}, false, 2, true},
		"line feeds behind":         {[]string{line + "Host: x\nContent-Length: 4\n\nbody", ok}, false, 2, true},
		"no host":                   {[]string{line + "Content-Length: 4\r\n\r\nbody", ok}, false, 2, true},
		"1.0":                       {[]string{"POST /v1/events HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody"}, false, 1, true},
		"no HTTP":                   {[]string{"hello\r\n\r\n"}, false, 1, true},
		"long head":                 {[]string{post("X-A: "+strings.Repeat("a", 10<<10)+"\r\n", "body"), ok}, false, 2, true},
		"half a head":               {[]string{ok[:30]}, true, 1, true},
		"half a line":               {[]string{ok, ok[:10]}, true, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := ours.conns.count()
			got := talk(t, ours.addr, c.pieces, c.half, c.expected)
			if left := ours.conns.count() != before; left != c.left {
				t.Errorf("net/http has had it: %v", left)
			}
			want := talk(t, theirs.addr, c.pieces, c.half, c.expected)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("this package answers\n%+v\nnet/http\n%+v", got, want)
			}
		})
	}
	if text := ours.log.String(); strings.Count(text, "panic serving 127.0.0.1:") != 1 || !strings.Contains(text, "at the disco") || !strings.Contains(text, "superfluous") {
		t.Errorf("it logs %s", text)
	}
}

// TestSameRequests: what a handler sees of requests is what it sees by net/http.
func TestSameRequests(t *testing.T) {
	t.Parallel()
	type seen struct {
		Header http.Header
		Body   string
	}
	see := func(to *[]seen) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || host != "127.0.0.1" {
				t.Errorf("it is from %s", r.RemoteAddr)
			}
			*to = append(*to, seen{r.Header.Clone(), string(body)})
		})
	}
	var got, want []seen
	ours, theirs := startPlain(t, see(&got)), startStandard(t, see(&want))
	var text bytes.Buffer
	for _, fields := range []string{"", "", "X-A: 1\r\n", "x-a: 1\r\nX-A:2\r\nce-id: a%20b\r\n", "Authorization: Bearer x\r\nConnection: keep-alive\r\n"} {
		for _, body := range []string{"", "a", strings.Repeat("b", 20<<10), "c"} {
			text.WriteString(post(fields, body))
		}
	}
	if a, b := talk(t, ours.addr, []string{text.String()}, false, 20), talk(t, theirs.addr, []string{text.String()}, false, 20); len(a) != 20 || !reflect.DeepEqual(a, b) {
		t.Errorf("%d and %d answers", len(a), len(b))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the handler saw\n%v\nby net/http\n%v", got, want)
	}
}
