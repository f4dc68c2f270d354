package events

import (
	"testing"
	"time"
)

// A max below initial is taken, and is what every delay is cut to; the policies without max ignore it.
func TestMaxWinsOverInitial(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]time.Duration{
		`"initial":"1m","max":"2s"`:                  2 * time.Second,
		`"max":"2s"`:                                 2 * time.Second, // with the initial of the defaults
		`"initial":"24h"`:                            10 * time.Hour,  // with the max of the defaults
		`"policy":"fixed","initial":"1m","max":"2s"`: time.Minute,
		`"policy":"schedule","schedule":["1m"],"initial":"1h","max":"2s"`:   time.Minute,
		`"policy":"exponential","initial":"1m","max":"1m","maxattempts":12`: time.Minute,
	} {
		p := decode(t, `{"sink":"https://partner.example/","config":{"retry":{`+members+`}}}`).Config.Retry
		for attempt := range 12 {
			if got := p.Delay(attempt+1, 0.5); got != want {
				t.Errorf("%s: %v after attempt %d, want %v", members, got, attempt+1, want)
			}
		}
	}
}
