// Package config loads what a process is told: flags, then environment, then a YAML file (API.md 6).
//
// It promises that the key `api.listen` is the flag --api-listen and the variable HOOKFLEET_API_LISTEN, that unknown
// flags and keys are refused and unknown variables reported, that a setting which this version does not know how to
// honour is refused and never ignored, and that every fault is named at once, with its key and where its value came
// from. It does not promise that what is named exists: files, addresses and servers are tried by those who use them.
package config
