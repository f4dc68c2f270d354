package events

import "testing"

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, subject, data, want string // data "" = none
	}{
		{"text", "s", `{"status":"Booked"}`, "Booked"},
		{"among others", "s", `{"id":1,"status":"Booked","lines":[{"status":"x"}]}`, "Booked"},
		{"escaped name", "s", `{"\u0073tatus":"Booked"}`, "Booked"},
		{"escaped value", "s", `{"status":"a\"\u00e9"}`, `a"é`},
		{"number", "s", `{"status":1.50}`, "1.50"},
		{"truth value", "s", `{"status":false}`, "false"},
		{"twice: the last counts", "s", `{"status":"a","status":"b"}`, "b"},
		{"empty", "s", `{"status":""}`, ""},
		{"null", "s", `{"status":null}`, ""},
		{"object", "s", `{"status":{"a":1}}`, ""},
		{"array", "s", `{"status":["a"]}`, ""},
		{"deeper", "s", `{"order":{"status":"a"}}`, ""},
		{"no object", "s", `"status"`, ""},
		{"no data", "s", "", ""},
		{"no subject", "", `{"status":"a"}`, ""},
	} {
		subject := ""
		if c.subject != "" {
			subject = `,"sub\u006aect":"` + c.subject + `"` // as strange as may be
		}
		data := ""
		if c.data != "" {
			data = `,"data":` + c.data
		}
		e, err := ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t"` + subject + data + `}`))
		if err != nil {
			t.Fatal(c.name, err)
		}
		got, ok := e.Status()
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", c.name, got, ok, c.want)
		}
		header, payload := e.Message()
		if ok && !MayHaveStatus(header, payload) {
			t.Errorf("%s: is passed over", c.name)
		}
	}
}

func TestMayHaveStatus(t *testing.T) {
	t.Parallel()
	binary := map[string][]string{"ce-id": {"1"}, "Ce-Subject": {"s"}}
	for _, c := range []struct {
		name    string
		header  map[string][]string
		payload string
		want    bool
	}{
		{"structured", nil, `{"subject":"s","data":{"status":1}}`, true},
		{"no subject", nil, `{"data":{"status":1}}`, false},
		{"no status", nil, `{"subject":"s","data":{"state":1,"statuses":2}}`, false},
		{"binary", binary, `{"status":1}`, true},
		{"binary without subject", map[string][]string{"ce-id": {"1"}}, `{"status":1}`, false},
		{"binary without status", binary, `{"state":1}`, false},
		{"escapes may hide both", nil, `{"data":"\u0073"}`, true},
		{"empty", binary, "", false},
	} {
		if got := MayHaveStatus(c.header, []byte(c.payload)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
