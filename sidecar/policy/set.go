package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/version"

	"github.com/tollgate/tollgate/internal/wire"
)

// testSeconds bounds each Rego test of an author's folder.
const testSeconds = 5

// set is one compiled set of policies with its data. It never changes, so a decision
// made by it belongs to its revision, whatever is loaded meanwhile.
type set struct {
	compiler *ast.Compiler
	query    ast.Body
	queries  ast.QueryCompiler
	store    storage.Store
	analysis Analysis
	wire     wire.Policy
	timeout  time.Duration
}

// program is compiled source, to which data can be joined again and again.
type program struct {
	source   source
	compiler *ast.Compiler
	analysis Analysis
	pitfalls Mistakes // warnings
}

// compile understands s. A program is only made of modules without a mistake, whose
// tests pass.
func compile(ctx context.Context, s source) (*program, error) {
	running, tests, err := parse(s)
	if err != nil {
		return nil, err
	}
	// As written, for compiling moves operands about.
	never, pitfalls := listsAsValues(running), undefinedBehindNot(running)
	compiler, err := compiled(running)
	if err != nil {
		return nil, err
	}
	p := &program{source: s, compiler: compiler, analysis: Analyze(compiler.Modules), pitfalls: pitfalls}
	if found := append(never, p.mistakes(tests)...).sorted(); len(found) > 0 {
		return nil, &found
	}
	if len(tests) > 0 {
		err = p.test(ctx)
	}
	return p, err
}

// parse returns the modules that run and the author's tests of them. Tests never run
// with the others, so no decision can depend on one.
func parse(s source) (running, tests map[string]*ast.Module, err error) {
	running, tests = map[string]*ast.Module{}, map[string]*ast.Module{}
	var found ast.Errors
	for _, path := range slices.Sorted(maps.Keys(s.modules)) {
		m := s.modules[path]
		if !m.own && strings.HasSuffix(m.name, "_test.rego") {
			continue // tested when this program was
		}
		parsed, err := ast.ParseModuleWithOpts(m.name, string(m.text), ast.ParserOptions{
			RegoVersion: ast.RegoV1, ProcessAnnotation: true, Capabilities: capabilities(),
		})
		var errs ast.Errors
		switch {
		case errors.As(err, &errs):
			found = append(found, errs...)
		case err != nil:
			found = append(found, ast.NewError(ast.ParseErr, ast.NewLocation(nil, m.name, 1, 1), "%s", err.Error()))
		case isTest(m.name, parsed):
			tests[m.name] = parsed
		default:
			running[m.name] = parsed
		}
	}
	if len(found) > 0 {
		return nil, nil, mistakes(found)
	}
	return running, tests, nil
}

// isTest: the file is called x_test.rego, or the package ends in _test.
func isTest(name string, m *ast.Module) bool {
	last, _ := m.Package.Path[len(m.Package.Path)-1].Value.(ast.String)
	return strings.HasSuffix(name, "_test.rego") || strings.HasSuffix(string(last), "_test")
}

func newCompiler() (*ast.Compiler, error) {
	known, err := schemas()
	if err != nil {
		return nil, err
	}
	return ast.NewCompiler().
		WithStrict(true).
		WithDefaultRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		WithSchemas(known).
		WithUseTypeCheckAnnotations(true), nil
}

func compiled(modules map[string]*ast.Module) (*ast.Compiler, error) {
	compiler, err := newCompiler()
	if err != nil {
		return nil, err
	}
	if compiler.Compile(modules); compiler.Failed() {
		return nil, mistakes(compiler.Errors)
	}
	return compiler, nil
}

// mistakes are those that compile, but mean something else than their author thinks:
// a rule that reads a field which no input has never denies.
func (p *program) mistakes(tests map[string]*ast.Module) Mistakes {
	var found Mistakes
	for _, use := range p.analysis.Never {
		message := use.Name + " is in no input: see policies/schemas/input.json"
		if lower := strings.ToLower(use.Name); strings.HasPrefix(use.Name, "input.request.headers") && lower != use.Name {
			message = fmt.Sprintf("%s matches no header: names are in lower case: %s", use.Name, lower)
		}
		found = append(found, Mistake{File: use.File, Line: use.Line, Message: message})
	}
	testPackages := map[string]bool{}
	for _, test := range tests {
		testPackages[test.Package.Path.String()] = true
	}
	for _, m := range p.compiler.Modules {
		delete(testPackages, m.Package.Path.String())
	}
	for name, m := range p.compiler.Modules {
		ast.WalkTerms(m, func(term *ast.Term) bool {
			ref, ok := term.Value.(ast.Ref)
			for pkg := range testPackages {
				if ok && ref.HasPrefix(ast.MustParseRef(pkg)) {
					found = append(found, Mistake{File: name, Line: term.Location.Row, Message: pkg + " is made of tests, which are not there when a request is decided"})
				}
			}
			return false
		})
	}
	if p.conflicts() {
		found = append(found, Mistake{File: "data", Message: "a data file and a module declare the same path"})
	}
	return found
}

