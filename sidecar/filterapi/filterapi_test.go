package filterapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/store"
)

// keys answers every reference of the test's catalog; none of them may be seen again.
type keys struct{}

func (keys) Read(ref catalog.Secret) (string, error) { return planted + ref.Env, nil }

const (
	planted    = "planted-consumer-key-"
	plantedKey = "planted-backend-key"
)

// sidecar is a server on a real socket, with a real store and the real policies.
type sidecar struct {
	t        testing.TB
	dir      string
	database *database.DB
	store    *store.Store
	ledger   *ledger.Ledger
	engine   *policy.Engine
	server   *filterapi.Server
	client   *http.Client
	metrics  *prometheus.Registry
	log      *lockedBuffer
	stop     func() error

	mu  sync.Mutex
	now time.Time
}

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (s *sidecar) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *sidecar) setClock(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// options are what a test changes; wrap stands between the server and the store.
type options struct {
	watchTimeout time.Duration
	policies     map[string]string // files of the author's folder
	wrap         func(filterapi.Store) filterapi.Store
}

func start(t testing.TB, o options) *sidecar {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &sidecar{t: t, dir: dir, metrics: prometheus.NewRegistry(), log: &lockedBuffer{}, now: time.Unix(1_900_000_000, 0)}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	ctx := context.Background()
	if s.database, err = database.Open(ctx, database.Config{Source: filepath.Join(dir, "s.db"), Busy: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if s.store, err = store.Open(ctx, s.database, store.Options{Now: s.clock}); err != nil {
		t.Fatal(err)
	}
	policies := ""
	if o.policies != nil {
		policies = filepath.Join(dir, "policies")
		for name, text := range o.policies {
			s.writePolicy(name, text)
		}
	}
	begin := s.clock()
	if s.ledger, err = ledger.Open(ctx, s.database, ledger.Options{
		Log: log, Now: s.clock, Monotonic: func() time.Duration { return s.clock().Sub(begin) },
		OnReset: func() { go func() { _ = s.server.Refresh(ctx) }() }, // a watch tells
		OnEvent: func(e ledger.Event) { s.server.Reached(e) },
	}); err != nil {
		t.Fatal(err)
	}
	if s.engine, err = policy.Open(ctx, policy.Config{Dir: policies, Timeout: 10 * time.Second, Log: log}); err != nil {
		t.Fatal(err)
	}
	var kept filterapi.Store = s.store
	if o.wrap != nil {
		kept = o.wrap(kept)
	}
	s.server = filterapi.New(filterapi.Config{Store: kept, Policy: s.engine, Ledger: s.ledger, Log: log, Now: s.clock, WatchTimeout: o.watchTimeout,
		Metrics: s.metrics, Gateway: wire.Gateway{Name: "g", Region: "eu", MaxStaleSeconds: 300}})
	path := filepath.Join(dir, "run", "s.sock")
	l, err := socket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}, MaxIdleConnsPerHost: 64}
	s.client = &http.Client{Transport: transport}
	serving, cancel := context.WithCancel(ctx)
	counting, uncount := context.WithCancel(ctx)
	served, counted := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.server.Serve(serving, l) }()
	go func() { counted <- s.ledger.Run(counting) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		err := <-served
		uncount()
		if ended := <-counted; !errors.Is(ended, context.Canceled) {
			err = errors.Join(err, ended)
		}
		transport.CloseIdleConnections()
		return errors.Join(err, s.database.Close())
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *sidecar) writePolicy(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "policies", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// apply does what serve does with a catalog. Free has a key that it does not inject.
func (s *sidecar) apply(c *catalog.Catalog) {
	s.t.Helper()
	ctx := context.Background()
	complete(c)
	if _, err := s.store.Apply(ctx, store.Application{Catalog: c, Secrets: keys{}, Prune: true, Write: store.Write{Source: store.FileSource("test.yaml")}}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.engine.SetCatalog(policy.CatalogData(c)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.server.Publish(ctx, filterapi.Catalog{Catalog: c, BackendKeys: map[string]string{"Demo": plantedKey, "Free": plantedKey}}); err != nil {
		s.t.Fatal(err)
	}
}

// complete says what a file need not.
func complete(c *catalog.Catalog) {
	c.Groups = []catalog.Group{{Name: "beta"}}
	for i := range c.APIs {
		api := &c.APIs[i]
		api.Backend.Timeout = cmp.Or(api.Backend.Timeout, catalog.Duration(catalog.DefaultTimeout))
		api.Backend.Authorization = cmp.Or(api.Backend.Authorization, catalog.DefaultAuthorization)
		api.Keys.Header = cmp.Or(api.Keys.Header, catalog.DefaultKeyHeader)
		api.Keys.Query = cmp.Or(api.Keys.Query, catalog.DefaultKeyQuery)
		api.Errors = cmp.Or(api.Errors, catalog.DefaultErrors)
		api.WhenUnavailable = cmp.Or(api.WhenUnavailable, catalog.DefaultUnavailable)
		api.Route = cmp.Or(api.Route, catalog.DefaultRoute)
		if len(api.Operations) == 0 {
			api.Operations = []catalog.Operation{{Name: "Ping", Method: "GET", Template: "/ping"}}
		}
	}
}

// call returns the status and the body; into, unless nil, gets a 200's body.
func (s *sidecar) call(method, path string, send, into any) (int, http.Header) {
	s.t.Helper()
	var body io.Reader
	switch send := send.(type) {
	case nil:
	case string:
		body = strings.NewReader(send)
	default:
		b, err := json.Marshal(send)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, "http://sidecar"+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if into != nil && response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b, into); err != nil {
			s.t.Fatalf("%s %s: %v in %q", method, path, err, b)
		}
	}
	return response.StatusCode, response.Header
}

func watchPath(held string) string {
	return wire.PathWatch + "?" + url.Values{wire.WatchVersion: {fmt.Sprint(wire.Version)}, wire.WatchRevision: {held}}.Encode()
}

func (s *sidecar) snapshot() wire.Snapshot {
	s.t.Helper()
	var snapshot wire.Snapshot
	if status, _ := s.call(http.MethodGet, watchPath(""), nil, &snapshot); status != http.StatusOK {
		s.t.Fatalf("watch: status %d", status)
	}
	return snapshot
}

// decide asks under the policy of the moment.
func (s *sidecar) decide(asks ...wire.Ask) []wire.Answer {
	s.t.Helper()
	for i := range asks {
		if asks[i].Policy == "" {
			asks[i].Policy = s.engine.Policy().Revision
		}
	}
	var reply wire.DecideReply
	if status, _ := s.call(http.MethodPost, wire.PathDecide, wire.DecideRequest{Version: wire.Version, Store: s.store.ID(), VM: "vm1", Asks: asks}, &reply); status != http.StatusOK {
		s.t.Fatalf("decide: status %d", status)
	}
	if len(reply.Answers) != len(asks) || reply.Version != wire.Version {
		s.t.Fatalf("decide: %d answers of version %d to %d asks", len(reply.Answers), reply.Version, len(asks))
	}
	return reply.Answers
}

func env(name string) *catalog.Secret { return &catalog.Secret{Env: name} }

// demo has ids: alice 1, bob 2, carol 3.
func demo() *catalog.Catalog {
	return &catalog.Catalog{
		APIs: []catalog.API{{
			Name: "Demo", Suffix: "demo", Tags: []string{"ml"}, SubscriptionRequired: true, Errors: "azureml", Route: "external", HideResponseHeaders: []string{"X-Powered-By"},
			Backend: catalog.Backend{URL: "https://backend", Authorization: "inject", Key: env("BACKEND")},
			Keys:    catalog.Keys{Header: "X-Key", Query: "key", Bearer: true},
			Operations: []catalog.Operation{
				{Name: "Execute", Method: "POST", Template: "/execute"},
				{Name: "Submit", Method: "POST", Template: "/{workspace}/jobs", Creates: "job"},
				{Name: "Status", Method: "GET", Template: "/{workspace}/jobs/{jobid}", Requires: "job"},
			},
		}, {
			Name: "Free", Suffix: "free", Backend: catalog.Backend{URL: "https://free"},
			Operations: []catalog.Operation{{Name: "Ping", Method: "GET", Template: "/ping"}},
		}, {
			Name: "Public", Suffix: "public", SubscriptionRequired: true, Backend: catalog.Backend{URL: "https://public"},
			Operations: []catalog.Operation{{Name: "Ping", Method: "GET", Template: "/ping"}},
		}},
		Products: []catalog.Product{
			{Name: "Unlimited", APIs: []string{"Demo"}, SubscriptionRequired: true},
			{Name: "Open", APIs: []string{"Public"}},
		},
		Developers: []catalog.Developer{{Email: "a@example.org", Groups: []string{"beta"}}},
		Subscriptions: []catalog.Subscription{
			{Name: "alice", Developer: "a@example.org", Product: "Unlimited", PrimaryKey: env("A1"), SecondaryKey: env("A2")},
			{Name: "bob", Developer: "a@example.org", API: "Demo", PrimaryKey: env("B1")},
			{Name: "carol", Developer: "a@example.org", AllAPIs: true, PrimaryKey: env("C1")},
		},
	}
}
