package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plain is v as encoding/json reads it, with numbers as they are spelled.
func plain(v DataValue) any {
	switch v.Kind() {
	case ValueObject:
		m := map[string]any{}
		for i := range v.Len() {
			name, member, _ := v.MemberAt(i)
			m[name] = plain(member)
		}
		return m
	case ValueArray:
		list := []any{}
		for item := range v.Items() {
			list = append(list, plain(item))
		}
		return list
	case ValueNumber:
		return json.Number(v.Text())
	case ValueString:
		return v.Text()
	case ValueBool:
		return v.Text() == "true"
	default:
		return nil
	}
}

func wide(n int, format string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(all, ",")
}

func TestValue(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`null`, `true`, `false`, `0`, `-1.50e+3`, `""`, `"a\"b\u00e9é\\"`, `[]`, `{}`, ` [ 1 , [ ] , { } , "x" ] `,
		`{"a":{"b":[1,{"c":null}],"":2},"\u0061b":"x", "d" : [[[]]] }`,
		`{"a":1,"b":[2],"a":{"c":3}}`,
		`{` + wide(100, `"m%d":[%[1]d]`) + `}`,
		`[` + wide(100, `{"a":%d}`) + `]`,
		`{"deep":{"x":[` + wide(33, `%d`) + `],"y":{` + wide(40, `"\u0061%d":%[1]d`) + `,"a7":"twice"}}}`,
	} {
		v, ok := event(t, `,"data":`+text).JSON()
		if !ok {
			t.Fatalf("%s is no JSON", text)
		}
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, plain(v)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		lookUp(t, v)
	}
}

// lookedUp is plain(v), with members looked up by their names.
func lookedUp(v DataValue) any {
	switch v.Kind() {
	case ValueObject:
		m := map[string]any{}
		for i := range v.Len() {
			name, _, _ := v.MemberAt(i)
			member, _ := v.Member(name)
			m[name] = lookedUp(member)
		}
		return m
	case ValueArray:
		list := []any{}
		for i := range v.Len() {
			item, _ := v.Item(i)
			list = append(list, lookedUp(item))
		}
		return list
	default:
		return plain(v)
	}
}

// lookUp checks that what is found by name or place is what is there.
func lookUp(t *testing.T, v DataValue) {
	t.Helper()
	items := slices.Collect(v.Items())
	for i := range v.Len() {
		if v.Kind() == ValueArray {
			item, ok := v.Item(i)
			if !ok || item != items[i] {
				t.Errorf("item %d is %v, want %v", i, item, items[i])
			}
			lookUp(t, item)
			continue
		}
		name, member, ok := v.MemberAt(i)
		named, found := v.Member(name)
		if !ok || !found || i == v.Len()-1 && named != member {
			t.Errorf("member %q is %v, want %v", name, named, member)
		}
		lookUp(t, named)
	}
	for _, i := range []int{-1, v.Len()} {
		if _, ok := v.Item(i); ok {
			t.Errorf("there is an item %d of %d", i, v.Len())
		}
		if _, _, ok := v.MemberAt(i); ok {
			t.Errorf("there is a member %d of %d", i, v.Len())
		}
	}
	if _, ok := v.Member("absent"); ok {
		t.Error("there is an absent member")
	}
}

func TestValueOfOtherData(t *testing.T) {
	t.Parallel()
	for _, members := range []string{``, `,"data_base64":"AA=="`, `,"datacontenttype":"text/plain","data":"{}"`} {
		if v, ok := event(t, members).JSON(); ok {
			t.Errorf("%s has JSON %v", members, v)
		}
	}
	e, err := ParseNATS(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-datacontenttype": {"application/json"},
	}, []byte("\n{\"a\": [1]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	v, ok := e.JSON()
	if a, has := v.Member("a"); !ok || !has || a.Len() != 1 {
		t.Errorf("data in binary mode is %v", v)
	}
}

// Many ask at once, and get the same tree.
func TestValueIsReadOnce(t *testing.T) {
	t.Parallel()
	e := event(t, `,"data":{"a":[1,2,3]}`)
	var all sync.WaitGroup
	values := make([]DataValue, 8)
	for i := range values {
		all.Go(func() {
			values[i], _ = e.JSON()
			if a, ok := values[i].Member("a"); !ok || a.Len() != 3 {
				t.Error("a is not there")
			}
		})
	}
	all.Wait()
	if len(slices.Compact(values)) != 1 {
		t.Error("there are several trees")
	}
}

// What is valid JSON is read as encoding/json reads it, and nothing panics.
func FuzzValue(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"c":null}],"":2},"\u0061":"x"}`))
	f.Add([]byte(`[` + wide(40, `{"a%d":1.5}`) + `]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseStructured(slices.Concat([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`), text, []byte(`}`)))
		if err != nil {
			return
		}
		v, ok := e.JSON()
		data, _ := e.Data()
		if !ok || len(data) == 0 {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, plain(v)); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(want, lookedUp(v)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Where a string ends does not depend on how long it is, on what stands where in it, or on what follows.
func TestValueFindsTheEndOfStrings(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		for at := range n + 1 {
			for _, middle := range []string{`\"`, `\\`, `\\\"`, `\\\\`, `\u0022`, `é`, `,`, `}`, `":`[1:], `[`} {
				text := `"` + strings.Repeat("x", at) + middle + strings.Repeat("y", n-at) + `"`
				data := `{` + text + `:` + text + `,"b":[` + text + ` ,` + text + `]}`
				v, ok := event(t, `,"data":`+data).JSON()
				var want any
				if err := json.Unmarshal([]byte(data), &want); err != nil || !ok {
					t.Fatalf("%s: %v", data, err)
				}
				if diff := cmp.Diff(want, lookedUp(v)); diff != "" {
					t.Fatalf("%s: %s", data, diff)
				}
			}
		}
	}
}

// A name with a backslash is not the name that the same text stands for when it is an escape.
func TestValueNamesWithBackslashes(t *testing.T) {
	t.Parallel()
	v, _ := event(t, `,"data":{"a\\nb":1,"a\nb":2,"\u0061":3,"c":"\u0064\\"}`).JSON()
	for name, want := range map[string]string{"a\\nb": "1", "a\nb": "2", "a": "3", `\u0061`: "", `a\\nb`: "", "c": "d\\"} {
		member, ok := v.Member(name)
		if ok != (want != "") || ok && (member.Text() != want || !member.Is(want)) {
			t.Errorf("%q is %v", name, ok)
		}
	}
	if c, _ := v.Member("c"); c.Is(`\u0064\\`) || c.Is(`d\\\`) {
		t.Error("a text is its escapes")
	}
}

// As deep, and as wide at each level, as is taken.
func TestValueOfDeepData(t *testing.T) {
	t.Parallel()
	data := `7`
	for range maxDepth - 2 { // beside the event itself, and the arrays
		data = `{"a":0,` + wide(40, `"m%d":[]`) + `,"a":` + data + `}`
	}
	v, ok := event(t, `,"data":`+data).JSON()
	for range maxDepth - 2 {
		if v.Len() != 42 {
			t.Fatalf("%d members", v.Len())
		}
		v, ok = v.Member("a")
	}
	if !ok || v.Text() != "7" {
		t.Error("what is deepest is not found")
	}
}

// The cost of the first look at data of 1 KiB.
func BenchmarkJSON(b *testing.B) {
	text := `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"amount":150,"order":{"id":"4711","lines":[` +
		wide(20, `{"code":"A%d","price":10.5,"text":"some text"}`) + `]}}}`
	data, _ := mustParse(b, text).Data()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var t tree
		t.read(data)
	}
}
