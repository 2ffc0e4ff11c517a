package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answer is what the experiment answers, in about its length.
var answer = []byte(`{"Results":{"output1":{"type":"table","value":{"ColumnNames":["Hash 1","Hash 2","Hash 3","Hash 4","Hash 5","Hash 6","Hash 7","Hash 8"],` +
	`"ColumnTypes":["Int32","Int32","Int32","Int32","Int32","Int32","Int32","Int32"],"Values":[["0","0","1","-1","0","1","0","0"]]}}}}` + "\n")

// backend answers each request alike, in this process: its CPU time is nobody's.
type backend struct {
	server   *http.Server
	listener net.Listener
	last     atomic.Pointer[http.Request]
}

func startBackend() (*backend, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, fmt.Errorf("starting the backend: %w", err)
	}
	b := &backend{listener: listener}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}
	go func() { _ = b.server.Serve(listener) }() // until stop
	return b, nil
}

func (b *backend) stop()       { b.server.Close() }
func (b *backend) url() string { return "http://" + b.listener.Addr().String() }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.last.Store(r)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(answer)))
	h.Set("Server", "Microsoft-HTTPAPI/2.0") // the demo's catalog hides it
	_, _ = w.Write(answer)                   // Envoy has gone: the client sees that too
}

// check says whether the last request came as the variant should send it.
func (b *backend) check(l *lane) error {
	r := b.last.Load()
	if r == nil {
		return errors.New("the request did not reach the backend")
	}
	if r.URL.Path != requestPath || "http://"+r.Host != b.url() {
		return fmt.Errorf("the backend was asked for %s%s", r.Host, r.URL.Path)
	}
	if l.byPath {
		return nil
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+l.rig.keys.backend {
		return errors.New("the backend did not get its key")
	}
	for name, values := range r.Header {
		if strings.Contains(strings.Join(values, " "), l.rig.keys.consumer) {
			return fmt.Errorf("the backend got the consumer's key in %s", name)
		}
	}
	return nil
}
