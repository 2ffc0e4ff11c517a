package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/secret"
	"github.com/tollgate/tollgate/sidecar/store"
)

// evaluation bounds one evaluation of the policy by the wall clock. It is there for rules
// that do not end, and far above what one takes (under 1 ms): on a machine whose processors
// are all busy a goroutine may stand still for 100 ms and more.
const evaluation = time.Second

// leastStale is the least that --max-stale may be. A filter's contact with the sidecar is
// renewed by a long poll, every wire.WatchSeconds while nothing changes, and one such poll
// may be lost: less would make a gateway answer 503 with which nothing is wrong.
const leastStale = time.Minute

// What failed is tried again after firstWait, which doubles with every failure up to
// lastWait.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 5 * time.Second
)

// catalogFlags say how to read a catalog; serve and check share them.
type catalogFlags struct {
	policies, bundle string
	allowBackends    []string
	backends         []string // "API name=URL"
}

func (c *catalogFlags) register(f *pflag.FlagSet) {
	f.StringVar(&c.policies, "policies", "", "folder of policies, added to the built-in ones")
	f.StringVar(&c.bundle, "bundle", "", "OPA bundle, added to the built-in policies")
	f.StringArrayVar(&c.allowBackends, "allow-backend", nil, "host, or host:port, of a backend that may stand in a loopback, link-local or metadata range; repeatable")
	f.StringArrayVar(&c.backends, "backend", nil, `"API name=URL": a backend in place of the catalog's; repeatable`)
}

func (c *catalogFlags) options() (catalog.Options, error) {
	o := catalog.Options{AllowBackends: c.allowBackends, BackendOverrides: map[string]string{}}
	for _, b := range c.backends {
		name, url, ok := strings.Cut(b, "=")
		if !ok || name == "" || url == "" {
			return o, fmt.Errorf(`--backend is "API name=URL", not %q`, b)
		}
		o.BackendOverrides[name] = url
	}
	return o, nil
}

// serveConfig is what `tollgate serve` was asked for.
type serveConfig struct {
	catalogFlags
	administrationFlags
	catalog, store, socket string // catalog may be empty: what the store holds is served
	secrets                string // folder of the files that hold backend keys; empty: the catalog's
	allowEnv               []string
	xds                    string // folder; empty: no routes and clusters are written
	admin                  string // socket; empty: none
	metrics                string // address; empty: none
	limitMetrics           int    // counters that are shown as metrics; 0: none
	gateway, region        string
	maxStale               time.Duration
	watchTimeout           time.Duration // of the filters' long poll; 0: wire.WatchSeconds
	busy                   time.Duration // see database.Config
	log                    *slog.Logger
	ready                  func(summary string) // called once filters are answered
}

func serveCommand() *cobra.Command {
	var s serveConfig
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the sidecar: catalog, keys and policies for the filters of one Envoy",
		Long: `Runs the sidecar on what its store holds. With --catalog it applies that file to the store,
and again whenever the file changes (touch it after a change to a file with a secret). What
somebody else manages by now stays as it is, and is logged; a catalog with mistakes is
refused whole, and the last good one stays. So it does with policies.`,
		Example: "  tollgate serve --catalog tollgate.yaml --store /var/lib/tollgate/tollgate.db --socket /run/tollgate/sidecar.sock --xds /run/tollgate/xds",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			s.log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			s.ready = func(summary string) { fmt.Fprintln(c.OutOrStdout(), summary) }
			return serve(ctx, s)
		},
	}
	f := c.Flags()
	s.catalogFlags.register(f)
	s.administrationFlags.register(f)
	f.StringVar(&s.catalog, "catalog", "", "a catalog file to apply, now and when it changes; empty: serve what the store holds")
	f.StringVar(&s.store, "store", defaultStore, "the store: a SQLite file, created where it is missing, or a postgres:// URL; a password is better in PGPASSWORD than here, where `ps` shows it")
	f.StringVar(&s.socket, "socket", ".tollgate/sidecar.sock", "the Unix socket for the filters")
	f.StringVar(&s.secrets, "secrets", "", "folder of the files with backend keys, which the admin API may then name as well; empty: the catalog's folder, for the catalog alone")
	f.StringArrayVar(&s.allowEnv, "allow-env", nil, "environment variable that the admin API may name as a backend key's, beside "+secretPrefix+"*; repeatable")
	f.StringVar(&s.admin, "admin", defaultAdmin, "the Unix socket for administration, which the other commands ask; empty: none")
	f.StringVar(&s.xds, "xds", "", "folder for the routes and clusters that Envoy reads")
	f.StringVar(&s.metrics, "metrics", "", "address for Prometheus metrics, like 127.0.0.1:9464")
	f.IntVar(&s.limitMetrics, "limit-metrics", 1000, "how many limits' counters are shown as metrics; 0: none")
	f.StringVar(&s.gateway, "gateway", "tollgate", "input.gateway.name for policies")
	f.StringVar(&s.region, "region", "", "input.gateway.region for policies")
	f.DurationVar(&s.maxStale, "max-stale", 5*time.Minute, "how long filters go on without this sidecar")
	return c
}

