// Package guide runs the snippets of docs/guide against a fleet: what they say is tried as a reader would try it. Its tests
// take the code from the Markdown itself.
package guide
