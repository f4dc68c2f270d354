package sign_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/sign"
)

// The vector that the published libraries of all languages test with.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func key(t testing.TB, text string) *sign.Key {
	t.Helper()
	k, err := sign.Parse(secret.New(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func message(id string, at int64, signatures string) http.Header {
	return http.Header{sign.HeaderID: {id}, sign.HeaderTimestamp: {strconv.FormatInt(at, 10)}, sign.HeaderSignature: {signatures}}
}

// SW-4, SW-5.
func TestVector(t *testing.T) {
	t.Parallel()
	got := key(t, vectorSecret).Sign([]byte("kept "), vectorID, vectorTime, []byte(vectorBody))
	if string(got) != "kept "+vectorSignature {
		t.Errorf("got %s", got)
	}
}

func TestPublishedLibraryVerifies(t *testing.T) {
	t.Parallel()
	for _, body := range [][]byte{nil, []byte(vectorBody), bytes.Repeat([]byte{0, 0xff, '.'}, 300_000)} {
		text := sign.NewSecret()
		theirs, err := standardwebhooks.NewWebhook(text.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		ours := key(t, text.Reveal())
		h := message(vectorID, now.Unix(), string(ours.Sign(nil, vectorID, now.Unix(), body)))
		if err := theirs.Verify(body, h); err != nil {
			t.Errorf("%d bytes: the library refuses ours: %v", len(body), err)
		}
		signature, err := theirs.Sign(vectorID, now, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := ours.Verify(message(vectorID, now.Unix(), signature), body, now); err != nil {
			t.Errorf("%d bytes: we refuse the library's: %v", len(body), err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	encode := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for text, want := range map[string]bool{
		encode(24): true, encode(32): true, encode(64): true,
		encode(23): false, encode(65): false, encode(0): false,
		"": false, "whsec_": false, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": false, "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": false,
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-": false, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n": false, " " + vectorSecret: false,
		strings.TrimRight(encode(32), "="): false,
	} {
		_, err := sign.Parse(secret.New(text))
		if (err == nil) != want {
			t.Errorf("%q: %v, want valid %v", text, err, want)
		}
		if err != nil && len(text) > 6 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestNewSecret(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		text := sign.NewSecret().Reveal()
		b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
		if err != nil || len(b) != 32 || seen[text] {
			t.Fatalf("%q: %d bytes, %v", text, len(b), err)
		}
		seen[text] = true
		key(t, text)
	}
}

// SW-3, SW-6.
func TestVerify(t *testing.T) {
	t.Parallel()
	k, other := key(t, vectorSecret), key(t, sign.NewSecret().Reveal())
	now := time.Unix(vectorTime, 0)
	body := []byte(vectorBody)
	good := string(k.Sign(nil, vectorID, vectorTime, body))
	bad := string(other.Sign(nil, vectorID, vectorTime, body))
	at := func(d time.Duration) http.Header {
		s := vectorTime + int64(d/time.Second)
		return message(vectorID, s, string(k.Sign(nil, vectorID, s, body)))
	}
	for name, tt := range map[string]struct {
		h    http.Header
		want error
	}{
		"good":                  {message(vectorID, vectorTime, good), nil},
		"second of two":         {message(vectorID, vectorTime, bad+" "+good), nil},
		"first of two":          {message(vectorID, vectorTime, good+" "+bad), nil},
		"among other schemes":   {message(vectorID, vectorTime, "v1a,xyz v2,"+good[3:]+"  "+good), nil},
		"only other schemes":    {message(vectorID, vectorTime, "v1a,"+good[3:]+" v2,"+good[3:]), sign.ErrSignature},
		"other key":             {message(vectorID, vectorTime, bad), sign.ErrSignature},
		"other id":              {message("msg_2", vectorTime, good), sign.ErrSignature},
		"other time":            {message(vectorID, vectorTime+1, good), sign.ErrSignature},
		"cut signature":         {message(vectorID, vectorTime, good[:len(good)-4]), sign.ErrSignature},
		"longer signature":      {message(vectorID, vectorTime, good+"AAAA"), sign.ErrSignature},
		"empty signature":       {message(vectorID, vectorTime, "v1,"), sign.ErrSignature},
		"not base64":            {message(vectorID, vectorTime, "v1,*"), sign.ErrSignature},
		"other spelling of now": {http.Header{sign.HeaderID: {vectorID}, sign.HeaderTimestamp: {"+" + fmt.Sprint(vectorTime)}, sign.HeaderSignature: {good}}, sign.ErrSignature},
		"300 s old":             {at(-300 * time.Second), nil},
		"301 s old":             {at(-301 * time.Second), sign.ErrTooOld},
		"300 s early":           {at(300 * time.Second), nil},
		"301 s early":           {at(301 * time.Second), sign.ErrTooNew},
		"1970":                  {message(vectorID, 0, good), sign.ErrTooOld},
		"far future":            {message(vectorID, 1<<62, good), sign.ErrTooNew},
		"no headers":            {http.Header{}, sign.ErrHeaders},
		"no id":                 {message("", vectorTime, good), sign.ErrHeaders},
		"no signature":          {message(vectorID, vectorTime, ""), sign.ErrHeaders},
		"time in words":         {http.Header{sign.HeaderID: {vectorID}, sign.HeaderTimestamp: {"now"}, sign.HeaderSignature: {good}}, sign.ErrHeaders},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := k.Verify(tt.h, body, now); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if tt.want == nil && !errors.Is(k.Verify(tt.h, append(body, ' '), now), sign.ErrSignature) {
				t.Error("another body passes")
			}
		})
	}
}

// SW-2.
func TestDotInIDPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("signed")
		}
	}()
	key(t, vectorSecret).Sign(nil, "a.b", 1, nil)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	k := key(t, vectorSecret)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				id, body := fmt.Sprintf("msg_%d_%d", i, j), make([]byte, j)
				rand.Read(body)
				h := message(id, vectorTime, string(k.Sign(nil, id, vectorTime, body)))
				if err := k.Verify(h, body, time.Unix(vectorTime, 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorSignature, []byte(vectorBody))
	f.Add("a", "+1", "v1, v1a,= v1,AAAA", []byte{})
	k := key(f, vectorSecret)
	theirs, err := standardwebhooks.NewWebhook(vectorSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, stamp, list string, body []byte) {
		h := http.Header{sign.HeaderID: {id}, sign.HeaderTimestamp: {stamp}, sign.HeaderSignature: {list}}
		seconds, _ := strconv.ParseInt(stamp, 10, 64)
		ours := k.Verify(h, body, time.Unix(seconds, 0)) == nil
		if ours && theirs.VerifyIgnoringTimestamp(body, h) != nil {
			t.Error("we accept what the library refuses")
		}
	})
}

func ExampleKey_Sign() {
	k, err := sign.Parse(secret.New(vectorSecret))
	if err != nil {
		panic(err)
	}
	fmt.Printf("webhook-signature: %s\n", k.Sign(nil, vectorID, vectorTime, []byte(vectorBody)))
	// Output: webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

func BenchmarkSign(b *testing.B) {
	k := key(b, vectorSecret)
	for _, size := range []int{0, 1024, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body, dst := make([]byte, size), make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				k.Sign(dst, vectorID, vectorTime, body)
			}
		})
	}
}
