package events

// ParseNATS reads the event of a NATS message (NB-1 to NB-4), also one that Message made.
func ParseNATS(h map[string][]string, payload []byte) (*Event, error) {
	hs := readHeaders(h)
	contentType, err := hs.contentType()
	switch {
	case err != nil:
		return nil, err
	case hasPrefixFold(contentType, structuredStart):
		return hs.readStructured(contentType, payload)
	case hs.isBinary():
		return hs.readNATSBinary(contentType, payload)
	default:
		if i := skipSpace(payload, 0); i < len(payload) && payload[i] == '{' {
			return hs.readStructured(structuredType, payload)
		}
		return nil, unsupported(acceptedTypes)
	}
}
