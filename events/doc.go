// Package events holds the nouns of Hookfleet: Event, Subscription, Filter, Delivery, Attempt, Outcome, RetryPolicy and
// DeadLetter.
//
// It promises that an event's bytes are kept: what was parsed strictly is handed on unchanged, in data and in the
// spelling of attributes. It does no I/O and knows neither NATS nor a clock.
package events
