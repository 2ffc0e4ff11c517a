package filterapi

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

// Catalog is what the gateway hands out, with the secrets that it needs for it.
type Catalog struct {
	*catalog.Catalog
	// BackendKeys holds, by API name, the key that replaces the consumer's.
	BackendKeys map[string]string
}

// parts are what a snapshot is made of, but for its revision.
type parts struct {
	catalog Catalog
	numbers *numbering // of catalog
	table   *table
	policy  wire.Policy
	gateway wire.Gateway
	pepper  []byte
	resets  uint64
}

// snapshot builds the filter's view of p, and its pages. The same parts give the same
// snapshot.
func (p parts) snapshot() (*wire.Snapshot, wire.Pages, error) {
	apis, err := p.apis()
	if err != nil {
		return nil, nil, err
	}
	scopes := newScopes(p.catalog.Catalog, p.numbers)
	for i, api := range p.catalog.APIs {
		apis[i].Open = scopes.open(api)
	}
	keys, subscriptions, pages := p.table.packed(p.numbers)
	return &wire.Snapshot{Version: wire.Version, Gateway: p.gateway, Pepper: p.pepper, Policy: p.policy, APIs: apis, Scopes: scopes.list,
		Keys: keys, Subscriptions: subscriptions, Resets: p.resets}, pages, nil
}

func (p parts) apis() ([]wire.API, error) {
	apis := make([]wire.API, 0, len(p.catalog.APIs))
	for _, api := range p.catalog.APIs {
		key := p.catalog.BackendKeys[api.Name]
		authorization := wire.Authorization(cmp.Or(api.Backend.Authorization, string(wire.AuthorizationPass)))
		if authorization != wire.AuthorizationInject {
			key = ""
		}
		header := cmp.Or(api.Keys.Header, "Ocp-Apim-Subscription-Key")
		operations := make([]wire.Operation, 0, len(api.Operations))
		for _, o := range api.Operations {
			operations = append(operations, wire.Operation{Name: o.Name, Method: o.Method, Template: o.Template, Creates: o.Creates, Requires: o.Requires})
		}
		apis = append(apis, wire.API{
			Name: api.Name, Suffix: api.Suffix, Hosts: api.Hosts,
			Errors: wire.Dialect(cmp.Or(api.Errors, string(wire.DialectAPIM))),
			Keys: wire.Keys{Header: strings.ToLower(header), HeaderName: header,
				Query: cmp.Or(api.Keys.Query, "subscription-key"), Bearer: api.Keys.Bearer},
			Authorization: authorization, BackendKey: key, Open: -1,
			AllowWhenUnavailable: api.WhenUnavailable == "allow",
			HideResponseHeaders:  hidden(api),
			Operations:           operations,
		})
	}
	return apis, nil
}

// hidden are the response headers that the filter removes: none where Envoy's route does.
func hidden(api catalog.API) []string {
	if api.Route != "external" {
		return nil
	}
	return lower(api.HideResponseHeaders)
}

// scopes are all that a catalog has to open: each product, each API, and all of them.
type scopes struct {
	catalog *catalog.Catalog
	api     map[string]int // index by name
	list    []wire.Scope
	place   map[store.Scope]int // in list
}

func newScopes(c *catalog.Catalog, n *numbering) *scopes {
	s := &scopes{catalog: c, api: map[string]int{}, place: map[store.Scope]int{}}
	all := make([]int, len(c.APIs))
	for i, api := range c.APIs {
		s.api[api.Name] = i
		all[i] = i
	}
	add := func(scope store.Scope, product string, apis []int) {
		s.place[scope] = len(s.list)
		s.list = append(s.list, wire.Scope{Number: n.of[scope], Product: product, APIs: apis})
	}
	add(store.Scope{Kind: store.ScopeAllAPIs}, "", all)
	for i, api := range c.APIs {
		add(store.Scope{Kind: store.ScopeAPI, Name: api.Name}, "", []int{i})
	}
	for _, p := range c.Products {
		add(store.Scope{Kind: store.ScopeProduct, Name: p.Name}, p.Name, s.named(p.APIs))
	}
	return s
}

// open is the place of the scope under which an API passes without a key: an open product
// first, then the API itself; -1 where a key is required.
func (s *scopes) open(api catalog.API) int {
	if product, ok := openProduct(s.catalog, api.Name); ok {
		return s.place[store.Scope{Kind: store.ScopeProduct, Name: product}]
	}
	if !api.SubscriptionRequired {
		return s.place[store.Scope{Kind: store.ScopeAPI, Name: api.Name}]
	}
	return -1
}

// openProduct is the product through which api passes without a key.
func openProduct(c *catalog.Catalog, api string) (name string, ok bool) {
	for _, p := range c.Products {
		if !p.SubscriptionRequired && slices.Contains(p.APIs, api) {
			return p.Name, true
		}
	}
	return "", false
}

func (s *scopes) named(apis []string) []int {
	list := []int{}
	for _, name := range apis {
		if i, ok := s.api[name]; ok {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func lower(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}
