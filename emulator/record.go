package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Request is one request as it reached the service, without its body. Header holds what the client sent, credentials included.
type Request struct {
	Time             time.Time   `json:"time"`
	ID               string      `json:"id"` // the answer's x-ms-request-id
	Method           string      `json:"method"`
	Path             string      `json:"path"`  // escaped
	Query            string      `json:"query"` // raw
	Protocol         string      `json:"protocol"`
	Host             string      `json:"host"`
	Header           http.Header `json:"header"`
	ContentLength    int64       `json:"content_length"`    // bytes; -1: unknown
	TransferEncoding []string    `json:"transfer_encoding"` // empty: none
	Route            string      `json:"route"`             // template; empty: no such path
	Status           int         `json:"status"`            // 0: not answered yet
	Leak             string      `json:"leak"`              // what should not have reached the service, or empty
}

// Counts are totals since the start or the last Reset, of answered requests but for Requests.
type Counts struct {
	Requests int            `json:"requests"` // arrived
	Leaks    int            `json:"leaks"`    // refused with LeakCode
	Routes   map[string]int `json:"routes"`   // by "METHOD template"; unknown paths under "METHOD "
	Statuses map[int]int    `json:"statuses"`
}

// record keeps the last requests, oldest first, and the counts.
type record struct {
	mu     sync.Mutex
	keep   int
	last   []*Request
	counts Counts
}

func newRecord(keep int) *record {
	return &record{keep: max(keep, 0), counts: emptyCounts()}
}

func emptyCounts() Counts { return Counts{Routes: map[string]int{}, Statuses: map[int]int{}} }

func (c *record) arrived(r *http.Request, now time.Time, id string) *Request {
	seen := &Request{
		Time: now, ID: id, Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Protocol: r.Proto, Host: r.Host,
		Header: r.Header.Clone(), ContentLength: r.ContentLength, TransferEncoding: slices.Clone(r.TransferEncoding),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Requests++
	if c.keep > 0 {
		if len(c.last) == c.keep {
			c.last = slices.Delete(c.last, 0, 1)
		}
		c.last = append(c.last, seen)
	}
	return seen
}

// answered completes what arrived returned. It is called before the answer is written, so whoever has the answer can see it here.
func (c *record) answered(seen *Request, route string, status int, leak string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen.Route, seen.Status, seen.Leak = route, status, leak
	c.counts.Routes[seen.Method+" "+route]++
	c.counts.Statuses[status]++
	if leak != "" {
		c.counts.Leaks++
	}
}

// Requests returns the last requests, oldest first, at most Config.Record of them. The result is the caller's.
func (s *Server) Requests() []Request {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	list := make([]Request, 0, len(s.record.last))
	for _, seen := range s.record.last {
		one := *seen
		one.Header = seen.Header.Clone()
		list = append(list, one)
	}
	return list
}

// Counts returns the totals. The result is the caller's.
func (s *Server) Counts() Counts {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	c := s.record.counts
	c.Routes, c.Statuses = maps.Clone(c.Routes), maps.Clone(c.Statuses)
	return c
}

// Reset forgets the requests and the counts. Jobs stay.
func (s *Server) Reset() {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	s.record.last, s.record.counts = nil, emptyCounts()
}

// Control is the handler for tests in another process; it is no part of the service and belongs on a listener of its own. `GET
// /_emulator/requests` answers {"counts":Counts,"requests":[Request]}, `DELETE /_emulator/requests` resets. Both are 404 unless
// Config.Control is set.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	if !s.config.Control {
		return mux
	}
	mux.HandleFunc("GET /_emulator/requests", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(struct {
			Counts   Counts    `json:"counts"`
			Requests []Request `json:"requests"`
		}{s.Counts(), s.Requests()})
	})
	mux.HandleFunc("DELETE /_emulator/requests", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// newGUID is a request id, dashed as AzureML's successors write theirs.
func newGUID() string {
	id := newID()
	return fmt.Sprintf("%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:])
}
