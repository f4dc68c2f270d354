package stream

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"
)

// Streams. Everything named on the wire is in this file.
const (
	Events   = "EVENTS"   // the events, in the bytes and mode they came in
	Retries  = "RETRIES"  // timers of failed deliveries
	HeldName = "HELD"     // deliveries whose sink may not be sent to now
	DeadName = "DEAD"     // dead letters
	Attempts = "ATTEMPTS" // delivery history
	Items    = "ITEMS"    // what status sources watch

	StatusesName = "STATUSES" // the newest event with a status of each subject and type
)

// KV buckets.
const (
	BucketSubscriptions = "hookfleet_subscriptions" // key: subscription id
	BucketSinks         = "hookfleet_sinks"         // key: subscription id; the health of its sink
	BucketPaces         = "hookfleet_paces"         // key: subscription id; how far its rate is used up, while that matters
	BucketKeys          = "hookfleet_keys"          // key: API key id
	BucketWorkers       = "hookfleet_workers"       // key: worker id; heartbeats that expire
	BucketCancels       = "hookfleet_cancels"       // keys: delivery id, replay.<replay>; cancels of deliveries in flight, that expire
	BucketTokens        = "hookfleet_tokens"        // key: subscription id; the token that its token server gave
	BucketReplays       = "hookfleet_replays"       // keys: job.<replay>, as it was asked for; run.<replay>, how far it is
	BucketReplayed      = "hookfleet_replayed"      // key: <subscription>.<since when it exists>.<chunk>; the events whose delivery a replay made
	BucketLanes         = "hookfleet_lanes"         // key: subscription id; who runs its lane, and the lane's last tick
	BucketLifecycle     = "hookfleet_lifecycle"     // key: subscription id, dot, hash of the key; what was delivered for it
	BucketSources       = "hookfleet_sources"       // key: id of a status source
	BucketPolls         = "hookfleet_polls"         // key: source id; how far its present poll is
	BucketPollers       = "hookfleet_pollers"       // key: id of a process that polls; heartbeats that expire
	BucketSourceTicks   = "hookfleet_sourceticks"   // key: source id; the last poll that is through
	BucketFleet         = "hookfleet_fleet"         // birth certificates of the streams, who the scheduler is, and a text that the secrets' key opens
)

// KeyScheduler is the key in BucketFleet whose writer is the scheduler of the fleet.
const KeyScheduler = "scheduler"

// KeyAlive begins the keys in BucketFleet that tell, of each worker, when it was last alive: for days after it was.
const KeyAlive = "alive."

// KeyStatuses is the key in BucketFleet that says how far the index of statuses has come.
const KeyStatuses = "statuses"

// KeySecrets is the key in BucketFleet whose text is sealed with the key that secrets are sealed with, so that a process
// with another key finds out when it starts.
const KeySecrets = "secrets"

// Subjects and durable names.
const (
	SubjectPublish = "hookfleet.publish."        // + <tenant>.<type…>: what producers publish to
	SubjectEvents  = "hookfleet.events."         // + <tenant>.<type…>
	SubjectRetry   = "hookfleet.retry."          // + <subscription>.<delivery>: a timer that is set
	SubjectDue     = "hookfleet.due."            // + <subscription>.<delivery>: a timer that fired
	SubjectHeld    = "hookfleet.held."           // + <subscription>.<delivery>
	SubjectDead    = "hookfleet.dead."           // + <tenant>.<subscription>.<delivery>
	SubjectHistory = "hookfleet.attempts."       // + <bucket of the subscription>.<bucket of the sequence>
	SubjectBatches = "hookfleet.attempts.batch." // + <bucket of the subscription>: what is in which batch
	SubjectItems   = "hookfleet.items."          // + <state>.<source>.<hash of the key>

	subjectPin = "hookfleet.pin.retries" // the Pin of RETRIES

	SubjectLane = "hookfleet.lane." // + <subscription>: tells the lane's owner that something was held for it; the delivery's id

	SubjectStatuses = "hookfleet.statuses." // + <tenant>.<hash of the subject>.<hash of the type>
	SubjectIndexed  = "hookfleet.indexed"   // asks the scheduler to answer when all events so far are in the index of statuses: JSON of a StatusName, or nothing for all

	ConsumerDispatch = "dispatch" // on EVENTS: first attempts
	ConsumerDue      = "due"      // on RETRIES: later attempts
	QueueIngest      = "hookfleet-ingest"
)

// InboxPrefix is the reply subject prefix of the fleet's own connections. It lies outside `_INBOX.`, which producers may
// listen to, so that no producer can read what workers pull.
const InboxPrefix = "_HOOKFLEET"

// Headers of ours. Messages are built from these and the event's own, never by copying what came: a fired timer
// carries Nats-Scheduler and Nats-Schedule-Next, each of which makes a publish fail or vanish.
const (
	HeaderDelivery = "Hookfleet-Delivery" // JSON of events.Delivery: of what waits, and of dead letters
	HeaderBatch    = "Hookfleet-Batch"    // history: the batch whose members it lists; then it is no record
	HeaderTogether = "Hookfleet-Together" // events: <sequence of the first>/<how many> of a batch that was published as plain messages
	HeaderReason   = "Hookfleet-Reason"   // dead letters: why
	HeaderAttempt  = "Hookfleet-Attempt"  // dead letters: JSON of the last events.Attempt
	HeaderDeadAt   = "Hookfleet-Dead-At"  // dead letters: RFC 3339
	HeaderStatus   = "Hookfleet-Status"   // statuses: JSON of which event it is, and of when
	HeaderAfter    = "Hookfleet-After"    // what a replay makes with others: milliseconds after which its first attempt begins
)