// serve runs the sidecar until ctx ends, which is no error.
func serve(ctx context.Context, c serveConfig) error {
	s, err := newSidecar(ctx, c)
	if err != nil {
		return err
	}
	defer s.close()
	seen, err := s.firstApply(ctx)
	if err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	l, err := c.listen()
	if err != nil {
		return err
	}
	if err := s.issueFirstToken(ctx); err != nil {
		return errors.Join(err, l.close())
	}
	return s.run(ctx, l, seen)
}

// sidecar is what serve wires together.
type sidecar struct {
	serveConfig
	options  catalog.Options
	reader   secret.Reader // of backend keys
	database *database.DB
	store    *store.Store
	engine   *policy.Engine
	ledger   *ledger.Ledger
	// Each has an element while there may be something to publish: anything, or a
	// configuration.
	moved, configured chan struct{}
	server            *filterapi.Server
	registry          *prometheus.Registry

	last    published                       // follow's
	running atomic.Pointer[catalog.Catalog] // that is published, or was when the store was left

	administration *admin.Server
	reading        *database.DB // for what administrators read; nil before it is opened
}

func newSidecar(ctx context.Context, c serveConfig) (*sidecar, error) {
	s := &sidecar{serveConfig: c, registry: prometheus.NewRegistry(), moved: make(chan struct{}, 1), configured: make(chan struct{}, 1)}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if s.options, err = c.options(); err != nil {
		return nil, err
	}
	if c.maxStale < leastStale {
		return nil, fmt.Errorf("--max-stale is at least %.0fs, not %s: while nothing changes, filters hear from the sidecar only every %ds",
			leastStale.Seconds(), c.maxStale, wire.WatchSeconds)
	}
	if c.limitMetrics < 0 {
		return nil, fmt.Errorf("--limit-metrics is at least 0, not %d", c.limitMetrics)
	}
	s.reader = secret.Reader{Dir: cmp.Or(c.secrets, filepath.Dir(c.catalog))}
	if s.database, err = database.Open(ctx, database.Config{Source: c.store, Busy: c.busy}); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.database.Close())
	}
	return s, nil
}

// open opens what works on the database.
func (s *sidecar) open(ctx context.Context) (err error) {
	if s.store, err = store.Open(ctx, s.database, store.Options{
		Catalog: s.options, Accept: s.accept, AllowSecret: s.allowSecret, OnChange: s.move,
	}); err != nil {
		return err
	}
	if s.engine, err = policy.Open(ctx, policy.Config{Dir: s.policies, Bundle: s.bundle, Timeout: evaluation, Log: s.log}); err != nil {
		return err
	}
	if err := s.openLedger(ctx); err != nil {
		return err
	}
	s.server = filterapi.New(filterapi.Config{
		Store: s.store, Policy: s.engine, Ledger: s.ledger, Log: s.log, WatchTimeout: s.watchTimeout, Metrics: s.registry,
		Gateway: wire.Gateway{Name: s.gateway, Region: s.region, MaxStaleSeconds: int(s.maxStale / time.Second)},
	})
	return s.openAdministration(ctx)
}

func (s *sidecar) close() {
	var err error
	if s.reading != nil {
		err = s.reading.Close()
	}
	if err = errors.Join(err, s.database.Close()); err != nil {
		s.log.Error("closing the store", "error", err)
	}
}
