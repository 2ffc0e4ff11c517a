package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/wire"
)

// served is a sidecar that runs in this process, as the command line wires it.
type served struct {
	t      *testing.T
	dir    string
	client http.Client
	log    *syncBuffer
	held   wire.Snapshot
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const catalogText = `organization: {name: demo, administrator: admin@example.org}
apis:
  - name: Demo
    suffix: demo
    backend: {url: https://backend.example.org}
    operations:
      - {name: Ping, method: GET, template: /ping}
products:
  - {name: Starter, apis: [Demo]}
developers:
  - {email: alice@example.org}
subscriptions:
  - {name: alice, developer: alice@example.org, product: Starter, primary_key: {file: alice.key}}
`

func startServe(t *testing.T) *served { return startServeOn(t, "", catalogText) }

// startServeOn starts a sidecar on a store, a file of its own for "".
func startServeOn(t *testing.T, source, catalog string) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &served{t: t, dir: dir, log: &syncBuffer{}}
	busy := time.Duration(0)
	if source == "" {
		source, busy = filepath.Join(dir, "s.db"), 20*time.Millisecond
	}
	s.write("tollgate.yaml", catalog)
	s.write("alice.key", "first-key\n")
	s.write("policies/more.rego", "package tollgate.access\n")
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- serve(ctx, serveConfig{
			catalogFlags: catalogFlags{policies: filepath.Join(dir, "policies")},
			catalog:      filepath.Join(dir, "tollgate.yaml"), store: source, socket: filepath.Join(dir, "s.sock"),
			admin: filepath.Join(dir, "a.sock"), limitMetrics: 10,
			xds: filepath.Join(dir, "xds"), metrics: "127.0.0.1:0", gateway: "g", maxStale: time.Minute, busy: busy,
			log: slog.New(slog.NewTextHandler(s.log, nil)), ready: func(summary string) { ready <- summary },
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("serve ended: %v", err)
	}
	t.Cleanup(func() {
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
	s.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "s.sock"))
	}}
	return s
}

// write replaces a file in one rename, as careful editors and Kubernetes do.
func (s *served) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		s.t.Fatal(err)
	}
}

// next waits for the next snapshot, which has to come within 2 s: of version 1, which has
// the whole key table in it.
func (s *served) next() wire.Snapshot {
	s.t.Helper()
	held := ""
	if s.held.Revision.Store != "" {
		held = s.held.Revision.String()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	query := url.Values{wire.WatchVersion: {"1"}, wire.WatchRevision: {held}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sidecar"+wire.PathWatch+"?"+query.Encode(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("waiting for a snapshot after %s: %v; the log:\n%s", held, err, s.log)
	}
	defer response.Body.Close()
	s.held = wire.Snapshot{}
	if err := json.NewDecoder(response.Body).Decode(&s.held); err != nil {
		s.t.Fatal(err)
	}
	return s.held
}

// logs waits until the log holds text.
func (s *served) logs(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(s.log.String(), text); {
		if time.Now().After(deadline) {
			s.t.Fatalf("the log lacks %q:\n%s", text, s.log)
		}
	}
}

func opens(s wire.Snapshot, key string) bool {
	table, err := wire.OpenKeyTable(s.Keys)
	if err != nil {
		return false
	}
	_, ok := table.Find(apikey.MAC(s.Pepper, apikey.Digest(key)))
	return ok
}

func TestServeFollowsItsFiles(t *testing.T) {
	s := startServe(t)
	first := s.next()
	if len(first.APIs) != 1 || !opens(first, "first-key") {
		t.Fatalf("first snapshot: %+v", first)
	}

	// A new API is served, and routed.
	second := strings.Replace(catalogText, "products:", `  - name: More
    suffix: more
    backend: {url: https://more.example.org}
    operations:
      - {name: Pong, method: GET, template: /pong}
products:`, 1)
	s.write("tollgate.yaml", second)
	if got := s.next(); len(got.APIs) != 2 {
		t.Errorf("after adding an API: %+v", got.APIs)
	}
	if routes, err := os.ReadFile(filepath.Join(s.dir, "xds", "routes.yaml")); err != nil || !bytes.Contains(routes, []byte("more")) {
		t.Errorf("routes: %v\n%s", err, routes)
	}

	// A broken catalog changes nothing and says where it is broken.
	s.write("tollgate.yaml", strings.Replace(second, "method: GET", "method: 7", 1))
	s.logs("the catalog is refused, the last good one stays")
	s.logs("tollgate.yaml:7:")

	// So does one whose secrets are missing.
	s.write("tollgate.yaml", strings.Replace(second, "file: alice.key", "file: nowhere.key", 1))
	s.logs("nowhere.key")

	// A file with a secret is read again when the catalog is touched.
	s.write("alice.key", "second-key\n")
	s.write("tollgate.yaml", second)
	if got := s.next(); opens(got, "first-key") || !opens(got, "second-key") || len(got.APIs) != 2 {
		t.Error("after the key's file changed: the old key opens, or the new one does not, or an API is missing")
	}

	// Policies move the revision as well.
	before := s.held.Policy.Revision
	s.write("policies/more.rego", "package tollgate.access\n\ndeny contains \"closed\" if input.request.method == \"PUT\"\n")
	if got := s.next(); got.Policy.Revision == before || len(got.Policy.Vary) == 0 {
		t.Errorf("policy %+v after %s", got.Policy, before)
	}
	for _, key := range []string{"first-key", "second-key"} {
		if strings.Contains(s.log.String(), key) {
			t.Errorf("the log has a key:\n%s", s.log)
		}
	}
}

// revoked is the catalog without alice's key.
var revoked, _, _ = strings.Cut(catalogText, "subscriptions:")

func TestServeRevokesAfterTheStoreWasLocked(t *testing.T) {
	s := startServe(t)
	s.next()
	other, err := sql.Open("sqlite", filepath.Join(s.dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1) // BEGIN and ROLLBACK on the same one
	exec := func(statement string) {
		t.Helper()
		if _, err := other.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("PRAGMA busy_timeout = 2000")
	exec("BEGIN IMMEDIATE")
	s.write("tollgate.yaml", revoked)
	s.logs("applying the catalog failed, trying again")
	s.write("policies/more.rego", "package tollgate.access\n\ndeny contains \"closed\" if input.request.method == \"PUT\"\n")
	s.logs("publishing the policy failed, trying again")
	before := s.held.Policy.Revision
	exec("ROLLBACK")

	// They are two changes, in either order.
	for opens(s.held, "first-key") || s.held.Policy.Revision == before {
		s.next()
	}
}

func TestServeRevokesWhereRoutesCannotBeWritten(t *testing.T) {
	s := startServe(t)
	s.next()
	folder := filepath.Join(s.dir, "xds")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	s.write("xds", "a file stands in the way")
	s.write("tollgate.yaml", revoked)
	if opens(s.next(), "first-key") {
		t.Error("the revoked key opens")
	}
	s.logs("writing Envoy's routes and clusters")
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	s.logs("what the store holds is published again")
	if _, err := os.Stat(filepath.Join(folder, "routes.yaml")); err != nil {
		t.Errorf("after the file was out of the way: %v", err)
	}
	if n := strings.Count(s.log.String(), "trying again"); n != 1 {
		t.Errorf("the log has the same error %d times, want once:\n%s", n, s.log)
	}
}