// conflicts: a document of the data files would hide a rule, or the other way round.
func (p *program) conflicts() bool {
	for _, m := range p.compiler.Modules {
		at := any(p.source.data)
		for _, term := range m.Package.Path[1:] {
			inner, ok := at.(map[string]any)
			if !ok {
				return true
			}
			if at, ok = inner[text(ast.Ref{term}, 0)]; !ok {
				at = nil
				break
			}
		}
		if inner, ok := at.(map[string]any); ok {
			for _, rule := range m.Rules {
				if _, taken := inner[string(rule.Head.Ref()[0].Value.(ast.Var))]; taken {
					return true
				}
			}
		} else if at != nil {
			return true
		}
	}
	return false
}

// test runs the author's tests against everything that would run. Embedded tests are not
// run with them: an added rule that denies may rightly change what they expect.
func (p *program) test(ctx context.Context) error {
	running, tests, err := parse(p.source) // anew: compiling changes modules
	if err != nil {
		return err
	}
	maps.Copy(running, tests)
	compiler, err := newCompiler()
	if err != nil {
		return err
	}
	results, err := tester.NewRunner().
		SetCompiler(compiler).
		SetStore(store(p.source.data)).
		SetModules(running).
		SetTimeout(testSeconds*time.Second).
		RaiseBuiltinErrors(true).
		CapturePrintOutput(false).
		RunTests(ctx, nil)
	if err != nil {
		var errs ast.Errors
		if errors.As(err, &errs) {
			return mistakes(errs)
		}
		return fmt.Errorf("testing policies: %w", err)
	}
	var found Mistakes
	for result := range results {
		if result.Pass() || result.Skip {
			continue
		}
		m := Mistake{File: result.Location.File, Line: result.Location.Row, Message: "test " + result.Name + " failed"}
		if result.Error != nil {
			m.Message = fmt.Sprintf("test %s ended with an error: %v", result.Name, result.Error)
		}
		found = append(found, m)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("testing policies: %w", err)
	}
	if len(found) > 0 {
		found = found.sorted()
		return &found
	}
	return nil
}

func store(data map[string]any) storage.Store {
	return inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(true), inmem.OptReturnASTValuesOnRead(true))
}

// join makes the set that decides: p with the catalog and the configuration as data.
func (p *program) join(catalog map[string]any, config Config) (*set, error) {
	data := maps.Clone(p.source.data)
	if catalog != nil {
		data["catalog"] = catalog
	}
	data["configuration"] = map[string]any{"ttl": config.TTL.String()}
	queries := p.compiler.QueryCompiler()
	query, err := queries.Compile(ast.MustParseBody("decision = data.tollgate.decision"))
	if err != nil {
		return nil, fmt.Errorf("preparing the decision: %w", err)
	}
	revision, err := revision(p.source, data)
	if err != nil {
		return nil, err
	}
	return &set{
		compiler: p.compiler,
		query:    query,
		queries:  queries,
		store:    store(data),
		analysis: p.analysis,
		timeout:  config.Timeout,
		wire:     wire.Policy{Revision: revision, Full: p.analysis.Full(), Vary: p.analysis.Fields()},
	}, nil
}

// revision is a hash over everything that a decision is made of besides its input:
// modules, data with the configuration, capabilities, and OPA itself.
func revision(s source, data map[string]any) (string, error) {
	h := sha256.New()
	part := func(name string, content []byte) {
		fmt.Fprintf(h, "%d %s %d\n", len(name), name, len(content))
		h.Write(content)
	}
	part("opa", []byte(version.Version))
	for _, path := range slices.Sorted(maps.Keys(s.modules)) {
		part(path, s.modules[path].text)
	}
	allowed, err := capabilitiesText()
	if err != nil {
		return "", fmt.Errorf("hashing policies: %w", err)
	}
	documents, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("hashing policies: %w", err)
	}
	part("capabilities", allowed)
	part("data", documents)
	_, _ = io.WriteString(h, "end")
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
