package sinktest

import (
	"net"
	"net/http"
	"time"
)

// Request is one request as it came.
type Request struct {
	Method           string
	Proto            string
	Path             string
	Query            string // raw
	Host             string
	From             string // address that it came from, without its port
	Header           http.Header
	ContentLength    int64
	TransferEncoding []string
	Body             []byte

	Number   int       // of its path, from 1, in the order of arrival
	At       time.Time // when its header had arrived
	Answered time.Time // just before the answer was written; zero = not yet, or never
	Status   int       // of the answer; 0 = none
}

// ID is the webhook-id.
func (r *Request) ID() string { return r.Header.Get("Webhook-Id") }

func newRequest(r *http.Request, body []byte, at time.Time) *Request {
	from, _, _ := net.SplitHostPort(r.RemoteAddr) // a server of TCP always sets it
	return &Request{
		Method: r.Method, Proto: r.Proto, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, From: from, Header: r.Header,
		ContentLength: r.ContentLength, TransferEncoding: r.TransferEncoding, Body: body, At: at,
	}
}
