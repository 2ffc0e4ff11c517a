package filterapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

const (
	maxID    = 256 // bytes of a resource's id and of a call's
	maxScope = 32  // parameters of a template
	maxValue = 1024
)

// resource records an intent (no id) or the resource that a submit created. An intent is
// refused where its job would be lost: 409 for an API, an operation or a subscription that
// is not there. A resource that exists is recorded in any case.
func (s *Server) resource(ctx context.Context, r *wire.ResourceRequest) (any, error) {
	if err := checkVersion(r.Version); err != nil {
		return nil, err
	}
	if err := checkResource(r); err != nil {
		return nil, err
	}
	st := s.state.Load()
	if st == nil {
		return nil, errNotReady
	}
	if r.Store != st.revision.Store {
		return nil, errOtherStore
	}
	submit := store.Submit{Call: r.Call, Subscription: r.Subscription, API: r.API, Operation: r.Operation, Resource: r.Resource}
	api, ok := st.view.apis[r.API]
	if ok {
		submit.Backend = api.Backend.URL
	}
	if r.Resource.ID != "" {
		err := s.store.Own(ctx, submit)
		switch {
		case errors.Is(err, store.ErrConflict):
			return nil, &fault{http.StatusConflict, "resource_conflict", err.Error()}
		case errors.Is(err, store.ErrNoIntent):
			return nil, &fault{http.StatusConflict, "api_unknown", err.Error()}
		}
		return struct{}{}, err
	}
	if !ok {
		return nil, &fault{http.StatusConflict, "api_unknown", "no such API"}
	}
	if o, ok := api.operations[r.Operation]; !ok || o.Creates != r.Resource.Kind {
		return nil, &fault{http.StatusConflict, "operation_unknown", "no such operation that creates such a resource"}
	}
	if r.Subscription != 0 && st.view.entry(r.Subscription) == nil {
		return nil, &fault{http.StatusConflict, "subscription_unknown", "no such subscription"}
	}
	return struct{}{}, s.store.Intend(ctx, submit)
}

func checkResource(r *wire.ResourceRequest) error {
	bad := invalid("bad_resource", "call, kind and id are 1 to 256 printable ASCII characters, scope has at most 32 values of at most 1024 bytes")
	if !printable(r.Call, maxID) || !printable(r.Resource.Kind, maxID) || r.Resource.ID != "" && !printable(r.Resource.ID, maxID) ||
		len(r.Resource.Scope) > maxScope {
		return bad
	}
	for name, value := range r.Resource.Scope {
		if len(name) > maxValue || len(value) > maxValue {
			return bad
		}
	}
	return nil
}

// printable says whether s has 1 to limit characters, all printable ASCII.
func printable(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
