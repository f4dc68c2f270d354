package stream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestHeldInHandsOfTheKilledWaits: what a killed worker had in hand of what was held came again only when the broker had waited for its
// ack. What was acknowledged does not come again.
func TestHeldInHandsOfTheKilledWaits(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for name, subject := range map[string]string{HeldName: SubjectHeld, Retries: SubjectDue} {
		c, err := f.js.CreateConsumer(t.Context(), name, jetstream.ConsumerConfig{
			Name: "c", FilterSubject: subject + "sub.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, MaxDeliver: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, delivery := range []string{"1", "2", "3"} {
			f.publish(&nats.Msg{Subject: subject + "sub." + delivery})
		}
		inHand := fetch(t, c, 3)
		if err := inHand[1].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := TakeBack(t.Context(), f.js); err != nil {
			t.Fatal(err)
		}
		for i, m := range fetch(t, c, 2) {
			if want := subject + "sub." + []string{"1", "3"}[i]; m.Subject() != want {
				t.Errorf("%s came again, want %s", m.Subject(), want)
			}
		}
	}
}

// fetch takes the next n messages.
func fetch(t *testing.T, c jetstream.Consumer, n int) (all []jetstream.Msg) {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		all = append(all, m)
	}
	if len(all) != n {
		t.Fatalf("%d messages come, want %d: %v", len(all), n, batch.Error())
	}
	return all
}
