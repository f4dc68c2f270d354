package events

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStatusPattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[StatusPattern]map[int]bool{
		"409":     {409: true, 408: false, 410: false, 0: false},
		"3xx":     {300: true, 399: true, 299: false, 400: false, 0: false},
		"2xx":     {200: true, 299: true, 300: false, 0: false},
		"500-504": {500: true, 504: true, 499: false, 505: false, 0: false},
		"204-204": {204: true, 205: false},
		"100-599": {100: true, 200: true, 599: true, 600: false, 0: false},
		"*":       {0: true, 100: true, 199: true, 200: false, 204: false, 299: false, 300: true, 599: true, 999: true},
		"":        {0: false, 200: false, 500: false},
	} {
		for status, match := range want {
			if got := pattern.Match(status); got != match {
				t.Errorf("%q matches %d: %v", pattern, status, got)
			}
		}
	}
}

func TestDecodeResponses(t *testing.T) {
	t.Parallel()
	s := decode(t, `{"sink":"https://a.example","config":{"responses":[{"status":409,"action":"retry","every":"30s"},
		{"status":"3xx","action":"deadletter"},{"action":"ack","status":"500-504"},{"status":"*","action":"disable","every":null},
		{"status":"202","action":"retry"}]}}`)
	want := []ResponseRule{
		{"409", "retry", Duration(30 * time.Second)}, {"3xx", "deadletter", 0}, {"500-504", "ack", 0}, {"*", "disable", 0}, {"202", "retry", 0},
	}
	if diff := cmp.Diff(want, s.Config.Responses); diff != "" {
		t.Error(diff)
	}
	if s := decode(t, `{"sink":"https://a.example","config":{"responses":[]}}`); s.Config.Responses != nil {
		t.Errorf("%v", s.Config.Responses)
	}
}
