package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

const (
	// maxFailures is how many failed authentications are answered in a second, after twice as
	// many at once; what is beyond is answered 429.
	maxFailures = 50
	// failureLog is how often failures are logged.
	failureLog = 10 * time.Second
)

// caller is who asks, and from where.
type caller struct {
	actor, origin string // as audited
	role          string
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return audit.WithOrigin(context.WithValue(ctx, callerKey{}, c), c.origin)
}

// calledBy is who calls; a handler is only reached by one who is known.
func calledBy(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// identify finds out who calls.
type identify func(*http.Request) (caller, error)

// peerCaller is the user at the other end of a Unix socket.
func (s *Server) peerCaller(r *http.Request) (caller, error) {
	if err := admitted(r.Context()); err != nil {
		s.log.Warn("refused an administrator", "error", err)
		return caller{}, problem(http.StatusForbidden, "forbidden", "only the user that runs the sidecar, and root, administer it")
	}
	return caller{actor: actor(r.Context()), origin: "socket", role: store.RoleAdministrator}, nil
}

// tokenCaller is the holder of a bearer token (RFC 6750, section 2.1). A token that works is
// never kept waiting by those that do not.
func (s *Server) tokenCaller(r *http.Request) (caller, error) {
	origin, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		origin = r.RemoteAddr
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if len(r.Header.Values("Authorization")) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return caller{}, s.unauthenticated(origin, "name a token of the admin API: Authorization: Bearer TOKEN")
	}
	t, err := s.store.Authenticate(r.Context(), strings.TrimSpace(token))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return caller{}, s.unauthenticated(origin, "the token is not one of the admin API, or has expired or was revoked")
	case err != nil:
		return caller{}, err
	}
	return caller{actor: "token:" + t.Name, origin: origin, role: t.Role}, nil
}

// unauthenticated is the answer to who is not known.
func (s *Server) unauthenticated(origin, detail string) error {
	answered, logged := s.failures.one(s.now())
	if logged > 0 {
		s.log.Warn("callers of the admin API were not known", "times", logged, "last_from", origin)
	}
	if !answered {
		p := problem(http.StatusTooManyRequests, "too_many_failures", "too many calls came without a token that works: wait a moment")
		p.header = http.Header{"Retry-After": {"1"}}
		return p
	}
	p := problem(http.StatusUnauthorized, "unauthenticated", "%s", detail)
	p.header = http.Header{"WWW-Authenticate": {`Bearer realm="tollgate"`}}
	return p
}

// failures bounds how many failed authentications are answered, and logged.
type failures struct {
	limit *rate.Limiter

	mu     sync.Mutex
	count  int // since they were logged
	logged time.Time
}

func newFailures() *failures { return &failures{limit: rate.NewLimiter(maxFailures, 2*maxFailures)} }

// one notes a failure. It says whether that is answered as one, and how many are to be
// logged, 0 for not now.
func (f *failures) one(now time.Time) (answered bool, logged int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if now.Sub(f.logged) >= failureLog {
		logged, f.count, f.logged = f.count, 0, now
	}
	return f.limit.AllowN(now, 1), logged
}
