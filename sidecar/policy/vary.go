package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tollgate/tollgate/internal/wire"
)

// Analysis says which inputs a decision depends on (docs/policies.md).
//
// It is deliberately simple: every reference that starts at input counts with its
// constant prefix, as a whole value, besides any longer one. There is no tracking of
// aliases, for that is where analyses of this kind go wrong: in
//
//	c := input.request.jwt; not c.suspended
//
// whoever keeps only input.request.jwt.suspended gives a caller without any claims the
// answer of one with good ones. Rego reaches input through nothing but such references,
// so inputs that are equal at all prefixes get the same decision.
type Analysis struct {
	// Prefixes are the exact constant prefixes, sorted, without those that the fixed
	// part of a cache key settles: subscription, product, API, operation, gateway.
	Prefixes []ast.Ref
	// Whole are the places that read input, input.request, its headers or its query as
	// a whole. Where there is one, no decision can be kept.
	Whole []Use
	// Unrepeatable are calls whose result may change from one moment to the next.
	// Decisions are then kept only until a valid_until that the policy gives.
	Unrepeatable []Use
	// Never are references to what no input has.
	Never []Use
}

// Use is a place in a module.
type Use struct {
	File string
	Line int
	Name string // input.request.headers, time.now_ns
}

// Analyze walks compiled modules, all of them: what no rule reaches is counted as well.
// Tests must not be among them.
func Analyze(modules map[string]*ast.Module) Analysis {
	w := walk{prefixes: map[string]ast.Ref{}}
	for _, module := range modules {
		w.at = module.Package.Location
		w.over(module)
	}
	a := Analysis{Whole: w.whole, Unrepeatable: w.unrepeatable, Never: w.never}
	for _, prefix := range w.prefixes {
		a.Prefixes = append(a.Prefixes, prefix)
	}
	slices.SortFunc(a.Prefixes, func(x, y ast.Ref) int { return strings.Compare(x.String(), y.String()) })
	for _, uses := range [][]Use{a.Whole, a.Unrepeatable, a.Never} {
		slices.SortFunc(uses, func(x, y Use) int {
			return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), strings.Compare(x.Name, y.Name))
		})
	}
	a.Whole, a.Unrepeatable, a.Never = slices.Compact(a.Whole), slices.Compact(a.Unrepeatable), slices.Compact(a.Never)
	return a
}

// Full says that the whole input has to be sent and nothing can be kept.
func (a Analysis) Full() bool { return len(a.Whole) > 0 }

// Fields are the prefixes in the terms of the wire, which are coarser: a header comes
// with all its values. Sorted; empty when Full.
func (a Analysis) Fields() []wire.Field {
	fields := []wire.Field{}
	if a.Full() {
		return fields
	}
	for _, prefix := range a.Prefixes {
		if field, found := coarsen(prefix); found == isField {
			fields = append(fields, field)
		}
	}
	slices.SortFunc(fields, slices.Compare)
	fields = slices.CompactFunc(fields, slices.Equal)
	allParams := slices.ContainsFunc(fields, func(f wire.Field) bool { return slices.Equal(f, wire.Field{"request", "params"}) })
	return slices.DeleteFunc(fields, func(f wire.Field) bool {
		return allParams && len(f) == 3 && f[1] == "params"
	})
}

// walk collects from one module after the other. at is the last location it passed:
// references carry none themselves.
type walk struct {
	at           *ast.Location
	prefixes     map[string]ast.Ref
	whole        []Use
	unrepeatable []Use
	never        []Use
}

func (w *walk) over(node any) { ast.NewGenericVisitor(w.visit).Walk(node) }

func (w *walk) visit(node any) bool {
	switch node := node.(type) {
	case *ast.Rule:
		w.moveTo(node.Location)
	case *ast.Head:
		w.moveTo(node.Location)
	case *ast.Expr:
		w.moveTo(node.Location)
		if node.IsCall() {
			w.call(node.Operator())
		}
	case *ast.Term:
		w.moveTo(node.Location)
	case ast.Call:
		if operator, ok := node[0].Value.(ast.Ref); ok {
			w.call(operator)
		}
	case ast.Ref:
		w.reference(node)
		for _, term := range node[1:] {
			w.over(term)
		}
		return true // not into the head: as a variable it would count as all of input
	case ast.Var:
		if node.Equal(ast.InputRootDocument.Value) {
			w.input(ast.InputRootRef)
		}
	}
	return false
}

