package plain_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// BenchmarkServe is one request and its answer over a connection, with a client that costs as good as nothing, answered by
// this package and by net/http.
func BenchmarkServe(b *testing.B) {
	text := []byte(line + "Host: 127.0.0.1:8080\r\nUser-Agent: x/1.0\r\nContent-Length: 1024\r\nAuthorization: Bearer hf_0123456789012345678901234567890123456789012\r\n" +
		"Content-Type: application/cloudevents+json\r\nAccept-Encoding: gzip\r\n\r\n" + string(bytes.Repeat([]byte("x"), 1024)))
	for name, start := range map[string]func(testing.TB, http.Handler) *served{"plain": startPlain, "net/http": startStandard} {
		b.Run(name, func(b *testing.B) {
			s := start(b, http.HandlerFunc(accept))
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(soon))
			answer := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(text); err != nil {
					b.Fatal(err)
				}
				if n, err := c.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 202 ")) {
					b.Fatalf("%q, %v", answer[:n], err)
				}
			}
		})
	}
}

// accept reads a body into a buffer that it keeps, and answers like the publishing of an event.
func accept(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const text = `{"id":"1","source":"/orders","tenant":"default","sequence":12345,"duplicate":false}`
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, text)
}
