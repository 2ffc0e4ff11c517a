package policy

import (
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tollgate/tollgate/internal/wire"
)

// Input is what a policy reads as input (policies/schemas/input.json). What is absent in
// Request is absent there, except for params, query and headers, which are always
// objects.
type Input struct {
	// Policy is the revision that Request was cut down for. A decision is only made by
	// that one, else ErrStale. Empty: by whichever is current.
	Policy string

	API          API
	Operation    Operation
	Product      *Product      // nil: null
	Subscription *Subscription // nil: null, a request without a key
	Request      wire.Request
	Resource     *Resource // nil: null
	Gateway      Gateway
}

// API is input.api.
type API struct {
	Name   string
	Suffix string
	Tags   []string
}

// Operation is input.operation.
type Operation struct {
	Name     string
	Method   string
	Template string
}

// Product is input.product.
type Product struct{ Name string }

// Subscription is input.subscription.
type Subscription struct {
	ID    uint32
	Name  string
	State string // as in the catalog; "expired" from ExpiresAt on, which the caller's clock decides
	Scope Scope
	// StartedAt is when the store first saw it, and never changes; zero is null.
	StartedAt time.Time
	// ExpiresAt is zero for never. No decision about an active subscription is valid
	// beyond it.
	ExpiresAt  time.Time
	Attributes map[string]string
	Developer  Developer
}

// Scope is input.subscription.scope.
type Scope struct {
	Kind string // product, api or all_apis
	Name string // empty for all_apis
}

// Developer is input.subscription.developer.
type Developer struct {
	Email  string
	Name   string
	Groups []string
}

// Resource is input.resource.
type Resource struct {
	Kind  string
	ID    string
	Owner *uint32 // id of a subscription; nil: null, unknown
}

// Gateway is input.gateway.
type Gateway struct {
	Name   string
	Region string
}

// value is the input as Rego sees it, made without a detour over JSON.
func (in Input) value() ast.Value {
	return object(
		member("api", object(
			member("name", ast.String(in.API.Name)),
			member("suffix", ast.String(in.API.Suffix)),
			member("tags", list(in.API.Tags)),
		)),
		member("operation", object(
			member("name", ast.String(in.Operation.Name)),
			member("method", ast.String(in.Operation.Method)),
			member("template", ast.String(in.Operation.Template)),
		)),
		member("product", in.Product.value()),
		member("subscription", in.Subscription.value()),
		member("request", request(in.Request)),
		member("resource", in.Resource.value()),
		member("gateway", object(
			member("name", ast.String(in.Gateway.Name)),
			member("region", ast.String(in.Gateway.Region)),
		)),
	)
}

func (p *Product) value() ast.Value {
	if p == nil {
		return ast.NullValue
	}
	return object(member("name", ast.String(p.Name)))
}

func (s *Subscription) value() ast.Value {
	if s == nil {
		return ast.NullValue
	}
	return object(
		member("id", number(s.ID)),
		member("name", ast.String(s.Name)),
		member("state", ast.String(s.State)),
		member("scope", object(
			member("kind", ast.String(s.Scope.Kind)),
			member("name", ast.String(s.Scope.Name)),
		)),
		member("started_at", instant(s.StartedAt)),
		member("expires_at", instant(s.ExpiresAt)),
		member("attributes", texts(s.Attributes)),
		member("developer", object(
			member("email", ast.String(s.Developer.Email)),
			member("name", ast.String(s.Developer.Name)),
			member("groups", list(s.Developer.Groups)),
		)),
	)
}

func instant(t time.Time) ast.Value {
	if t.IsZero() {
		return ast.NullValue
	}
	return ast.String(t.UTC().Format(time.RFC3339Nano))
}

func (r *Resource) value() ast.Value {
	if r == nil {
		return ast.NullValue
	}
	owner := ast.NullValue
	if r.Owner != nil {
		owner = number(*r.Owner)
	}
	return object(
		member("kind", ast.String(r.Kind)),
		member("id", ast.String(r.ID)),
		member("owner", owner),
	)
}

func request(r wire.Request) ast.Value {
	members := make([][2]*ast.Term, 0, 9)
	for _, part := range []struct {
		name  string
		value *string
	}{{"method", r.Method}, {"path", r.Path}, {"scheme", r.Scheme}, {"host", r.Host}} {
		if part.value != nil {
			members = append(members, member(part.name, ast.String(*part.value)))
		}
	}
	if r.Source != nil {
		members = append(members, member("source", object(member("address", ast.String(r.Source.Address)))))
	}
	return object(append(members,
		member("params", texts(r.Params)),
		member("query", lists(r.Query)),
		member("headers", lists(r.Headers)),
		member("jwt", ast.NullValue), // this version of the wire carries none
	)...)
}

func object(members ...[2]*ast.Term) ast.Value { return ast.NewObject(members...) }

func member(name string, value ast.Value) [2]*ast.Term {
	return [2]*ast.Term{ast.InternedTerm(name), ast.NewTerm(value)}
}

func number(n uint32) ast.Value { return ast.Number(strconv.FormatUint(uint64(n), 10)) }

func list(values []string) ast.Value {
	terms := make([]*ast.Term, len(values))
	for i, value := range values {
		terms[i] = ast.InternedTerm(value)
	}
	return ast.NewArray(terms...)
}

func texts(values map[string]string) ast.Value {
	members := make([][2]*ast.Term, 0, len(values))
	for name, value := range values {
		members = append(members, member(name, ast.String(value)))
	}
	return object(members...)
}

func lists(values map[string][]string) ast.Value {
	members := make([][2]*ast.Term, 0, len(values))
	for name, value := range values {
		members = append(members, member(name, list(value)))
	}
	return object(members...)
}
