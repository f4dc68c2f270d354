package api

// memberDocs describes the members of types that are not this package's, as `Type.member`.
var memberDocs = map[string]string{
	"Subscription.id":              "made up if absent",
	"Subscription.tenant":          "whose it is; default: default, or the tenant of a partner key",
	"Subscription.paused":          "nothing is sent, what comes is held",
	"Subscription.source":          "exactly this source; absent = any",
	"Subscription.types":           "exactly these, or a trailing .* for one or more further tokens; absent = any",
	"Subscription.filters":         "all must hold; 64 at most, 8 deep, 4 KiB each",
	"Subscription.sink":            "where to send to: an https URL, and http where it is allowed",
	"Subscription.protocol":        "HTTP",
	"ProtocolSettings.method":      "POST; others are not supported yet",
	"ProtocolSettings.contentmode": "structured or batch; others are not supported yet",
	"ProtocolSettings.batch": "of content mode batch: it goes when one of these is reached, or earlier when a worker has no room for more. " +
		"In other modes it is kept and has no effect",
	"Batch.maxevents":            "1 to 1000",
	"Batch.maxbytes":             "of the request's body, 1 to 1048576; an event that is larger goes alone",
	"Batch.linger":               "since the first event of the batch came, 0s to 5m",
	"ProtocolSettings.signing":   "absent = unsigned",
	"Signing.scheme":             "standardwebhooks; others are not supported yet",
	"DeliveryConfig.timeout":     "of the whole exchange, 100ms to 5m",
	"DeliveryConfig.concurrency": "simultaneous sends, 1 to 500",
	"DeliveryConfig.responses": "the first rule that matches an answer replaces the outcome of the table, not the reason, which stays what happened. " +
		"Retry-After still holds: for the delivery as a floor, and of a 429 or 503 for the whole subscription, whatever the action",
	"ResponseRule.status": "a status (as a number too), a class, a range with both ends, or *: anything but 2xx, network errors included. " +
		"A 2xx is matched only where it is named: 202, 2xx, 200-299; its reason is then rejected",
	"ResponseRule.action": "ack: delivered; retry: as the policy says, or every; deadletter: at once; disable: a dead letter, and the subscription is disabled as by a 410",
	"ResponseRule.every": "of retry: a fixed interval, 10ms to 30d, until success or maxage, without jitter. Such attempts have numbers, and count for neither maxattempts " +
		"nor the policy's delay, breaker or pause",
	"RetryPolicy.policy":        "exponential (initial, factor, max), fixed (initial) or schedule (its last entry repeats)",
	"RetryPolicy.jitter":        "delay × (1 ± jitter)",
	"RetryPolicy.maxattempts":   "first attempt included",
	"RetryPolicy.maxage":        "no attempt after this, counted from acceptance; then a dead letter, reason expired_retry; 0s = none",
	"RetryPolicy.maxretryafter": "caps Retry-After, which is a floor for the next attempt",
	"Filter.exact":              "attributes and their values; several = and",
	"Filter.prefix":             "attributes and how their values begin",
	"Filter.suffix":             "attributes and how their values end",
	"Filter.all":                "filters that must all hold",
	"Filter.any":                "filters of which one must hold",
	"Filter.not":                "a filter that must not hold",
	"Fault.pointer":             "JSON pointer, or the name of the header or query parameter",
	"Response.body":             "at most 4 KiB",
	"EventRef.sequence":         "where it is stored: GET /v1/events/{sequence}",
}