func (w *walk) moveTo(location *ast.Location) {
	if location != nil && location.File != "" {
		w.at = location
	}
}

func (w *walk) use(name string) Use { return Use{File: w.at.File, Line: w.at.Row, Name: name} }

func (w *walk) reference(ref ast.Ref) {
	switch {
	case len(ref) == 0:
	case ref.HasPrefix(ast.InputRootRef):
		w.input(constantPrefix(ref))
	case !ref.HasPrefix(ast.DefaultRootRef):
		// A builtin that is passed about, as in `with f as time.now_ns`.
		if name := ref.String(); ast.BuiltinMap[name] != nil && unrepeatable(name) {
			w.unrepeatable = append(w.unrepeatable, w.use(name))
		}
	}
}

func (w *walk) call(operator ast.Ref) {
	if name := operator.String(); !operator.HasPrefix(ast.DefaultRootRef) && unrepeatable(name) {
		w.unrepeatable = append(w.unrepeatable, w.use(name))
	}
}

func (w *walk) input(prefix ast.Ref) {
	_, found := coarsen(prefix)
	switch found {
	case isFixed:
	case isWhole:
		w.whole = append(w.whole, w.use(prefix.String()))
		w.prefixes[prefix.String()] = prefix
	case isNever, isField:
		w.prefixes[prefix.String()] = prefix
	}
	if found == isNever || !inSchema(prefix) {
		w.never = append(w.never, w.use(prefix.String()))
	}
}

// constantPrefix cuts ref at its first term that is not a scalar.
func constantPrefix(ref ast.Ref) ast.Ref {
	for i := 1; i < len(ref); i++ {
		switch ref[i].Value.(type) {
		case ast.String, ast.Number, ast.Boolean, ast.Null:
		default:
			return ref[:i:i]
		}
	}
	return ref
}

// found is what a prefix means to a filter.
type found int

const (
	isWhole found = iota // too much to be a key
	isFixed              // settled by the fixed part of the key
	isField              // a wire.Field
	isNever              // undefined in every input
)

// coarsen finds the smallest wire.Field that covers prefix.
func coarsen(prefix ast.Ref) (wire.Field, found) {
	path := prefix[1:]
	if len(path) == 0 {
		return nil, isWhole
	}
	switch text(path, 0) {
	case "api", "operation", "product", "subscription", "gateway":
		return nil, isFixed
	case "resource":
		return wire.Field{"resource"}, isField
	case "request":
		return coarsenRequest(path)
	}
	return nil, isNever
}

func coarsenRequest(path ast.Ref) (wire.Field, found) {
	if len(path) == 1 {
		return nil, isWhole
	}
	name := text(path, 1)
	switch name {
	case "method", "path", "scheme", "host", "jwt":
		return wire.Field{"request", name}, isField
	case "source":
		if len(path) > 2 && text(path, 2) != "address" {
			return nil, isNever
		}
		return wire.Field{"request", "source", "address"}, isField
	case "params":
		if len(path) == 2 {
			return wire.Field{"request", "params"}, isField
		}
	case "headers", "query":
		if len(path) == 2 {
			return nil, isWhole
		}
	default:
		return nil, isNever
	}
	// Members have names, and those of headers are in lower case.
	member, ok := path[2].Value.(ast.String)
	if !ok || name == "headers" && strings.ToLower(string(member)) != string(member) {
		return nil, isNever
	}
	return wire.Field{"request", name, string(member)}, isField
}

func text(path ast.Ref, i int) string {
	s, _ := path[i].Value.(ast.String)
	return string(s)
}

// advice is what Check prints to the author of a use.
func (u Use) advice() string {
	switch {
	case ast.BuiltinMap[u.Name] != nil:
		return fmt.Sprintf("%s may answer differently each time, so no decision is kept: contribute data.tollgate.access.valid_until, or do without it", u.Name)
	case strings.HasPrefix(u.Name, "input.request.headers"), strings.HasPrefix(u.Name, "input.request.query"):
		return fmt.Sprintf(`%s is read as a whole, so no decision is kept: name the field instead, like %[1]s["x-plan"]`, u.Name)
	default:
		return fmt.Sprintf("%s is read as a whole, so no decision is kept: name the field instead, like input.request.path", u.Name)
	}
}
