// Package filterapi answers filters: the messages of internal/wire over HTTP/1.1 on a Unix
// socket. It hands out snapshots as they change, has the policy decide and the ledger grant,
// and keeps the owners of resources and the reasons of denials in the store. It evaluates no
// policy itself, counts nothing and reads no secret.
//
// What decide needs of a subscription is in memory; it touches the store for the owner of a
// resource and, after the answer, for the record of a deny, and the ledger once per message
// that needs a lease or settles one.
package filterapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/store"
)

// PathReady answers 200 once there is a snapshot to hand out.
const PathReady = "/v1/ready"

// pruneEvery is how often the record of denials is cut to its bounds.
const pruneEvery = time.Minute

// Store is what the server keeps for good; *store.Store is one.
type Store interface {
	Pepper() []byte
	Changed(ctx context.Context, after int64, each func(sub store.Subscription, removed bool) error) (now int64, err error)
	Revise(ctx context.Context, content [32]byte) (wire.Revision, error)
	Owner(ctx context.Context, backend string, r wire.Resource) (uint32, bool, error)
	Intend(context.Context, store.Submit) error
	Own(context.Context, store.Submit) error
	TakeUsage(context.Context, wire.UsageReport) (first bool, err error)
	Record(context.Context, []store.Decision) error
	Prune(context.Context) error
}

// Policy decides; *policy.Engine is one.
type Policy interface {
	Policy() wire.Policy
	Decide(context.Context, policy.Input) (policy.Decision, error)
	Explain(context.Context, policy.Input) ([]policy.Rule, error)
}

// Config is what a Server is made of. Store and Policy are needed.
type Config struct {
	Store  Store
	Policy Policy
	// Ledger grants leases; without one, whatever needs a lease is refused.
	Ledger  Ledger
	Gateway wire.Gateway
	// Log is slog.Default() unless given, Now time.Now.
	Log *slog.Logger
	Now func() time.Time
	// WatchTimeout is wire.WatchSeconds unless given.
	WatchTimeout time.Duration
	// Metrics is where the server's metrics are registered; nowhere unless given.
	Metrics prometheus.Registerer
}

// Server answers filters. Until the first Publish it is not ready and answers 503.
type Server struct {
	store        Store
	policy       Policy
	ledger       Ledger
	gateway      wire.Gateway
	log          *slog.Logger
	now          func() time.Time
	watchTimeout time.Duration
	metrics      *metrics
	records      chan record
	explaining   *rate.Limiter
	ledgerOutage outage
	recordOutage outage
	usageOutage  outage
	closing      chan struct{} // closed when Serve ends: releases the watches

	publishing sync.Mutex // guards the next three and the order of states
	catalog    Catalog
	table      *table     // as it was last read
	numbers    *numbering // of the last that was tried to publish
	state      atomic.Pointer[state]

	replacing sync.Mutex // guards replaced
	replaced  map[wire.Digest]replacedPage
}

// state is one published revision.
type state struct {
	revision wire.Revision
	body     []byte // the snapshot in JSON, shared by all watches
	pages    wire.Pages
	before   func() ([]byte, error) // the snapshot of the version before, made when it is asked for
	view     *view
	replaced chan struct{} // closed when another state takes its place
}

// New makes a Server. It answers through Serve, or through Handler in tests.
func New(c Config) *Server {
	s := &Server{store: c.Store, policy: c.Policy, ledger: c.Ledger, gateway: c.Gateway, log: c.Log, now: c.Now, watchTimeout: c.WatchTimeout,
		metrics: newMetrics(c.Metrics), records: make(chan record, maxRecords), explaining: rate.NewLimiter(explainRate, explainBurst), closing: make(chan struct{}),
		table: newTable(), replaced: map[wire.Digest]replacedPage{}}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.watchTimeout == 0 {
		s.watchTimeout = wire.WatchSeconds * time.Second
	}
	return s
}

// Publish makes c, with the store's subscriptions and the policy of the moment, what the
// gateway hands out, and wakes the watches if that is something new. On an error what was
// published stays.
func (s *Server) Publish(ctx context.Context, c Catalog) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	if err := s.publish(ctx, c); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	s.catalog = c
	return nil
}

// Refresh publishes the catalog of the last Publish again: the policy, the subscriptions or
// the ledger's count of resets have moved. Before the first Publish it does nothing.
func (s *Server) Refresh(ctx context.Context) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	if s.catalog.Catalog == nil {
		return nil
	}
	if err := s.publish(ctx, s.catalog); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

// Revision names what is published; the zero Revision before the first Publish.
func (s *Server) Revision() wire.Revision {
	if st := s.state.Load(); st != nil {
		return st.revision
	}
	return wire.Revision{}
}

