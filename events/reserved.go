package events

// TypeTest is the type of the events that test a subscription (API.md 3, test). No subscription matches it: the one that
// is tested gets its delivery directly, and nobody else gets one.
const TypeTest = "hookfleet.test"
