package steadfast

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// System is the courier's internal system, which answers GET /orders/<order>/status with {"order": …, "status": …}.
type System struct {
	mu       sync.Mutex
	statuses map[string]string
	broken   map[string]int // status of the answer for an order, 0 = it is fine
	asked    map[string][]time.Time
}

// NewSystem makes a system that knows of no order.
func NewSystem() *System {
	return &System{statuses: map[string]string{}, broken: map[string]int{}, asked: map[string][]time.Time{}}
}

// Set changes the status of an order; "" = the system has none for it yet.
func (s *System) Set(order, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[order] = status
}

// Status is that of an order.
func (s *System) Status(order string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statuses[order]
}

// Break has the system answer with status for an order, 0 = properly again.
func (s *System) Break(order string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[order] = status
}

// Asked is when the system was asked for an order.
func (s *System) Asked(order string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.asked[order]...)
}

// ServeHTTP answers for one order.
func (s *System) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	order, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/orders/"), "/status")
	if r.Method != http.MethodGet || !ok {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	s.asked[order] = append(s.asked[order], time.Now())
	status, known := s.statuses[order]
	broken := s.broken[order]
	s.mu.Unlock()
	switch {
	case broken != 0:
		http.Error(w, "not now", broken)
	case !known:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		text, err := json.Marshal(status)
		if status == "" {
			text = []byte("null")
		}
		if err == nil {
			fmt.Fprintf(w, `{"order":%q,"status":%s}`, order, text)
		}
	}
}
