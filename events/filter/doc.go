// Package filter evaluates the expressions in filters: sql (CESQL 1.0), cel and match.
//
// It promises that no expression and no event makes it panic, run long or take much memory: what fails or goes beyond its
// bounds is events.Failed, which lets nothing through, and is counted. It promises that the same filter says the same of
// the same event every time, in every process. It does not promise that CESQL counts characters: the SDK's LENGTH, LEFT,
// RIGHT, SUBSTRING and the _ of LIKE count bytes.
package filter
