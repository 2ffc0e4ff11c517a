// Package admin serves whoever runs the gateway: it is the API by which everything is managed
// and looked at, and its client. It checks who calls and what they may do, and says over
// HTTP what the store, the ledger and the audit answer; it decides nothing itself.
//
// On a Unix socket the user at the other end is an administrator; elsewhere a token says who
// calls. Both are the actor of what is audited. docs/api.md describes the API to its users.
package admin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/store"
)

// Paths of limits. Each GET takes ?subscription=NAME-OR-ID, and is about all of them without
// it.
const (
	PathLimits      = "/v1/limits"             // GET: Limits
	PathReset       = "/v1/limits/reset"       // POST Reset: Adjustments
	PathRaise       = "/v1/limits/raise"       // POST Raise: Adjustments, of one
	PathAdjustments = "/v1/limits/adjustments" // GET: Adjustments, newest first
	PathEvents      = "/v1/limits/events"      // GET: Events, newest first
)

// ioTimeout is how long a message may take to arrive or leave, beside the time for the work.
const ioTimeout = 10 * time.Second

// Ledger has the limits' counters; *ledger.Ledger is one.
type Ledger interface {
	Counters(context.Context, ledger.Filter) ([]ledger.Counter, error)
	Reset(ctx context.Context, actor string, ids []int64) ([]ledger.Adjustment, error)
	Raise(ctx context.Context, actor string, id, units int64) (ledger.Adjustment, error)
	Adjustments(context.Context, ledger.Filter) ([]ledger.Adjustment, error)
	Events(context.Context, ledger.Filter) ([]ledger.Event, error)
}

// Objects are the organization, APIs, products, groups and developers.
type Objects interface {
	Create(context.Context, store.Kind, []byte, store.Write) (store.Object, error)
	Replace(ctx context.Context, k store.Kind, name string, spec []byte, w store.Write) (store.Object, error)
	Delete(ctx context.Context, k store.Kind, name string, w store.Write) error
	Object(ctx context.Context, k store.Kind, name string) (store.Object, error)
	Objects(ctx context.Context, k store.Kind, after string, limit int) ([]store.Object, error)
}

// Subscriptions are who may use what.
type Subscriptions interface {
	CreateSubscription(context.Context, catalog.Subscription, store.Write) (store.Subscription, error)
	FindSubscription(ctx context.Context, nameOrID string) (store.Subscription, error)
	ListSubscriptions(context.Context, store.SubscriptionQuery) ([]store.Subscription, error)
	ChangeSubscription(ctx context.Context, nameOrID string, c store.SubscriptionChange, w store.Write) (store.Subscription, error)
	Act(ctx context.Context, nameOrID string, a store.Action, note string, w store.Write) (store.Subscription, error)
	DeleteSubscription(ctx context.Context, nameOrID string, w store.Write) error
}

// Keys are the keys of subscriptions.
type Keys interface {
	ShowKeys(ctx context.Context, nameOrID string, w store.Write) (store.Issued, error)
	RegenerateKey(ctx context.Context, nameOrID string, c store.KeyChange, w store.Write) (string, error)
	RevokeKey(ctx context.Context, nameOrID string, slot wire.Slot, w store.Write) error
}

// Tokens are those of this API.
type Tokens interface {
	CreateToken(context.Context, store.NewToken, store.Write) (store.Token, string, error)
	Tokens(context.Context) ([]store.Token, error)
	RevokeToken(ctx context.Context, name string, w store.Write) error
	Authenticate(ctx context.Context, clear string) (store.Token, error)
}

// Answers are those to creations that may be sent again.
type Answers interface {
	Once(ctx context.Context, actor, key string, request [32]byte) (*store.Answer, error)
	Answered(ctx context.Context, actor, key string, a store.Answer) error
	Unanswered(ctx context.Context, actor, key string) error
}

// Files are catalog files that are applied.
type Files interface {
	Apply(context.Context, store.Application) (store.Plan, error)
}

// Reader is what much is read from; *store.Store is one.
type Reader interface {
	Objects(ctx context.Context, k store.Kind, after string, limit int) ([]store.Object, error)
	ListSubscriptions(context.Context, store.SubscriptionQuery) ([]store.Subscription, error)
	EachExported(ctx context.Context, each func(item any) error) error
}

// Store is what is managed; *store.Store is one.
type Store interface {
	Objects
	Subscriptions
	Keys
	Tokens
	Answers
	Files
	Reader
}

// Config is what a Server is made of. Ledger, Store and Database are needed.
type Config struct {
	Ledger Ledger
	Store  Store
	// Database holds the audit and the usage, and is what a backup is of.
	Database *database.DB
	// Reader and Reading are the same store and database for lists, exports, reports and the
	// audit: opened once more, so that whoever reads much there keeps no connection from what
	// filters need. Store and Database unless given.
	Reader  Reader
	Reading *database.DB
	// Catalog is how a catalog file is parsed.
	Catalog catalog.Options
	// Log is slog.Default() unless given, Now time.Now.
	Log *slog.Logger
	Now func() time.Time
	// TurnWait is how long an export, a report or a verification waits for the one before it;
	// 5 s unless given.
	TurnWait time.Duration
}

// Server answers administrators.
type Server struct {
	ledger   Ledger
	store    Store
	database *database.DB
	reader   Reader
	reading  *database.DB
	catalog  catalog.Options
	log      *slog.Logger
	now      func() time.Time

	routes   *routes
	failures *failures

	exports, reports, verifications turn
}

// New makes a Server.
func New(c Config) *Server {
	s := &Server{ledger: c.Ledger, store: c.Store, database: c.Database, catalog: c.Catalog,
		reader: c.Reader, reading: c.Reading, log: c.Log, now: c.Now, failures: newFailures()}
	if s.reader == nil {
		s.reader = c.Store
	}
	if s.reading == nil {
		s.reading = c.Database
	}
	wait := cmp.Or(c.TurnWait, turnWait)
	s.exports, s.reports, s.verifications = newTurn(wait), newTurn(wait), newTurn(wait)
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.routes = s.routed()
	return s
}

// Serve answers on l, a Unix socket, until ctx ends, and then for as long as calls need, at
// most 2 s. It closes l. Who calls is known from the socket: only the user that this process
// runs as, and root, are let in, and are administrators.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := s.server(s.peerCaller)
	server.ConnContext = withPeer
	if err := socket.Serve(ctx, server, l); err != nil {
		return fmt.Errorf("serving administrators: %w", err)
	}
	return nil
}

// ServeTokens is Serve for a TCP listener, with TLS or without: who calls is known from a
// bearer token.
func (s *Server) ServeTokens(ctx context.Context, l net.Listener) error {
	if err := socket.Serve(ctx, s.server(s.tokenCaller), l); err != nil {
		return fmt.Errorf("serving the admin address: %w", err)
	}
	return nil
}

func (s *Server) server(identify identify) *http.Server {
	return &http.Server{
		Handler: s.guarded(s.answering(identify)), ReadHeaderTimeout: ioTimeout, ReadTimeout: 2 * ioTimeout, WriteTimeout: shortWork + 2*ioTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// OpenAPI is the API's description, an OpenAPI 3.1 document in JSON.
func (s *Server) OpenAPI() []byte { return s.routes.openAPI }
