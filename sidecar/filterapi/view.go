package filterapi

import (
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

// view is what decide needs of a published state, ready to be looked up. It never changes.
type view struct {
	*table
	policy string // its revision when the state was published
	apis   map[string]*apiView
}

// apiView is an API with its operations by name.
type apiView struct {
	*catalog.API
	operations map[string]*catalog.Operation
	// open says whether requests without a key pass, and product through which product;
	// empty for an API that needs no subscription.
	open    bool
	product string
}

func newView(p parts) *view {
	v := &view{table: p.table, policy: p.policy.Revision, apis: map[string]*apiView{}}
	for i := range p.catalog.APIs {
		api := &p.catalog.APIs[i]
		a := &apiView{API: api, operations: map[string]*catalog.Operation{}, open: !api.SubscriptionRequired}
		for j := range api.Operations {
			a.operations[api.Operations[j].Name] = &api.Operations[j]
		}
		if product, ok := openProduct(p.catalog.Catalog, api.Name); ok {
			a.open, a.product = true, product
		}
		v.apis[api.Name] = a
	}
	return v
}

// stateAt is a subscription's state by the sidecar's own clock: expired at or past its expiry.
func stateAt(sub *store.Subscription, now time.Time) wire.State {
	if sub.State == wire.StateActive && sub.Expires != 0 && now.Unix() >= int64(sub.Expires) {
		return wire.StateExpired
	}
	return sub.State
}

// question is an ask whose names are resolved.
type question struct {
	ask          *wire.Ask
	api          *apiView
	operation    *catalog.Operation
	product      string
	subscription *store.Subscription // nil: keyless
}

// resolve finds what an ask names. The product is the one that the subscription, or the
// openness of the API, gives; the filter's own may be of an older revision.
func (v *view) resolve(ask *wire.Ask) (question, *fault) {
	q := question{ask: ask}
	if q.api = v.apis[ask.API]; q.api == nil {
		return q, errAPIUnknown
	}
	if q.operation = q.api.operations[ask.Operation]; q.operation == nil {
		return q, errOperationUnknown
	}
	switch {
	case ask.Subscription == 0 && !q.api.open:
		return q, errScopeUnknown
	case ask.Subscription == 0:
		q.product = q.api.product
	default:
		if q.subscription = v.subscription(ask.Subscription); q.subscription == nil {
			return q, errSubscriptionUnknown
		}
		if q.subscription.Scope.Kind == store.ScopeProduct {
			q.product = q.subscription.Scope.Name
		}
	}
	if q.operation.Requires == "" {
		ask.Resource = nil // the operation names none; the policy sees none
		return q, nil
	}
	if r := ask.Resource; r == nil || r.Kind != q.operation.Requires || len(r.ID) > maxValue || len(r.Scope) > maxScope {
		return q, errResourceMissing
	}
	return q, nil
}

// Why an ask is not decided: Answer.Error and Answer.Status. All but the last three happen
// when the catalog moved after the filter's snapshot was made.
var (
	errAPIUnknown          = &fault{404, "api_unknown", "no such API"}
	errOperationUnknown    = &fault{404, "operation_unknown", "no such operation"}
	errScopeUnknown        = &fault{401, "scope_unknown", "the API is not open without a key"}
	errSubscriptionUnknown = &fault{401, "subscription_unknown", "no such subscription"}
	errResourceMissing     = &fault{500, "resource_missing", "the operation requires a resource that the ask does not name"}
	errOtherStore          = &fault{409, "other_store", "the filter's subscriptions are those of another store"}
	errStoreUnavailable    = &fault{503, "store_unavailable", "the store cannot be read"}
)
