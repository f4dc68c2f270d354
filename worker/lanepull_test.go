package worker

import (
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// TestCancelsInAnOutageHideWhatWasSettled: while all workers are away the API records what is cancelled. A take-over that read
// the history from shortly before the last record on did not find what the last owner had settled, and sent it again.
func TestCancelsInAnOutageHideWhatWasSettled(t *testing.T) {
	t.Parallel()
	killed := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	cancelled, now := killed.Add(time.Hour), killed.Add(2*time.Hour)
	for name, tc := range map[string]struct {
		recorded, alive time.Time
		lease           stream.LaneLease
		want            time.Time
	}{
		"nothing was recorded since":       {killed, killed.Add(-time.Second), stream.LaneLease{Owner: "w"}, killed},
		"the API recorded a cancel":        {cancelled, killed.Add(-time.Second), stream.LaneLease{Owner: "w"}, killed.Add(34 * time.Second)},
		"another worker was there":         {now.Add(-time.Second), now.Add(-5 * time.Second), stream.LaneLease{Owner: "w"}, now.Add(-time.Second)},
		"it was given up before":           {cancelled, time.Time{}, stream.LaneLease{Written: killed}, killed},
		"its owner never said that it was": {cancelled, time.Time{}, stream.LaneLease{Owner: "w"}, cancelled},
		"nobody ever had it":               {time.Time{}, time.Time{}, stream.LaneLease{}, now},
	} {
		if got := endOf(now, tc.recorded, tc.alive, &tc.lease); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
