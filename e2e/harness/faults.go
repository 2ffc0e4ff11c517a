package harness

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
	"testing"
	"time"
)

// Fault stands between Envoy and the sidecar for the calls of one path: it answers itself,
// or has next, the sidecar, answer.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Faults is a proxy on a Unix socket of its own. Envoy calls it, it calls the sidecar, and
// a test decides what happens in between. It counts every call, failed ones too.
type Faults struct {
	socket string
	proxy  http.Handler
	t      *testing.T

	mu     sync.Mutex
	faults map[string]Fault // by path; "" for every path without one
	calls  map[string]int
	bodies map[string][][]byte
	server *http.Server // nil while the socket is gone
}

// keptBodies is how many request bodies Bodies remembers per path.
const keptBodies = 200

func newFaults(t *testing.T, socket, sidecar string) *Faults {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", sidecar)
		},
		MaxIdleConnsPerHost: 100,
	}
	f := &Faults{
		socket: socket, t: t,
		faults: map[string]Fault{}, calls: map[string]int{}, bodies: map[string][][]byte{},
		proxy: &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "sidecar" },
			Transport:     transport,
			FlushInterval: -1,
			// A sidecar that is gone looks like one: the connection ends without an answer.
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		},
	}
	f.Up()
	t.Cleanup(func() { f.Down(); transport.CloseIdleConnections() })
	return f
}

func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // Envoy has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	f.calls[r.URL.Path]++
	if kept := f.bodies[r.URL.Path]; len(kept) < keptBodies {
		f.bodies[r.URL.Path] = append(kept, body)
	}
	fault := f.faults[r.URL.Path]
	if fault == nil {
		fault = f.faults[""]
	}
	f.mu.Unlock()
	if fault == nil {
		f.proxy.ServeHTTP(w, r)
		return
	}
	fault(w, r, f.proxy)
}

// Set puts fault on the calls of path (wire.PathDecide, ...), or on all calls that have
// none for path "". Calls under way are not affected.
func (f *Faults) Set(path string, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[path] = fault
}

// Clear removes all faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.faults)
}

// Calls is how often path was called since the start or the last Reset.
func (f *Faults) Calls(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[path]
}

// Bodies are the first request bodies on path since the start or the last Reset.
func (f *Faults) Bodies(path string) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([][]byte(nil), f.bodies[path]...)
}

// Reset forgets calls and bodies.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.calls)
	clear(f.bodies)
}

// Down takes the socket away and ends every connection.
func (f *Faults) Down() {
	f.mu.Lock()
	server := f.server
	f.server = nil
	f.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// Up brings the socket back after Down.
func (f *Faults) Up() {
	f.t.Helper()
	if err := os.RemoveAll(f.socket); err != nil {
		f.t.Fatal(err)
	}
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		f.t.Fatal(err)
	}
	server := &http.Server{Handler: f, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	f.mu.Lock()
	f.server = server
	f.mu.Unlock()
	go func() { _ = server.Serve(listener) }() // until Down
}

// Delay passes calls on after d, unless the caller has gone by then.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// Answer answers in the sidecar's place.
func Answer(status int, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Garbage answers 200 with what is no message.
func Garbage() Fault { return Answer(http.StatusOK, "\x00\xff{\"version\":") }

// HangUp ends the connection without an answer.
func HangUp() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// BlackHole never answers.
func BlackHole() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }
}

// Gate holds calls until they are let go.
type Gate struct {
	arrived chan struct{}
	open    chan struct{}
	once    sync.Once
}

// NewGate returns a closed gate; Fault is what to Set.
func NewGate() *Gate {
	return &Gate{arrived: make(chan struct{}, 1000), open: make(chan struct{})}
}

// Fault holds each call at the gate and passes it on to the sidecar when it opens.
func (g *Gate) Fault(w http.ResponseWriter, r *http.Request, next http.Handler) {
	g.arrived <- struct{}{}
	select {
	case <-g.open:
		next.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

// Arrived receives once for each call that has come to the gate.
func (g *Gate) Arrived() <-chan struct{} { return g.arrived }

// Open lets all calls through, those that come later too. It may be called again.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }
