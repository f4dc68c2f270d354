package events

import (
	"bytes"
	"slices"
	"testing"
)

// checkDetached: a detached event is equal to its original, and holds none of its memory.
func checkDetached(t *testing.T, e *Event) {
	t.Helper()
	d := e.Detached()
	if !d.Same(e) || !e.Same(d) {
		t.Fatalf("%s is not %s", d.Structured(), e.Structured())
	}
	for _, pair := range [][2]string{
		{d.ID(), e.ID()}, {d.Source(), e.Source()}, {d.Type(), e.Type()}, {d.Subject(), e.Subject()}, {d.Tenant(), e.Tenant()},
		{d.DataContentType(), e.DataContentType()}, {d.MsgID(), e.MsgID()},
		{string(d.Structured()), string(e.Structured())}, {string(d.AppendStructured(nil)), string(e.AppendStructured(nil))},
	} {
		if pair[0] != pair[1] {
			t.Fatalf("%q is not %q", pair[0], pair[1])
		}
	}
	if !d.Time().Equal(e.Time()) || d.HasTenant() != e.HasTenant() || d.IsStructured() != e.IsStructured() || d.Size() != e.Size() ||
		!slices.Equal(slices.Collect(d.Attributes()), slices.Collect(e.Attributes())) {
		t.Fatalf("%+v is not %+v", d, e)
	}
	data, kind := d.Data()
	want, wantKind := e.Data()
	if !bytes.Equal(data, want) || kind != wantKind || (data == nil) != (want == nil) {
		t.Fatalf("data %q of kind %d is not %q of kind %d", data, kind, want, wantKind)
	}
	for _, part := range [][]byte{d.text, d.data} {
		for _, whole := range [][]byte{e.text, e.data} {
			if _, shared := within(part, whole); shared {
				t.Fatalf("%q lies in the memory of what it was detached from", part)
			}
		}
	}
	header, payload := d.Message()
	wantHeader, wantPayload := e.Message()
	if !bytes.Equal(payload, wantPayload) || len(header) != len(wantHeader) {
		t.Fatalf("%v %q is not %v %q", header, payload, wantHeader, wantPayload)
	}
}

func TestDetached(t *testing.T) {
	t.Parallel()
	for _, text := range seeds[:4] {
		e, err := ParseStructured([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		checkDetached(t, e)
		e.Own("acme")
		checkDetached(t, e)
		checkDetached(t, e.Detached())
	}
	batch, err := ParseBatch([]byte("["+seeds[0]+","+seeds[1]+","+seeds[2]+"]"), DefaultBatchLimits())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range batch {
		checkDetached(t, e)
	}
}

// TestDetachedBinary: of an event in binary mode the data is all that is shared.
func TestDetachedBinary(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", `{"a":1}`, "text"} {
		header := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-tenant": {"acme"}}
		e, err := ParseNATS(header, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		checkDetached(t, e)
	}
}

func FuzzDetached(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := ParseStructured(text); err == nil {
			checkDetached(t, e)
		}
	})
}
