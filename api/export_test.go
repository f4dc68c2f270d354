package api

import "github.com/hookfleet/hookfleet/auth/keys"

// RouteInfo is what tests see of a route.
type RouteInfo struct {
	Method, Path, ID string
	Roles            []keys.Role
	Mounted, HasBody bool
	Statuses         []int // of its answers
}

// Routes returns the table of routes.
func (a *API) Routes() []RouteInfo {
	var all []RouteInfo
	for i := range a.routes {
		r := &a.routes[i]
		info := RouteInfo{Method: r.method, Path: r.path, ID: r.id, Roles: r.roles, Mounted: r.mount != nil, HasBody: r.body != nil}
		for _, w := range r.answers {
			info.Statuses = append(info.Statuses, w.status)
		}
		all = append(all, info)
	}
	return all
}

// Codes returns the table from code to status.
func Codes() map[Code]int {
	all := map[Code]int{}
	for code, c := range codes {
		all[code] = c.status
	}
	return all
}
