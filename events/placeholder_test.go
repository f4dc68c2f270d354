package events

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTemplate(t *testing.T) {
	t.Parallel()
	hole := func(at int, p Placeholder) Piece { return Piece{Placeholder: &p, At: at} }
	text := func(at int, s string) Piece { return Piece{Text: s, At: at} }
	tests := map[string][]Piece{
		"":                nil,
		"plain $ } {":     {text(0, "plain $ } {")},
		"${subject}":      {hole(0, Placeholder{Source: FromName, Name: "subject", Path: Path{{Name: "subject"}}, Text: "subject"})},
		"a${orderId}b":    {text(0, "a"), hole(1, Placeholder{Source: FromData, Path: Path{{Name: "orderId"}}, Text: "orderId"}), text(11, "b")},
		"${data}":         {hole(0, Placeholder{Source: FromData, Text: "data"})},
		"${data[2]}":      {hole(0, Placeholder{Source: FromData, Path: Path{{Item: 2}}, Text: "data[2]"})},
		"${a.b[0].c-d}":   {hole(0, Placeholder{Source: FromData, Path: Path{{Name: "a"}, {Name: "b"}, {}, {Name: "c-d"}}, Text: "a.b[0].c-d"})},
		"${data.data.ü}":  {hole(0, Placeholder{Source: FromData, Path: Path{{Name: "data"}, {Name: "ü"}}, Text: "data.data.ü"})},
		"${attributes.x}": {hole(0, Placeholder{Source: FromAttribute, Name: "x", Text: "attributes.x"})},
		"${attributes}":   {hole(0, Placeholder{Source: FromName, Name: "attributes", Path: Path{{Name: "attributes"}}, Text: "attributes"})},
		"${x?}":           {hole(0, Placeholder{Source: FromName, Name: "x", Path: Path{{Name: "x"}}, Optional: true, Text: "x"})},
		"${x:-a $ b?}":    {hole(0, Placeholder{Source: FromName, Name: "x", Path: Path{{Name: "x"}}, HasDefault: true, Default: "a $ b?", Text: "x"})},
		"${X:-}":          {hole(0, Placeholder{Source: FromData, Path: Path{{Name: "X"}}, HasDefault: true, Text: "X"})},
		"${now:unix:-5}":  {hole(0, Placeholder{Source: FromUnix, Name: "now", HasDefault: true, Default: "5", Text: "now:unix"})},
		"${now}":          {hole(0, Placeholder{Source: FromNow, Name: "now", Text: "now"})},
		"${webhookid}${subscription}${attempt}": {
			hole(0, Placeholder{Source: FromWebhookID, Name: "webhookid", Text: "webhookid"}),
			hole(12, Placeholder{Source: FromSubscription, Name: "subscription", Text: "subscription"}),
			hole(27, Placeholder{Source: FromAttempt, Name: "attempt", Text: "attempt"}),
		},
		"${data.now}": {hole(0, Placeholder{Source: FromData, Path: Path{{Name: "now"}}, Text: "data.now"})},
		"$${x} $$${y": {text(0, "${x} $${y")},
		"$$${x}":      {text(0, "$${x}")},
		"$${${x}":     {text(0, "${"), hole(3, Placeholder{Source: FromName, Name: "x", Path: Path{{Name: "x"}}, Text: "x"})},
	}
	for in, want := range tests {
		got, err := ParseTemplate(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

func TestParseTemplateMalformed(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"${}":                                  "byte 0: a name was expected at byte 2",
		"a${":                                  "byte 1: a name was expected at byte 3",
		"a ${x":                                "byte 2: it is not closed at byte 5",
		"${x:-":                                "byte 0: it is not closed at byte 5",
		"${order id}":                          "byte 0: ' ' cannot stand here at byte 7",
		"${ x}":                                "byte 0: a name was expected at byte 2",
		"${x }":                                "byte 0: ' ' cannot stand here at byte 3",
		"${x:default}":                         "byte 0: ':' cannot stand here at byte 3",
		"${x??}":                               "byte 0: '?' cannot stand here at byte 3",
		"${x?:-a}":                             "byte 0: '?' cannot stand here at byte 3",
		"${a${b}}":                             "byte 0: '$' cannot stand here at byte 3",
		"${x:-${y}}":                           "byte 0: a placeholder cannot stand in another at byte 5",
		"${x:-\u0085}":                         "byte 0: a control character cannot stand here at byte 5",
		"${.a}":                                "byte 0: a name was expected at byte 2",
		"${a.}":                                "byte 0: a name was expected at byte 4",
		"${a..b}":                              "byte 0: a name was expected at byte 4",
		"${a[x]}":                              "byte 0: the number of an item was expected at byte 4",
		"${a[-1]}":                             "byte 0: the number of an item was expected at byte 4",
		"${a[*]}":                              "byte 0: the number of an item was expected at byte 4",
		"${a[0}":                               "byte 0: a ] was expected at byte 5",
		"${a[12345678]}":                       "byte 0: no array has so many items at byte 4",
		"${now:iso}":                           "byte 0: ':' cannot stand here at byte 5",
		"${attributes.Ab}":                     "byte 0: attributes. is followed by the name of one at byte 2",
		"${attributes.a.b}":                    "byte 0: attributes. is followed by the name of one at byte 2",
		"${attributes.data}":                   "byte 0: attributes. is followed by the name of one at byte 2",
		"${a" + strings.Repeat(".a", 65) + "}": "byte 0: a path has at most 64 steps at byte 133",
	} {
		_, err := ParseTemplate(in)
		if err == nil || err.Error() != "has a malformed placeholder at "+want {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// No text panics, and text without a dollar is one piece.
func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{"${a.b[0]:-x}", "$${", "${now:unix}?${x?}", "${attributes.a}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pieces, err := ParseTemplate(s)
		if err != nil {
			return
		}
		last := -1
		for _, p := range pieces {
			if p.At <= last || p.At >= len(s) || (p.Text == "") == (p.Placeholder == nil) {
				t.Fatalf("%q: %+v", s, pieces)
			}
			last = p.At
		}
		if !strings.Contains(s, "${") && len(pieces) > 0 && pieces[0].Text != s {
			t.Fatalf("%q: %+v", s, pieces)
		}
	})
}
