package events

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppendWithout(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, want string
		omit       []string
	}{
		{`{"specversion":"1.0","id":"1","tenant":"acme","source":"/s","type":"t"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, []string{"tenant"}},
		{`{"tenant":"acme","specversion":"1.0","id":"1","source":"/s","type":"t"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, []string{"tenant"}},
		{`{"specversion":"1.0","id":"1","source":"/s","type":"t","tenant":"acme"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, []string{"tenant"}},
		{" {\n \"tenant\" : \"a\" ,\n \"subject\" : \"x\",\n \"id\" : \"1\" ,\t\"source\":\"/s\" , \"type\":\"t\",\"specversion\":\"1.0\"\r\n} ",
			" {\n \"id\" : \"1\" ,\t\"source\":\"/s\" , \"type\":\"t\",\"specversion\":\"1.0\"\r\n} ", []string{"subject", "tenant"}},
		{`{"specversion":"1.0","id":"1","\u0074enant":null,"source":"/s","type":"t","data":{"tenant" : 1.0}}`,
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"tenant" : 1.0}}`, []string{"tenant"}},
		{`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, []string{"tenant"}},
		{`{"a":1,"specversion":"1.0","b":2,"id":"1","c":3,"source":"/s","d":4,"type":"t","e":5,"f":6}`,
			`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, []string{"a", "b", "c", "d", "e", "f"}},
	}
	for _, test := range tests {
		if got := string(mustParse(t, test.text).AppendWithout(nil, test.omit)); got != test.want {
			t.Errorf("%s without %v: %s", test.text, test.omit, got)
		}
	}
	e, err := ParseNATS(map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-tenant": {"acme"},
		"ce-datacontenttype": {"application/json"}}, []byte(`{"x": 1.0}`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":{"x": 1.0}}`
	if got := string(e.AppendWithout(nil, []string{"tenant"})); got != want {
		t.Errorf("of a binary event: %s", got)
	}
}

// What is left of an event is an event, with all members but those, whose bytes are the same.
func FuzzAppendWithout(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","tenant":"acme","source":"/s","type":"t","data":[1 ,2]}`), "tenant", "subject")
	f.Add([]byte(" {\"subject\" : \"x\",\n\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"specversion\":\"1.0\" , \"a\":null }\n"), "a", "subject")
	f.Fuzz(func(t *testing.T, text []byte, a, b string) {
		e, err := ParseStructured(text)
		omit := []string{a, b}
		if err != nil || slices.ContainsFunc(required[:], func(name string) bool { return slices.Contains(omit, name) }) {
			return
		}
		left := e.AppendWithout(nil, omit)
		var before, after map[string]json.RawMessage
		if json.Unmarshal(text, &before) != nil || json.Unmarshal(left, &after) != nil {
			t.Fatalf("%s became %s", text, left)
		}
		maps.DeleteFunc(before, func(name string, _ json.RawMessage) bool { return slices.Contains(omit, name) })
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatal(diff)
		}
	})
}
