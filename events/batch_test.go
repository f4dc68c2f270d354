package events

import (
	"strings"
	"testing"
)

func TestBatchKeepsBytes(t *testing.T) {
	t.Parallel()
	one, two := minimal(`,"data": { "a" : 1.0 }`), minimal(`,"a":"é"`)
	for name, text := range map[string]string{
		"JF-1 two":              "[" + one + "," + two + "]",
		"JF-1 with white space": " [\n" + one + "\t,\r\n" + two + " ]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := ParseBatch([]byte(text), DefaultBatchLimits())
			if err != nil || len(all) != 2 {
				t.Fatalf("%d events, %v", len(all), err)
			}
			for i, want := range []string{one, two} {
				if got := string(all[i].AppendStructured(nil)); got != want {
					t.Errorf("event %d is %q, want %q", i, got, want)
				}
				roundTrip(t, all[i])
			}
		})
	}
}

func TestBatchEmpty(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"[]", " [ ] "} {
		if all, err := ParseBatch([]byte(text), DefaultBatchLimits()); err != nil || all == nil || len(all) != 0 {
			t.Errorf("JF-1: ParseBatch(%q) = %v, %v", text, all, err)
		}
	}
}

func TestBatchDepthIsTheEvents(t *testing.T) {
	t.Parallel()
	text := minimal(`,"data":` + strings.Repeat("[", 63) + strings.Repeat("]", 63))
	if _, err := ParseBatch([]byte("["+text+"]"), DefaultBatchLimits()); err != nil {
		t.Errorf("what passes alone is refused in a batch: %v", err)
	}
}

func TestBatchRefuses(t *testing.T) {
	t.Parallel()
	big := padded(MaxEventBytes, `,"data":"`, `"}`)
	for _, tt := range []struct {
		name, text string
		status     int
		pointers   string
	}{
		{"faults of all", "[" + minimal("") + `,{"specversion":"1.0","id":"","source":"/s"},5,` + minimal(`,"A":1`) + "]", 422, "/1/id /1/type /2 /3/A"},
		{"array in it", "[[]]", 422, "/0"},
		{"JF-10 trailing bytes", "[]x", 400, ""},
		{"trailing comma", "[" + minimal("") + ",]", 400, ""},
		{"cut", "[" + minimal(""), 400, ""},
		{"open", "[", 400, ""},
		{"empty", "", 400, ""},
		{"one event", minimal(""), 422, ""},
		{"no JSON", "x", 400, ""},
		{"1,000 events at most", "[" + strings.Repeat(minimal("")+",", 1000) + minimal("") + "]", 413, ""},
		{"8 MiB at most", "[" + strings.Repeat(" ", MaxBatchBytes) + "]", 413, ""},
		{"too large event", "[" + minimal("") + "," + strings.Replace(big, "A", "AA", 1) + "]", 413, "/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			all, err := ParseBatch([]byte(tt.text), DefaultBatchLimits())
			bad := invalidOf(t, err)
			if all != nil || bad.Status != tt.status || pointers(bad) != tt.pointers {
				t.Errorf("got %d events, %d %v; want %d at %s", len(all), bad.Status, bad, tt.status, tt.pointers)
			}
		})
	}
	if all, err := ParseBatch([]byte("["+strings.Repeat(minimal("")+",", 999)+minimal("")+"]"), DefaultBatchLimits()); len(all) != 1000 {
		t.Errorf("1,000 events: %d, %v", len(all), err)
	}
	if _, err := ParseBatch([]byte("["+big+"]"), DefaultBatchLimits()); err != nil {
		t.Errorf("the largest event in a batch: %v", err)
	}
}
