package corpus_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/e2e/corpus"
	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// A real Envoy with the compiled module, and the sidecar as a process.
func TestEnvoy(t *testing.T) {
	e := &envoyExecutor{}
	server := httptest.NewServer(&e.behind)
	t.Cleanup(server.Close)
	v := values(server.URL)
	e.gateway = harness.Start(t, harness.Options{
		Catalog: corpus.Expand(corpus.Catalog, v), Policies: policies, Backends: map[string]string{},
		Env: environment(v), Concurrency: 1, // one worker, so that asks can be counted
	})
	run(t, e, v)
}

type envoyExecutor struct {
	behind  backend
	gateway *harness.Gateway
}

func (e *envoyExecutor) send(t *testing.T, r corpus.Request) response {
	header := http.Header{}
	for _, h := range r.Headers {
		name, value, _ := strings.Cut(h, ": ")
		header[name] = append(header[name], value) // in the case's own spelling
	}
	got := e.gateway.For(t).Do(harness.Call{Method: r.Method, Path: r.Target, Host: "gw.example", Header: header})
	return response{got.Status, got.Header, got.Body}
}

func (e *envoyExecutor) decides() int                { return e.gateway.Faults.Calls(wire.PathDecide) }
func (e *envoyExecutor) backend() *http.Request      { return e.behind.take() }
func (e *envoyExecutor) requestID(r response) string { return r.header.Get("x-request-id") }
