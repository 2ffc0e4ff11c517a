package filterapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/apikey"
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
	catalog       Catalog
	subscriptions []store.Subscription
	policy        wire.Policy
	gateway       wire.Gateway
	pepper        []byte
	resets        uint64
}

// snapshot builds the filter's view of p. The same parts give the same snapshot.
func (p parts) snapshot() (*wire.Snapshot, error) {
	apis, err := p.apis()
	if err != nil {
		return nil, err
	}
	scopes := newScopes(p.catalog.Catalog)
	for i, api := range p.catalog.APIs {
		apis[i].Open = scopes.open(i, api)
	}
	records := make([]wire.KeyRecord, 0, 2*len(p.subscriptions))
	for _, sub := range p.subscriptions {
		scope := scopes.of(sub.Scope)
		for _, k := range sub.Keys {
			records = append(records, wire.KeyRecord{MAC: apikey.MAC(p.pepper, k.Digest), Subscription: sub.ID, Revision: sub.Revision,
				Expires: sub.Expires, Scope: scope, State: sub.State, Slot: k.Slot})
		}
	}
	keys, err := wire.PackKeys(records)
	if err != nil {
		return nil, err
	}
	return &wire.Snapshot{Version: wire.Version, Gateway: p.gateway, Pepper: p.pepper, Policy: p.policy, APIs: apis, Scopes: scopes.list, Keys: keys,
		Resets: p.resets}, nil
}

func (p parts) apis() ([]wire.API, error) {
	apis := make([]wire.API, 0, len(p.catalog.APIs))
	for _, api := range p.catalog.APIs {
		key := p.catalog.BackendKeys[api.Name]
		authorization := wire.Authorization(cmp.Or(api.Backend.Authorization, string(wire.AuthorizationPass)))
		if authorization == wire.AuthorizationInject && key == "" {
			return nil, fmt.Errorf("API %q: no backend key to inject", api.Name)
		}
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

// scopes collects the distinct scopes of a catalog.
type scopes struct {
	catalog *catalog.Catalog
	api     map[string]int // index by name
	list    []wire.Scope
	index   map[string]uint32
}

func newScopes(c *catalog.Catalog) *scopes {
	s := &scopes{catalog: c, api: map[string]int{}, index: map[string]uint32{}, list: []wire.Scope{}}
	for i, api := range c.APIs {
		s.api[api.Name] = i
	}
	return s
}

// of is the index of what a subscription opens. A product or API that the catalog does not
// have opens nothing.
func (s *scopes) of(scope store.Scope) uint32 {
	switch scope.Kind {
	case store.ScopeProduct:
		return s.add(scope.Name, s.product(scope.Name))
	case store.ScopeAPI:
		return s.add("", s.named([]string{scope.Name}))
	case store.ScopeAllAPIs:
		all := make([]int, len(s.catalog.APIs))
		for i := range all {
			all[i] = i
		}
		return s.add("", all)
	default:
		return s.add("", []int{})
	}
}

// open is the index of the scope under which API i passes without a key: an open product
// first, then the API itself; -1 where a key is required.
func (s *scopes) open(i int, api catalog.API) int {
	if product, ok := openProduct(s.catalog, api.Name); ok {
		return int(s.add(product, s.product(product)))
	}
	if !api.SubscriptionRequired {
		return int(s.add("", []int{i}))
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

func (s *scopes) product(name string) []int {
	for _, p := range s.catalog.Products {
		if p.Name == name {
			return s.named(p.APIs)
		}
	}
	return []int{}
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

func (s *scopes) add(product string, apis []int) uint32 {
	key := fmt.Sprint(product, "\x00", apis)
	if i, ok := s.index[key]; ok {
		return i
	}
	i := uint32(len(s.list))
	s.list = append(s.list, wire.Scope{Product: product, APIs: apis})
	s.index[key] = i
	return i
}

func lower(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}
