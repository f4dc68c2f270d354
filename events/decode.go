package events

// DecodeSubscription reads a subscription from the JSON of the API, strictly, and fills in the defaults. tenant is whose
// it is when it names none; "" means DefaultTenant. The id may be absent. Members of the contract that this release does
// not have are refused, never ignored; status, which is read-only, is ignored, so that what GET answered can be PUT.
//
// A secret may be absent or a mask: KeepSecrets and MakeSecrets follow.
//
// The error is always an *Invalid: Status 400 with code invalid_json for what cannot be parsed, 413 with code too_large,
// 422 with code invalid_subscription and all faults at once otherwise.
func DecodeSubscription(text []byte, tenant string, policy SinkPolicy) (*Subscription, error) {
	panic("not yet")
}
