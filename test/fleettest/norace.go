//go:build !race

package fleettest

// raceDetector: a test run with the race detector runs its processes with it too.
const raceDetector = false
