package sinktest

import (
	"errors"
	"net"
	"net/http"
	"time"
)

// Answer is what a sink does with a request. The zero value answers 204 at once.
type Answer struct {
	Status int               // 0 = 204
	Header map[string]string // of the answer
	Body   string
	After  time.Duration   // how long it takes; 0 = at once
	Until  <-chan struct{} // it answers when this is closed; nil = at once
	Cut    bool            // closes the connection instead of answering
}

// await returns when it is time to answer: true, or false when the client has gone before.
func (a *Answer) await(r *http.Request) bool {
	var late <-chan time.Time
	if a.After > 0 {
		timer := time.NewTimer(a.After)
		defer timer.Stop()
		late = timer.C
	}
	for until := a.Until; late != nil || until != nil; {
		select {
		case <-late:
			late = nil
		case <-until:
			until = nil
		case <-r.Context().Done():
			return false
		}
	}
	return true
}

func (a *Answer) write(w http.ResponseWriter) error {
	if a.Cut {
		return cut(w)
	}
	for k, v := range a.Header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status())
	if a.Body == "" {
		return nil
	}
	_, err := w.Write([]byte(a.Body))
	return err
}

func (a *Answer) status() int {
	if a.Status == 0 {
		return http.StatusNoContent
	}
	return a.Status
}

// cut resets the connection, so that the client sees no answer and no orderly end.
func cut(w http.ResponseWriter) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return errors.Join(err, conn.Close())
}