// historyBuckets bounds the subjects of ATTEMPTS to 256 × 256 = 65,536: subjects cost memory (100 k of them 325 MB with
// 1 M records), while a look-up by subject and start time costs 0.5 ms.
const historyBuckets = 256

// sequencesPerBucket is how many neighbouring event sequences share a bucket, so that a page of a subscription's
// deliveries is in few of them.
const sequencesPerBucket = 1024

// EventSubject is where an event of tenant and type is stored.
func EventSubject(tenant, typ string) string { return SubjectEvents + tenant + "." + EncodeType(typ) }

// HistorySubject is where the records of a delivery go.
func HistorySubject(subscription string, sequence uint64) string {
	b := make([]byte, 0, len(SubjectHistory)+8)
	b = append(b, SubjectHistory...)
	b = strconv.AppendUint(b, uint64(subscriptionBucket(subscription)), 10)
	b = append(b, '.')
	return string(strconv.AppendUint(b, sequence/sequencesPerBucket%historyBuckets, 10))
}

// HistorySubjects matches all records of a subscription (and of those that share its bucket).
func HistorySubjects(subscription string) string {
	return SubjectHistory + strconv.Itoa(int(subscriptionBucket(subscription))) + ".*"
}

func subscriptionBucket(subscription string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(subscription))
	return h.Sum32() % historyBuckets
}

// RetrySubject is the timer of a delivery; publishing there again replaces it, purging cancels it.
func RetrySubject(subscription, delivery string) string {
	return SubjectRetry + subscription + "." + delivery
}

// DueSubject is where a delivery's timer fires to.
func DueSubject(subscription, delivery string) string {
	return SubjectDue + subscription + "." + delivery
}

// HeldSubject is a delivery's place in its sink's held queue.
func HeldSubject(subscription, delivery string) string {
	return SubjectHeld + subscription + "." + delivery
}

// HeldConsumer is the consumer that drains a sink's held queue.
func HeldConsumer(subscription string) string { return "held-" + subscription }

// CancelledReplay is the key in BucketCancels that cancels what a replay made.
func CancelledReplay(replay string) string { return "replay." + replay }

// ProgressSubject is where the progress of one key of a lifecycle is. Its hash is too long for two keys to share it.
func ProgressSubject(subscription, key string) string {
	sum := sha256.Sum256([]byte(key))
	return "$KV." + BucketLifecycle + "." + subscription + "." + hex.EncodeToString(sum[:16])
}

// ProgressSubjects matches the progress of all keys of a subscription.
func ProgressSubjects(subscription string) string {
	return "$KV." + BucketLifecycle + "." + subscription + ".>"
}

// DeadSubject is a delivery's dead letter. subscription is "-" for an event that matched none (invalid_event).
func DeadSubject(tenant, subscription, delivery string) string {
	return SubjectDead + tenant + "." + subscription + "." + delivery
}

// StatusSubject is where the newest status of a tenant's subject and type lies.
func StatusSubject(tenant, subject, typ string) string {
	return statusPrefix(tenant, subject) + nameHash(typ, typeHashBytes)
}

// statusPrefix is what all types of a subject have in common, with the last dot.
func statusPrefix(tenant, subject string) string {
	return SubjectStatuses + tenant + "." + nameHash(subject, subjectHashBytes) + "."
}

// A hash stands for a name that may have any bytes and any length. Each byte of a subject costs the broker one of memory,
// a million times; with 96 bits two of a tenant's million subjects have the same with a chance of 1 in 10^17, with 48 bits
// two of a subject's hundred types with one of 1 in 10^10. What is stored says its name, so that none is taken for another.
const (
	subjectHashBytes = 12
	typeHashBytes    = 6
)

func nameHash(name string, size int) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:size])
}

const upperHex = "0123456789ABCDEF"

// EncodeType writes a CloudEvents type as subject tokens: its dots stay, every byte outside [A-Za-z0-9_-] becomes =HH,
// an empty token "=" (API.md 2). It is reversible.
func EncodeType(typ string) string {
	if isPlainType(typ) {
		return typ
	}
	var b strings.Builder
	for i, token := range strings.Split(typ, ".") {
		if i > 0 {
			b.WriteByte('.')
		}
		if token == "" {
			b.WriteByte('=')
		}
		for j := range len(token) {
			if c := token[j]; isPlainByte(c) {
				b.WriteByte(c)
			} else {
				b.Write([]byte{'=', upperHex[c>>4], upperHex[c&15]})
			}
		}
	}
	return b.String()
}

func isPlainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

func isPlainType(typ string) bool {
	empty := true
	for i := range len(typ) {
		switch c := typ[i]; {
		case c == '.' && empty:
			return false
		case c == '.':
			empty = true
		case isPlainByte(c):
			empty = false
		default:
			return false
		}
	}
	return !empty
}

// DecodeType reads subject tokens back into a type. ok is false for tokens that EncodeType does not write.
func DecodeType(tokens string) (typ string, ok bool) {
	if strings.IndexByte(tokens, '=') < 0 {
		return tokens, isPlainType(tokens)
	}
	var b strings.Builder
	for i, token := range strings.Split(tokens, ".") {
		if i > 0 {
			b.WriteByte('.')
		}
		if token == "=" {
			continue
		}
		for j := 0; j < len(token); j++ {
			if token[j] != '=' {
				b.WriteByte(token[j])
				continue
			}
			c, err := strconv.ParseUint(token[min(j+1, len(token)):min(j+3, len(token))], 16, 8)
			if err != nil {
				return "", false
			}
			b.WriteByte(byte(c))
			j += 2
		}
	}
	return b.String(), EncodeType(b.String()) == tokens
}
