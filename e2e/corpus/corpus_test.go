package corpus_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/e2e/corpus"
	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/secret"
	"github.com/tollgate/tollgate/sidecar/store"
)

// executor is one form of the filter.
type executor interface {
	send(t *testing.T, r corpus.Request) response
	decides() int              // so far
	backend() *http.Request    // the last that reached it, and forgets it
	requestID(response) string // what ${request_id} stands for
}

type response struct {
	status int
	header http.Header
	body   string
}

func run(t *testing.T, e executor, values map[string]string) {
	cases, err := corpus.Cases(values)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 30 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { check(t, e, c) })
	}
}

func check(t *testing.T, e executor, c corpus.Case) {
	before := e.decides()
	var got response
	for range c.Request.Times {
		e.backend()
		got = e.send(t, c.Request)
	}
	want := c.Want
	if got.status != want.Status || got.header.Get("x-tollgate-reason") != want.Reason {
		t.Errorf("answered %d %q, want %d %q; body %s", got.status, got.header.Get("x-tollgate-reason"), want.Status, want.Reason, got.body)
	}
	if body := strings.ReplaceAll(want.Body, "${request_id}", e.requestID(got)); want.Body != "" && body != got.body {
		t.Errorf("body (-want +got):\n%s", cmp.Diff(body, got.body))
	}
	for name, value := range want.Headers {
		if got.header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
	if want.Reason != "" && got.header.Get("x-request-id") == "" {
		t.Error("an error without x-request-id")
	}
	if asks := e.decides() - before; want.Asks != 0 && asks != want.Asks || want.Status == 401 && asks != 0 {
		t.Errorf("%d decide calls, want %d", asks, want.Asks)
	}
	checkBackend(t, want.Backend, e.backend())
}

func checkBackend(t *testing.T, want *corpus.Backend, got *http.Request) {
	t.Helper()
	if want == nil || got == nil {
		if want != nil || got != nil {
			t.Errorf("reached the backend: %v, want %v", got != nil, want != nil)
		}
		return
	}
	if got.RequestURI != want.Target {
		t.Errorf("the backend got %s, want %s", got.RequestURI, want.Target)
	}
	for name, value := range want.Headers {
		if diff := cmp.Diff([]string{value}, got.Header.Values(name)); diff != "" {
			t.Errorf("the backend's %s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range want.Absent {
		if values := got.Header.Values(name); len(values) != 0 {
			t.Errorf("the backend got %s", name)
		}
	}
}

// backend answers every request, with a job's id where one is submitted, and keeps the last.
type backend struct {
	mu   sync.Mutex
	last *http.Request
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = r.Clone(r.Context())
	if strings.HasSuffix(r.URL.Path, "/jobs") {
		_, _ = w.Write([]byte(`"job-1"`))
		return
	}
	_, _ = w.Write([]byte(`{}`))
}

func (b *backend) take() *http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.last
	b.last = nil
	return last
}

// values are fresh keys and the URL of a backend.
func values(url string) map[string]string {
	values := map[string]string{"backend_url": url}
	for _, name := range corpus.Keys {
		values[name] = harness.NewKey()
	}
	return values
}

func environment(values map[string]string) []string {
	var env []string
	for _, name := range corpus.Keys {
		env = append(env, "CORPUS_"+strings.ToUpper(name)+"="+values[name])
	}
	return env
}

const policies = "testdata/policies"

// sidecar is the very one that `tollgate serve` runs, without its processes.
type sidecar struct {
	http.Handler
	mu    sync.Mutex
	asked int
}

func newSidecar(t *testing.T, values map[string]string) *sidecar {
	t.Helper()
	for _, variable := range environment(values) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	options := catalog.Options{AllowBackends: []string{"127.0.0.1"}}
	c, mistakes := catalog.Parse("tollgate.yaml", []byte(corpus.Expand(corpus.Catalog, values)), options)
	for _, m := range mistakes {
		t.Fatal(m)
	}
	db, err := database.Open(t.Context(), database.Config{Source: filepath.Join(t.TempDir(), "tollgate.db")})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	kept, err := store.Open(t.Context(), db, store.Options{Catalog: options})
	must(t, err)
	limits, err := ledger.Open(t.Context(), db, ledger.Options{Log: log})
	must(t, err)
	ran := make(chan error)
	go func() { ran <- limits.Run(t.Context()) }()
	t.Cleanup(func() { must(t, <-ran) })
	engine, err := policy.Open(t.Context(), policy.Config{Dir: policies, Log: log})
	must(t, err)
	_, err = kept.Apply(t.Context(), store.Application{Catalog: c, Secrets: secret.Reader{}, Write: store.Write{Source: store.FileSource("tollgate.yaml")}})
	must(t, err)
	_, err = engine.SetCatalog(policy.CatalogData(c))
	must(t, err)
	server := filterapi.New(filterapi.Config{
		Store: kept, Ledger: limits, Policy: engine, Log: log, WatchTimeout: 1,
		Gateway: wire.Gateway{Name: "corpus", MaxStaleSeconds: 300},
	})
	keys := map[string]string{}
	for _, api := range c.APIs {
		keys[api.Name] = values["backend"]
	}
	must(t, server.Publish(t.Context(), filterapi.Catalog{Catalog: c, BackendKeys: keys}))
	return &sidecar{Handler: server.Handler()}
}

// call answers a callout as Envoy would bring it.
func (s *sidecar) call(method, target string, body []byte) (status int, answer []byte) {
	if target == wire.PathDecide {
		s.mu.Lock()
		s.asked++
		s.mu.Unlock()
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(string(body))))
	return w.Code, w.Body.Bytes()
}

func (s *sidecar) decides() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