func (s *Server) publish(ctx context.Context, c Catalog) error {
	table, err := s.table.next(ctx, s.store, s.store.Pepper())
	if err != nil {
		return err
	}
	s.table = table
	if n := newNumbering(c.Catalog); s.numbers == nil || !maps.Equal(s.numbers.of, n.of) {
		s.numbers = n
	}
	p := parts{catalog: c, numbers: s.numbers, table: table, policy: s.policy.Policy(), gateway: s.gateway, pepper: s.store.Pepper()}
	if s.ledger != nil {
		p.resets = s.ledger.Resets()
	}
	next, snapshot, err := p.state()
	if err != nil {
		return err
	}
	content, err := json.Marshal(snapshot) // without a revision
	if err != nil {
		return fmt.Errorf("encoding the snapshot: %w", err)
	}
	if snapshot.Revision, err = s.store.Revise(ctx, sha256.Sum256(content)); err != nil {
		return err
	}
	next.revision = snapshot.Revision
	old := s.state.Load()
	if old != nil && old.revision == next.revision {
		// The same for filters. The view may still differ in what only policies see.
		next.body, next.pages, next.before, next.replaced = old.body, old.pages, old.before, old.replaced
		s.state.Store(next)
		return nil
	}
	if next.body, err = json.Marshal(snapshot); err != nil {
		return fmt.Errorf("encoding the snapshot: %w", err)
	}
	if old != nil {
		s.replace(old, next)
	}
	s.state.Store(next)
	if old != nil {
		close(old.replaced)
	}
	s.metrics.revision.Set(float64(next.revision.Number))
	s.metrics.subscriptions.Set(float64(table.count))
	s.log.Info("published", "revision", next.revision.String(), "apis", len(snapshot.APIs), "subscriptions", table.count,
		"policy", snapshot.Policy.Revision)
	return nil
}

// state is p without a revision, with the snapshot that it is to get.
func (p parts) state() (*state, *wire.Snapshot, error) {
	snapshot, pages, err := p.snapshot()
	if err != nil {
		return nil, nil, err
	}
	return &state{pages: pages, before: sync.OnceValues(func() ([]byte, error) { return p.before(*snapshot) }),
		view: newView(p), replaced: make(chan struct{})}, snapshot, nil
}

// before is a snapshot in JSON as the wire version before this one has it.
func (p parts) before(s wire.Snapshot) ([]byte, error) {
	keys, err := p.table.whole(s.Scopes, p.numbers)
	if err != nil {
		return nil, err
	}
	s.Version, s.Keys, s.Subscriptions = wire.Version-1, keys, nil
	s.Scopes = slices.Clone(s.Scopes)
	for i := range s.Scopes {
		s.Scopes[i].Number = 0
	}
	return json.Marshal(s)
}

// snapshot is what a filter gets that speaks a version.
func (st *state) snapshot(version int) ([]byte, error) {
	if version == wire.Version {
		return st.body, nil
	}
	return st.before()
}

// Serve answers filters on l until ctx ends, and then for as long as calls need, at most 2 s.
// It closes l. Denials that were answered are on record when it returns.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readTimeout,
		// Envoy closes idle connections after an hour: longer, so that no request
		// meets one that this side is closing.
		IdleTimeout:    2 * time.Hour,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	recorded := make(chan struct{})
	go func() { defer close(recorded); s.keepRecords(recording) }()

	server.RegisterOnShutdown(func() { close(s.closing) })
	err := socket.Serve(ctx, server, l)
	stop()
	<-recorded
	if err != nil {
		return fmt.Errorf("serving filters: %w", err)
	}
	return nil
}

// Handler answers the paths of internal/wire and PathReady.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range []struct {
		method, path string
		handler      http.Handler
	}{
		{http.MethodGet, wire.PathWatch, http.HandlerFunc(s.watch)},
		{http.MethodGet, wire.PathPages, http.HandlerFunc(s.fetch)},
		{http.MethodGet, PathReady, http.HandlerFunc(s.ready)},
		{http.MethodPost, wire.PathDecide, serveJSON(s, s.decide)},
		{http.MethodPost, wire.PathResources, serveJSON(s, s.resource)},
		{http.MethodPost, wire.PathUsage, serveJSON(s, s.usage)},
	} {
		mux.Handle(r.method+" "+r.path, s.observed(r.path, r.handler))
	}
	return mux
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	st := s.state.Load()
	if st == nil {
		s.writeError(w, r, errNotReady)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"version": wire.Version, "revision": st.revision})
}

var errNotReady = &fault{http.StatusServiceUnavailable, "not_ready", "there is no snapshot yet"}
