package api

// What the contract leaves open about requests (API.md 3.1), as it is described to partners.
const (
	placeholderDoc = "A placeholder ${x} is an attribute of the event when it has one of this name, else the member x of data; or a path: ${data.a.b}, " +
		"${data.items[0].id}, ${attributes.x}, and ${a.b}, which is ${data.a.b}. Names are letters, digits, _, - and @. ${webhookid}, ${subscription}, " +
		"${attempt}, ${now} (RFC 3339, UTC, milliseconds) and ${now:unix} come before attributes and members of these names. ${x:-default} takes the " +
		"default, a string, when x is missing or null; an empty string is a value. ${x?} stands for nothing when x is missing or null. $${ is a literal ${. Objects " +
		"and arrays stand as their JSON. Of a member that data has twice the last counts. A value that is missing, or null where text is, ends the " +
		"delivery as a dead letter, reason template, without a request."
	sinkDoc = "where to send to: an https URL, and http where it is allowed. Path and query may have placeholders. " + placeholderDoc +
		" In a URL values and defaults are percent-encoded to unreserved characters; a segment of the path that becomes . or .. (before a ;) and a " +
		"URL of more than 8 KiB are reason template too."
	overrideDoc = "an attribute, or a path in data, as in a placeholder without the braces: where the event has it, and it is neither null nor an empty " +
		"string, it is the sink, as a URL without placeholders. sink may be absent then: an event without it is skipped, reason no_sink. One that " +
		"could not be registered as a sink is a dead letter, reason blocked, without a request. Such requests are signed; credentials go only " +
		"to the origin of sink. What the target answers never holds, pauses or disables the subscription and is no failure of it: a 410 is a dead " +
		"letter, and a 429 or 503 with Retry-After holds what goes to the same origin, which waits in state retrying. While the subscription is paused " +
		"or disabled nothing is sent to them either; a hold of its own sink does not concern them. concurrency counts for each origin."
	modeDoc = "structured, binary, data (only the data) or template. In structured mode what came in structured goes out in the same bytes. binary sends " +
		"ce-* headers, percent-encoded as CloudEvents says, and the data; an event without data, with empty data, or with binary data of no known type goes in " +
		"structured mode with application/cloudevents+json. JSON data without datacontenttype is sent as application/json. data sends the content type " +
		"of the data, application/octet-stream for binary data without one, and an empty body without a content type for an event without data. A " +
		"GET in binary mode has the ce-* headers and no data."
	headersDoc = "headers of every request, whose values may have placeholders; 64 at most. host, content-*, connection, transfer-encoding, webhook-*, ce-*, " +
		"keep-alive, proxy-*, te, trailer, upgrade, expect, authorization beside a credential, and the header of the signature cannot be set; user-agent can. " +
		"Values are percent-encoded as CloudEvents says; one with a control character, and more than 16 KiB in all, is reason template. A " +
		"header that is only ${x?} is left out when x is missing or null."
	omitDoc = "optional attributes left out in structured and binary mode; every other byte stays. The content type of binary mode is sent also when " +
		"datacontenttype is among them"
	templateDoc = "mode template: JSON, or a string; absent = empty body. In JSON a string that is only one placeholder takes the value with its JSON type " +
		"and spelling (null too; a default is a string), and a member or item that is only ${x?} is left out when x is missing; names of members take no placeholders. " +
		"In a string values are escaped for contenttype: within JSON strings, as form values (space as +), else as they are. At most 1000 placeholders; a " +
		"body of more than 2 MiB is reason template."
	typeDoc = "content type of what is sent. Absent: in mode template application/json, and none for an empty body; in structured mode " +
		"application/cloudevents+json; in the others that of the data. It does not apply to what binary mode sends as structured"
)
