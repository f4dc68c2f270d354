package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func find(t testing.TB, e *Event, paths ...string) []Value {
	t.Helper()
	var all []Path
	for _, text := range paths {
		p, err := ParseReference(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Path)
	}
	found := make([]Value, len(all))
	NewFinder(all).Find(e, found)
	return found
}

func TestFind(t *testing.T) {
	t.Parallel()
	const data = ` { "a" : {"b":[ 1.50 , {"c":"x\u0041\n"}, null, [true]] , "big":123456789012345678901234567890}, "\u0064up":1, "dup":{"x":2},` +
		`"late":{"x":1},"late":{"y":1}, "ü":"é", "e":"" } `
	e := mustParse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+data+`}`)
	for path, want := range map[string]string{ // text | JSON | in a string
		"a.b[0]":      `1.50|1.50|1.50`,
		"a.b[1].c":    "xA\n|\"x\\u0041\\n\"|x\\u0041\\n",
		"a.b[2]":      `null|null|null`,
		"a.b[3]":      `[true]|[true]|[true]`,
		"a.b[1]":      `{"c":"x\u0041\n"}|{"c":"x\u0041\n"}|{\"c\":\"x\\u0041\\n\"}`,
		"a.b[4]":      `missing`,
		"a.b.c":       `missing`,
		"a[0]":        `missing`,
		"a.b[0].x":    `missing`,
		"A":           `missing`,
		"a.big":       `123456789012345678901234567890|123456789012345678901234567890|123456789012345678901234567890`,
		"dup":         `{"x":2}|{"x":2}|{\"x\":2}`,
		"data.dup.x":  `2|2|2`,
		"data.late.x": `missing`, // the last counts
		"data.late.y": `1|1|1`,
		"ü":           `é|"é"|é`,
		"data.e":      `|""|`,
	} {
		got := "missing"
		if v := find(t, e, path)[0]; !v.Missing() {
			got = v.Text() + "|" + string(v.AppendJSON(nil)) + "|" + string(v.AppendInString(nil))
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := find(t, e, "data")[0].Text(); got != strings.TrimSpace(data) {
		t.Errorf("data is %q", got)
	}
	all := find(t, e, "a.b[0]", "a", "data", "nothing", "a.b[1].c")
	if all[0].Text() != "1.50" || !all[3].Missing() || all[4].Text() != "xA\n" || !strings.HasPrefix(all[1].Text(), `{"b"`) {
		t.Errorf("%+v", all)
	}
}

func TestFindInOtherData(t *testing.T) {
	t.Parallel()
	const head = `{"specversion":"1.0","id":"1","source":"/s","type":"t"`
	for text, want := range map[string]string{
		head + `}`: "",
		head + `,"datacontenttype":"text/plain","data":"a\"b"}`: `"a\"b"`,
		head + `,"data_base64":"AAEC/w=="}`:                     `"AAEC/w=="`,
		head + `,"data":null}`:                                  "null",
		head + `,"data":"x"}`:                                   `"x"`,
	} {
		e := mustParse(t, text)
		v := find(t, e, "data")[0]
		if got := string(v.AppendJSON(nil)); v.Missing() && want != "" || !v.Missing() && got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if v := find(t, e, "data.a")[0]; !v.Missing() {
			t.Errorf("%s: data.a is %s", text, v.Text())
		}
	}
}

func TestAttributeValue(t *testing.T) {
	t.Parallel()
	e := mustParse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","n":5,"b":true,"s":"5"}`)
	for name, want := range map[string]string{"n": "5", "b": "true", "s": `"5"`, "id": `"1"`} {
		if got := string(e.AttributeValue(name).AppendJSON(nil)); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if !e.AttributeValue("subject").Missing() {
		t.Error("there is a subject")
	}
}

// Finding agrees with encoding/json.
func FuzzFind(f *testing.F) {
	f.Add(`{"a":{"b":[1,2,{"c":"x"}]},"a":{"d":1}}`, "a.b[2].c")
	f.Add(`[[1],{"a":null}]`, "data[1].a")
	f.Fuzz(func(t *testing.T, data, path string) {
		e, err := ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":%s}`, data))
		if err != nil {
			return
		}
		p, err := ParseReference(path)
		if err != nil {
			return
		}
		if _, kind := e.Data(); kind != DataJSON {
			return
		}
		found := make([]Value, 1)
		NewFinder([]Path{p.Path}).Find(e, found)
		want, ok := walk(data, p.Path)
		if ok == found[0].Missing() {
			t.Fatalf("%s in %s: %+v, want %v", path, data, found[0], ok)
		}
		if got := string(found[0].AppendJSON(nil)); ok && got != want {
			t.Fatalf("%s in %s: %s, want %s", path, data, got, want)
		}
		if inner := `"` + string(found[0].AppendInString(nil)) + `"`; !json.Valid([]byte(inner)) {
			t.Fatalf("%s is no string", inner)
		}
	})
}

func walk(text string, path Path) (string, bool) {
	for _, s := range path {
		var next json.RawMessage
		if s.Name != "" {
			var m map[string]json.RawMessage
			if json.Unmarshal([]byte(text), &m) != nil || m[s.Name] == nil {
				return "", false
			}
			next = m[s.Name]
		} else {
			var a []json.RawMessage
			if json.Unmarshal([]byte(text), &a) != nil || s.Item >= len(a) {
				return "", false
			}
			next = a[s.Item]
		}
		text = string(next)
	}
	return strings.Trim(text, " \t\r\n"), true
}
