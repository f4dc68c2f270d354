package events

import "strconv"

// ParseNATS reads the event of a NATS message, by the CloudEvents NATS binding (NB-1 to NB-4) or as Message made it. A
// message without the headers of either mode is in structured mode when its payload is a JSON object, as the Go SDK
// sends it. The event keeps payload. Errors are as of ParseHTTP; there is no batch mode.
func ParseNATS(h map[string][]string, payload []byte) (*Event, error) {
	if long := h[headerLong]; len(long) == 1 {
		return parseLong(long[0], payload)
	}
	hs := readHeaders(h)
	contentType, err := hs.contentType()
	switch {
	case err != nil:
		return nil, err
	case hasPrefixFold(contentType, structuredStart):
		return hs.readStructured(contentType, payload, takenByNATS)
	case hs.isBinary():
		return hs.readNATSBinary(contentType, payload)
	}
	if i := skipSpace(payload, 0); i < len(payload) && payload[i] == '{' {
		return hs.readStructured(structuredType, payload, takenByNATS)
	}
	return nil, unsupported(takenByNATS)
}

// parseLong reads what longMessage made.
func parseLong(length string, payload []byte) (*Event, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > len(payload) {
		return nil, &Invalid{Status: 400, Code: "invalid_header", Faults: []Fault{
			{Pointer: headerLong, Detail: "must be the length of a part of the payload"}}}
	}
	p := parser{scanner: scanner{text: payload[:n]}}
	if i := p.readEvent(skipSpace(p.text, 0)); i >= 0 {
		p.end(i)
	}
	if p.data.name != "" || p.base64.name != "" {
		p.fault("data", "must follow the attributes")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.binary(payload[n:])
}
