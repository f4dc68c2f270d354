package stream

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// lanePrefix begins the names of lanes' consumers, and of no other.
const lanePrefix = "lane-"

// LaneConsumer is the consumer of EVENTS that a lane reads the events after from by, for one version of its subscription.
func LaneConsumer(subscription string, from uint64) string {
	return lanePrefix + subscription + "-" + strconv.FormatUint(from, 36)
}

// ParseLaneConsumer takes the name of a lane's consumer apart; ok is false for any other.
func ParseLaneConsumer(name string) (subscription string, from uint64, ok bool) {
	name, ok = strings.CutPrefix(name, lanePrefix)
	dash := strings.LastIndexByte(name, '-')
	if !ok || dash < 1 {
		return "", 0, false
	}
	from, err := strconv.ParseUint(name[dash+1:], 36, 64)
	return name[:dash], from, err == nil
}

// EventSubjects matches where the events of tenant with one of the types are stored, and few others. types are exact or
// end in .*; none = any. No two of them overlap, which a consumer would refuse.
func EventSubjects(tenant string, types []string) []string {
	if len(types) == 0 {
		return []string{SubjectEvents + tenant + ".>"}
	}
	subjects := make([]string, 0, len(types))
	for _, t := range types {
		tokens, open := strings.CutSuffix(t, ".*")
		subject := EventSubject(tenant, tokens)
		if open {
			subject += ".>"
		}
		subjects = append(subjects, subject)
	}
	return disjoint(subjects)
}

// disjoint leaves out the subjects that others cover. They are literal, or have a trailing >.
func disjoint(all []string) (subjects []string) {
	slices.SortFunc(all, shorterFirst)
	for _, subject := range all {
		if !slices.ContainsFunc(subjects, func(s string) bool { return covers(s, subject) }) {
			subjects = append(subjects, subject)
		}
	}
	return subjects
}

// shorterFirst puts a subject before all that it covers.
func shorterFirst(a, b string) int {
	a, b = strings.TrimSuffix(a, ">"), strings.TrimSuffix(b, ">")
	return cmp.Or(len(a)-len(b), strings.Compare(a, b))
}

// covers reports whether the subject s, literal or with a trailing >, matches all that other matches.
func covers(s, other string) bool {
	head, open := strings.CutSuffix(s, ">")
	return s == other || open && strings.HasPrefix(other, head)
}
