// Package policy decides with Rego. It compiles the embedded policies and those of an
// author into one set, works out which inputs a decision depends on, evaluates requests,
// explains denials, and takes a changed set over only when it compiles and its tests
// pass. OPA is its only engine; it knows no HTTP, no store and no clock but that of OPA
// and of its own file watch.
package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/tollgate/tollgate/internal/wire"
)

// Defaults of Config.
const (
	DefaultTTL     = 30 * time.Second
	DefaultTimeout = 100 * time.Millisecond
)

// Config says where policies come from. The embedded ones are always there; Dir or
// Bundle add to them, and a file of theirs at the path of an embedded one replaces it.
type Config struct {
	// Dir is a folder of Rego modules, tests and data.json or data.yaml files. Empty:
	// the embedded policies only. Not together with Bundle.
	Dir string
	// Bundle is an OPA bundle, as a folder or a .tar.gz file. Signed ones are refused.
	Bundle string
	// TTL is how long a decision may be kept unless a policy says otherwise; 0 stands
	// for DefaultTTL. It is data.configuration.ttl.
	TTL time.Duration
	// Timeout bounds one evaluation; 0 stands for DefaultTimeout.
	Timeout time.Duration
	// Catalog is data.catalog, see CatalogData. nil: undefined, which opens nothing.
	Catalog map[string]any
	// Log gets one record per refused set of policies. nil: slog.Default.
	Log *slog.Logger
}

// Engine holds the current set of policies. Its methods may be called concurrently.
type Engine struct {
	config  Config
	current atomic.Pointer[set]

	reloading sync.Mutex // one Reload at a time, so that an older one never wins

	mu      sync.Mutex // guards what sets are made from
	program *program
	catalog map[string]any
}

// openings is how often Open reads again what changes while it is read.
const openings = 10

// Open reads and compiles the policies. Any mistake in them is an error, a *Mistakes
// where it has a place in a file: there is no last good set yet.
func Open(ctx context.Context, config Config) (*Engine, error) {
	if config.Dir != "" && config.Bundle != "" {
		return nil, errors.New("opening policies: name a folder or a bundle, not both")
	}
	if config.TTL == 0 {
		config.TTL = DefaultTTL
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	e := &Engine{config: config, catalog: config.Catalog}
	_, err := e.Reload(ctx)
	for range openings {
		if !errors.Is(err, errUnsettled) {
			break
		}
		_, err = e.Reload(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening policies: %w", err)
	}
	return e, nil
}

// Reload reads the policies anew and takes them over. It says whether the revision
// moved. After an error the engine goes on with what it had.
func (e *Engine) Reload(ctx context.Context) (bool, error) {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	s, err := read(e.config.Dir, e.config.Bundle)
	if err != nil {
		return false, err
	}
	if p := e.loaded(); p != nil && p.source.equal(s) {
		return false, nil
	}
	p, err := compile(ctx, s)
	if err != nil {
		return false, err
	}
	// What changed meanwhile may have been read by halves.
	if again, err := read(e.config.Dir, e.config.Bundle); err != nil || !again.equal(s) {
		return false, errUnsettled
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.swap(p, e.catalog)
}

// errUnsettled: files changed while they were read. Reload again.
var errUnsettled = errors.New("policies changed while they were read")

func (e *Engine) loaded() *program {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.program
}

// SetCatalog makes catalog data.catalog, and says whether the revision moved, which it
// does when the data changed. catalog must not be changed afterwards.
func (e *Engine) SetCatalog(catalog map[string]any) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.swap(e.program, catalog)
}

// swap is called with mu held.
func (e *Engine) swap(p *program, catalog map[string]any) (bool, error) {
	next, err := p.join(catalog, e.config)
	if err != nil {
		return false, err
	}
	e.program, e.catalog = p, catalog
	last := e.current.Load()
	if last != nil && last.wire.Revision == next.wire.Revision {
		return false, nil
	}
	e.current.Store(next)
	return true, nil
}

// Policy is the current revision and what its decisions depend on. Callers must not
// change Vary.
func (e *Engine) Policy() wire.Policy { return e.current.Load().wire }

// Analysis is that of the current set.
func (e *Engine) Analysis() Analysis { return e.current.Load().analysis }

// Decide evaluates data.tollgate.decision for in, by one set, whose revision the
// decision carries. It fails with ErrStale when in.Policy names another revision, else
// with an *Error, and the request must then be refused.
func (e *Engine) Decide(ctx context.Context, in Input) (Decision, error) {
	s := e.current.Load()
	if in.Policy != "" && in.Policy != s.wire.Revision {
		return Decision{}, ErrStale
	}
	value, err := s.evaluate(ctx, in)
	if err != nil {
		return Decision{}, err
	}
	decision, err := parseDecision(value)
	if err != nil {
		return Decision{}, err
	}
	decision.bound(in, s.analysis)
	decision.Policy = s.wire.Revision
	return decision, nil
}

// evaluate returns the value of the decision.
func (s *set) evaluate(ctx context.Context, in Input) (ast.Value, error) {
	results, err := s.run(ctx, s.query, in)
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, &Error{CodeUndefined, errors.New("data.tollgate.decision is undefined")}
	}
	return results[0][ast.Var("decision")].Value, nil
}

// run evaluates body. Errors of builtins end it: an argument that a builtin cannot take
// would otherwise make a rule undefined, and an undefined denial lets pass.
func (s *set) run(ctx context.Context, body ast.Body, in Input) (topdown.QueryResultSet, error) {
	txn, err := s.store.NewTransaction(ctx)
	if err != nil {
		return nil, &Error{CodeError, fmt.Errorf("reading data: %w", err)}
	}
	defer s.store.Abort(ctx, txn)
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(s.timeout, cancel.Cancel)
	defer timer.Stop()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	results, err := s.prepare(body, txn, in).WithCancel(cancel).Run(ctx)
	switch {
	case topdown.IsCancel(err):
		return nil, &Error{CodeTimeout, fmt.Errorf("evaluation did not end within %v", s.timeout)}
	case err != nil:
		return nil, &Error{CodeError, evaluationError(err)}
	}
	return results, nil
}

func (s *set) prepare(body ast.Body, txn storage.Transaction, in Input) *topdown.Query {
	return topdown.NewQuery(body).
		WithQueryCompiler(s.queries).
		WithCompiler(s.compiler).
		WithStore(s.store).
		WithTransaction(txn).
		WithStrictBuiltinErrors(true).
		WithInput(ast.NewTerm(in.value()))
}

// evaluationError keeps the code and the place of an error. What OPA says besides may
// quote values of the input.
func evaluationError(err error) error {
	var found *topdown.Error
	if !errors.As(err, &found) {
		return errors.New("evaluation failed")
	}
	if found.Location == nil {
		return errors.New(found.Code)
	}
	return fmt.Errorf("%s:%d: %s", found.Location.File, found.Location.Row, found.Code)
}
