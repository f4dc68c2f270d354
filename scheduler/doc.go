// Package scheduler does what time asks for and no event does: it sets timers again that the broker dropped, trims the
// events that are settled, looks after held deliveries that nobody would drain, and keeps the index of statuses.
//
// It promises that of all schedulers of a fleet one acts at a time, that another takes over within 10 seconds, and that
// nothing unsettled is ever deleted. All it does may be done twice. It sends nothing itself: what is due goes to the
// workers.
package scheduler
