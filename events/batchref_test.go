package events

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeBatch(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]ProtocolSettings{
		`{"contentmode":"batch"}`: {Method: "POST", ContentMode: "batch", Batch: &Batch{100, 262144, Duration(time.Second)}},
		`{"batch":{"maxevents":5},"contentmode":"batch"}`: {
			Method: "POST", ContentMode: "batch", Batch: &Batch{5, 262144, Duration(time.Second)},
		},
		`{"contentmode":"batch","batch":{"maxevents":1000,"maxbytes":1048576,"linger":"5m"}}`: {
			Method: "POST", ContentMode: "batch", Batch: &Batch{1000, 1 << 20, Duration(5 * time.Minute)},
		},
		`{"contentmode":"batch","batch":{"maxevents":1,"maxbytes":1,"linger":"0s"}}`: {Method: "POST", ContentMode: "batch", Batch: &Batch{1, 1, 0}},
		`{"contentmode":"batch","batch":null}`:                                       {Method: "POST", ContentMode: "batch", Batch: &Batch{100, 262144, Duration(time.Second)}},
		`{"batch":{"linger":"2s"}}`:                                                  {Method: "POST", ContentMode: "structured", Batch: &Batch{100, 262144, Duration(2 * time.Second)}},
		`{}`:                                                                         {Method: "POST", ContentMode: "structured"},
	} {
		s := decode(t, `{"sink":"https://a.example","protocolsettings":`+settings+`}`)
		if diff := cmp.Diff(want, s.ProtocolSettings); diff != "" {
			t.Errorf("%s: %s", settings, diff)
		}
	}
}

func TestBatchPlace(t *testing.T) {
	t.Parallel()
	for _, id := range []string{DeliveryID(1, "a", 0), DeliveryID(123456, "a-b-c", 7)} {
		_, subscription, _, _ := ParseDeliveryID(id)
		if back := BatchPlace(id) + "-" + subscription; back != id {
			t.Errorf("%s comes back as %s", id, back)
		}
	}
}
