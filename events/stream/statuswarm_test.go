package stream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// putStatuses stores a status of each of many subjects, with data of some size.
func putStatuses(t *testing.T, js jetstream.JetStream, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/s","type":"t","tenant":"acme",`+
			`"subject":"o%d","data":{"status":"Sent","more":"%0*d"}}`, i, i, size, 0))
		if err != nil {
			t.Fatal(err)
		}
		msg, err := (&Status{Mark{time.Now(), uint64(i + 1)}, e}).Message()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.PublishMsgAsync(msg); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

// TestWarm: each part of the stream is asked for once, by the subject of the newest status, whatever is gone in it, and a large
// status does not come with each answer.
func TestWarm(t *testing.T) {
	t.Parallel()
	js := setup(t).js
	asked, err := js.Conn().SubscribeSync("$JS.API.DIRECT.GET." + StatusesName)
	if err != nil {
		t.Fatal(err)
	}
	statuses := NewStatuses(js)
	warm := func(want int, subject string) {
		t.Helper()
		if err := statuses.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []*nats.Msg
		for {
			m, err := asked.NextMsg(100 * time.Millisecond) // they were all sent, and come in order
			if err != nil {
				break
			}
			if strings.Contains(string(m.Data), "next_by_subj") {
				got = append(got, m)
			}
		}
		if len(got) != want {
			t.Fatalf("%d parts were asked for, want %d", len(got), want)
		}
		for _, m := range got {
			if !strings.Contains(string(m.Data), `"`+subject+`"`) {
				t.Errorf("asked for %s, want %s", m.Data, subject)
			}
		}
	}
	warm(0, "")
	putStatuses(t, js, 0, 1, 10)
	warm(0, "") // the only one: its block is the one that is written to
	putStatuses(t, js, 1, 5000, 10)
	warm(5, StatusSubject("acme", "o4999", "t"))
	putStatuses(t, js, 1000, 3000, 10)
	warm(7, StatusSubject("acme", "o2999", "t"))
	putStatuses(t, js, 0, 1, 2*warmMessage)
	warm(7, nobodysStatus)
	if s, err := statuses.Newest(t.Context(), "acme", "o1500", "t"); err != nil || s == nil {
		t.Error("not found any more", err)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := statuses.Warm(ended); err == nil {
		t.Error("warmed although nobody waits for it")
	}
}
