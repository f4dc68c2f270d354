package events

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeLane(t *testing.T) {
	t.Parallel()
	tests := map[string]DeliveryConfig{
		`{}`:                {},
		`{"ordering":null}`: {},
		`{"ordering":{}}`:   {Ordering: &Ordering{"subject"}},
		`{"ordering":{"key":"data.order.items[0].id"}}`:                               {Ordering: &Ordering{"data.order.items[0].id"}},
		`{"ordering":{"key":"attributes.region"}}`:                                    {Ordering: &Ordering{"attributes.region"}},
		`{"schedule":{"every":"5m","batch":60}}`:                                      {Schedule: &Schedule{Every: Duration(5 * time.Minute), Batch: 60}},
		`{"schedule":{"every":"100ms"}}`:                                              {Schedule: &Schedule{Every: Duration(100 * time.Millisecond)}},
		`{"schedule":{"every":"30d"}}`:                                                {Schedule: &Schedule{Every: Duration(30 * 24 * time.Hour)}},
		`{"schedule":{"cron":"0 9 * * MON-FRI"}}`:                                     {Schedule: &Schedule{Cron: "0 9 * * MON-FRI"}},
		`{"schedule":{"cron":"*/5 0,12 1-15/2 jan,7 7","timezone":"Asia/Kathmandu"}}`: {Schedule: &Schedule{Cron: "*/5 0,12 1-15/2 jan,7 7", Timezone: "Asia/Kathmandu"}},
		`{"schedule":{"cron":"0 0 29 2 *","timezone":"UTC"}}`:                         {Schedule: &Schedule{Cron: "0 0 29 2 *", Timezone: "UTC"}},
		`{"schedule":{"source":"orders","every":null,"batch":1}}`:                     {Schedule: &Schedule{Source: "orders", Batch: 1}},
		`{"lifecycle":{}}`:                                                            {Lifecycle: &Lifecycle{Key: "subject", Status: "data.status", Dedupe: true}},
		`{"lifecycle":{"key":"orderid","status":"state","terminal":["Cancelled","Ended"],"dedupe":false,"latestonly":true}}`: {
			Lifecycle: &Lifecycle{Key: "orderid", Status: "state", Terminal: []string{"Cancelled", "Ended"}, LatestOnly: true},
		},
		`{"ordering":{"key":"orderid"},"lifecycle":{"key":"orderid"},"schedule":{"every":"1s"}}`: {
			Ordering: &Ordering{"orderid"}, Schedule: &Schedule{Every: Duration(time.Second)},
			Lifecycle: &Lifecycle{Key: "orderid", Status: "data.status", Dedupe: true},
		},
	}
	for text, want := range tests {
		s, err := DecodeSubscription([]byte(`{"sink":"https://a.example","config":`+text+`}`), "", SinkPolicy{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := DeliveryConfig{Ordering: s.Config.Ordering, Schedule: s.Config.Schedule, Lifecycle: s.Config.Lifecycle}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestDecodeLaneFaults(t *testing.T) {
	t.Parallel()
	many := `"` + strings.Repeat(`x","`, 100) + `x"`
	tests := map[string]string{
		`"config":{"ordering":"subject","schedule":"5m","lifecycle":[]}`:                         "/config/ordering /config/schedule /config/lifecycle",
		`"config":{"ordering":{"key":""},"lifecycle":{"key":""}}`:                                "/config/ordering/key /config/lifecycle/key",
		`"config":{"ordering":{"key":"${subject}","keys":1}}`:                                    "/config/ordering/key /config/ordering/keys",
		`"config":{"ordering":{"key":"attributes.a.b"},"schedule":{},"lifecycle":{}}`:            "/config/ordering/key /config/schedule",
		`"config":{"schedule":{}}`:                                                               "/config/schedule",
		`"config":{"schedule":{"batch":5}}`:                                                      "/config/schedule",
		`"config":{"schedule":{"interval":"5m"}}`:                                                "/config/schedule/interval",
		`"config":{"schedule":{"every":"1s","cron":"* * * * *"}}`:                                "/config/schedule",
		`"config":{"schedule":{"every":"1s","source":"a"}}`:                                      "/config/schedule",
		`"config":{"schedule":{"every":"99ms","batch":0}}`:                                       "/config/schedule/every /config/schedule/batch",
		`"config":{"schedule":{"every":"31d","batch":1000001}}`:                                  "/config/schedule/every /config/schedule/batch",
		`"config":{"schedule":{"every":300,"batch":"60"}}`:                                       "/config/schedule/every /config/schedule/batch",
		`"config":{"schedule":{"every":"5m","timezone":"Europe/Berlin"}}`:                        "/config/schedule/timezone",
		`"config":{"schedule":{"source":"Orders","timezone":"Nowhere"}}`:                         "/config/schedule/source /config/schedule/timezone",
		`"config":{"schedule":{"cron":"* * * *","timezone":"Local"}}`:                            "/config/schedule/cron /config/schedule/timezone",
		`"config":{"schedule":{"cron":"0 * * * * *","timezone":""}}`:                             "/config/schedule/cron /config/schedule/timezone",
		`"config":{"schedule":{"cron":"@daily","timezone":"../etc/passwd"}}`:                     "/config/schedule/cron /config/schedule/timezone",
		`"config":{"schedule":{"cron":"TZ=UTC 0 9 * * *"}}`:                                      "/config/schedule/cron",
		`"config":{"schedule":{"cron":"CRON_TZ=UTC 9 * * *"}}`:                                   "/config/schedule/cron",
		`"config":{"schedule":{"cron":"60 * * * *"}}`:                                            "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 24 * * *"}}`:                                            "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 0 * *"}}`:                                             "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 * 13 *"}}`:                                            "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 * * 8"}}`:                                             "/config/schedule/cron",
		`"config":{"schedule":{"cron":"*/0 * * * *"}}`:                                           "/config/schedule/cron",
		`"config":{"schedule":{"cron":"H * * * *"}}`:                                             "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 L * *"}}`:                                             "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 * * 1#2"}}`:                                           "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 30 2 *"}}`:                                            "/config/schedule/cron",
		`"config":{"schedule":{"cron":"0 0 31 4,6,9,11 *"}}`:                                     "/config/schedule/cron",
		`"config":{"schedule":{"cron":"` + strings.Repeat("0,", 200) + `0 0 * * *"}}`:            "/config/schedule/cron",
		`"config":{"schedule":{"cron":7,"source":null}}`:                                         "/config/schedule/cron",
		`"config":{"lifecycle":{"key":"a b","status":"data.","dedupe":1,"latestonly":"x"}}`:      "/config/lifecycle/key /config/lifecycle/status /config/lifecycle/dedupe /config/lifecycle/latestonly",
		`"config":{"lifecycle":{"terminal":"Ended"}}`:                                            "/config/lifecycle/terminal",
		`"config":{"lifecycle":{"terminal":["",5,"a","a","` + strings.Repeat("x", 1025) + `"]}}`: "/config/lifecycle/terminal/0 /config/lifecycle/terminal/1 /config/lifecycle/terminal/3 /config/lifecycle/terminal/4",
		`"config":{"lifecycle":{"terminal":[` + many + `]}}`:                                     "/config/lifecycle/terminal",
		`"config":{"ordering":{"key":"a"},"lifecycle":{"key":"b"}}`:                              "/config/ordering/key",
		`"config":{"ordering":{},"lifecycle":{}},"protocolsettings":{"contentmode":"batch"}`:     "/config/ordering /config/lifecycle",
		`"config":{"schedule":{"every":"1m"}},"protocolsettings":{"contentmode":"batch"}`:        "",
	}
	for text, pointers := range tests {
		t.Run(text[:min(len(text), 60)], func(t *testing.T) {
			t.Parallel()
			_, err := DecodeSubscription([]byte(`{"sink":"https://a.example",`+text+`}`), "", SinkPolicy{})
			if pointers == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var at []string
			for _, f := range faultsOf(t, err).Faults {
				at = append(at, f.Pointer)
			}
			if diff := cmp.Diff(strings.Split(pointers, " "), at); diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestDecodeLaneSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := DecodeSubscription([]byte(`{"sink":"https://a.example","config":{"ordering":{"key":"a"},"lifecycle":{"key":"b"},
		"schedule":{"cron":"0 0 30 2 *","timezone":"Mars"}}}`), "", SinkPolicy{})
	want := []Fault{
		{"/config/schedule/cron", "names a time that never comes"},
		{"/config/schedule/timezone", "must be the name of a time zone, such as Europe/Berlin"},
		{"/config/ordering/key", "must be that of lifecycle, which keeps the order of its keys"},
	}
	if diff := cmp.Diff(want, faultsOf(t, err).Faults); diff != "" {
		t.Error(diff)
	}
}
