// Package poll asks status sources for the statuses of their items, and publishes what has changed (API.md 5).
//
// It promises that of all processes of a fleet that run it, one asks for an item once a tick; that a change is published
// with the same event id however often it is found, so that a crash publishes nothing twice within the window of
// de-duplication; and that a tick is only said to be through when everything that it found is in EVENTS. It does not
// promise that every item is asked for at every tick: what a process that was killed had in hand waits for the next one.
package poll
