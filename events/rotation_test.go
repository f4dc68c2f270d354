package events

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/secret"
)

func TestDecodeRotation(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want     Rotation
		status   int
		pointers string
	}{
		``:                               {want: Rotation{Overlap: Duration(24 * time.Hour)}},
		`{}`:                             {want: Rotation{Overlap: Duration(24 * time.Hour)}},
		`{"secret":null,"overlap":null}`: {want: Rotation{Overlap: Duration(24 * time.Hour)}},
		`{"overlap":"0s","secret":"a"}`:  {want: Rotation{Secret: secret.New("a")}},
		`{"overlap":"30d"}`:              {want: Rotation{Overlap: Duration(30 * 24 * time.Hour)}},
		`{"overlap":"31d","secret":5}`:   {status: 422, pointers: "/overlap /secret"},
		`{"overlap":3600,"x":1}`:         {status: 422, pointers: "/overlap /x"},
		`{"secret":"••••abcd"}`:          {status: 422, pointers: "/secret"},
		`[]`:                             {status: 422, pointers: ""},
		`{`:                              {status: 400, pointers: ""},
		`{"secret":"a","secret":"b"}`:    {status: 400, pointers: "/secret"},
	}
	for text, test := range tests {
		got, err := DecodeRotation([]byte(text))
		if test.status == 0 {
			if diff := cmp.Diff(&test.want, got, showSecrets); diff != "" || err != nil {
				t.Errorf("%s: %v %s", text, err, diff)
			}
			continue
		}
		invalid := faultsOf(t, err)
		var at []string
		for _, f := range invalid.Faults {
			at = append(at, f.Pointer)
		}
		if invalid.Status != test.status || strings.Join(at, " ") != test.pointers {
			t.Errorf("%s: %v", text, invalid)
		}
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.FixedZone("", 3600))
	s := signed("https://a.example", testSecret)
	sg := s.ProtocolSettings.Signing
	made, err := s.Rotate(&Rotation{Overlap: Duration(time.Hour)}, now)
	if err != nil || !made || sg.Secret.Reveal() == testSecret || sg.wrongSecret(sg.Secret.Reveal()) != "" {
		t.Fatalf("%v %v %s", made, err, sg.Secret.Reveal())
	}
	if until := "2026-11-22T10:00:00.123Z"; sg.Previous.Reveal() != testSecret || sg.PreviousUntil.Format(time.RFC3339Nano) != until {
		t.Errorf("before %s until %v, want %s", sg.Previous.Reveal(), sg.PreviousUntil, until)
	}
	second := sg.Secret
	given := &Rotation{Secret: signed("", testSecret).ProtocolSettings.Signing.Secret, Overlap: Duration(time.Minute)}
	for range 2 { // the second time is a repetition
		if made, err = s.Rotate(given, now); err != nil || made || sg.Secret != given.Secret || sg.Previous != second {
			t.Errorf("%v %v %+v", made, err, sg)
		}
	}
	if _, err := s.Rotate(&Rotation{}, now); err != nil || !sg.Previous.IsZero() || !sg.PreviousUntil.IsZero() {
		t.Errorf("without an overlap: %v %+v", err, sg)
	}
	invalid := faultsOf(t, errOf(s.Rotate(&Rotation{Secret: secret.New("short")}, now)))
	if invalid.Status != 422 || invalid.Faults[0].Pointer != "/secret" || strings.Contains(invalid.Error(), "short") {
		t.Error(invalid)
	}
	if _, err := defaultSubscription("").Rotate(&Rotation{}, now); !errors.Is(err, ErrUnsigned) {
		t.Error(err)
	}
}

func errOf(_ bool, err error) error { return err }

// What a rotation left is stored, and not shown but for its end.
func TestRotationIsStored(t *testing.T) {
	t.Parallel()
	s := signed("https://a.example", testSecret)
	if _, err := s.Rotate(&Rotation{Overlap: DefaultOverlap}, time.Now()); err != nil {
		t.Fatal(err)
	}
	text, err := Seal(s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := new(Opener).Open(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, back, showSecrets); diff != "" {
		t.Error(diff)
	}
	shown, err := json.Marshal(s)
	if err != nil || strings.Contains(string(shown), testSecret[8:20]) || !strings.Contains(string(shown), `"previousuntil":"`) {
		t.Errorf("%s %v", shown, err)
	}
}

// A PUT that keeps the secret keeps the overlap; one with another secret takes the place of both.
func TestKeepSecretsKeepsTheOverlap(t *testing.T) {
	t.Parallel()
	rotated := func(d time.Duration) *Subscription {
		s := signed("https://a.example", testSecret)
		if _, err := s.Rotate(&Rotation{Overlap: Duration(time.Hour)}, time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := rotated(0)
	mask := old.ProtocolSettings.Signing.Secret.Mask()
	for name, tt := range map[string]struct {
		old  *Subscription
		next string
		kept bool
	}{
		"omitted": {old, "", true}, "masked": {old, mask, true}, "the same": {old, old.ProtocolSettings.Signing.Secret.Reveal(), true},
		"another": {old, testSecret, false}, "over": {rotated(-time.Hour), "", false},
	} {
		s := signed("https://a.example", tt.next)
		if err := s.KeepSecrets(tt.old); err != nil {
			t.Fatal(err)
		}
		sg := s.ProtocolSettings.Signing
		if kept := sg.Previous.Reveal() == testSecret && !sg.PreviousUntil.IsZero(); kept != tt.kept || !kept && !sg.Previous.IsZero() {
			t.Errorf("%s: kept %v", name, kept)
		}
	}
}
