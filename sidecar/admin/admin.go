// Package admin serves whoever runs the gateway: what every limit's counter holds, and
// changes of it, over HTTP on a Unix socket. Who calls is known from the socket, and is the
// actor of what is audited. It counts nothing and grants nothing itself.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/store"
)

// Paths. Each GET takes ?subscription=NAME-OR-ID, and is about all of them without it.
const (
	PathLimits      = "/v1/limits"             // GET: Limits
	PathReset       = "/v1/limits/reset"       // POST Reset: Adjustments
	PathRaise       = "/v1/limits/raise"       // POST Raise: Adjustments, of one
	PathAdjustments = "/v1/limits/adjustments" // GET: Adjustments, newest first
	PathEvents      = "/v1/limits/events"      // GET: Events, newest first
)

const (
	// maxCounters bounds a list of counters, maxRecords one of adjustments or events.
	maxCounters = 1000
	maxRecords  = 200
	// maxBody bounds what may be sent at once.
	maxBody = 64 << 10
	// callTimeout bounds the work for one call, ioTimeout what its message may take to
	// arrive or leave.
	callTimeout = 5 * time.Second
	ioTimeout   = 5 * time.Second
)

// Ledger is what is shown and changed; *ledger.Ledger is one.
type Ledger interface {
	Counters(context.Context, ledger.Filter) ([]ledger.Counter, error)
	Reset(ctx context.Context, actor string, ids []int64) ([]ledger.Adjustment, error)
	Raise(ctx context.Context, actor string, id, units int64) (ledger.Adjustment, error)
	Adjustments(context.Context, ledger.Filter) ([]ledger.Adjustment, error)
	Events(context.Context, ledger.Filter) ([]ledger.Event, error)
}

// Store knows the subscriptions; *store.Store is one.
type Store interface {
	Subscriptions(context.Context) ([]store.Subscription, error)
}

// Config is what a Server is made of. Ledger and Store are needed.
type Config struct {
	Ledger Ledger
	Store  Store
	// Log is slog.Default() unless given, Now time.Now.
	Log *slog.Logger
	Now func() time.Time
}

// Server answers administrators.
type Server struct {
	ledger Ledger
	store  Store
	log    *slog.Logger
	now    func() time.Time
}

// New makes a Server.
func New(c Config) *Server {
	s := &Server{ledger: c.Ledger, store: c.Store, log: c.Log, now: c.Now}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Serve answers on l, a Unix socket, until ctx ends, and then for as long as calls need, at
// most 2 s. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: ioTimeout, ReadTimeout: 2 * ioTimeout, WriteTimeout: callTimeout + 2*ioTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return withPeer(ctx, c) },
	}
	if err := socket.Serve(ctx, server, l); err != nil {
		return fmt.Errorf("serving administrators: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for path, h := range map[string]http.Handler{
		PathLimits:      read(s, s.limits),
		PathAdjustments: read(s, s.adjustments),
		PathEvents:      read(s, s.events),
		PathReset:       change(s, s.reset),
		PathRaise:       change(s, s.raise),
	} {
		mux.Handle(path, h)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, &Problem{Status: http.StatusNotFound, Code: "path_unknown", Detail: "nothing is at this path"})
	})
	return s.guarded(mux)
}
