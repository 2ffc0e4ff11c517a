package filterapi

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/usage"
)

var errNotTaken = &fault{http.StatusServiceUnavailable, "unavailable", "the report cannot be taken now"}

// usage takes a report once; a repetition is answered like the first.
func (s *Server) usage(ctx context.Context, r *wire.UsageReport) (any, error) {
	if err := checkVersion(r.Version); err != nil {
		return nil, err
	}
	if !printable(r.VM, maxID) {
		return nil, invalid("bad_vm", "vm is 1 to 256 printable ASCII characters")
	}
	if err := usage.Check(r, s.now()); err != nil {
		return nil, invalid("bad_usage", err.Error())
	}
	if st := s.state.Load(); r.Store != "" && st != nil && r.Store != st.revision.Store {
		return nil, errOtherStore
	}
	for i := range r.Denials {
		d := &r.Denials[i]
		d.Call, d.Decision, d.Reason = clean(d.Call), clean(d.Decision), reasonCode(d.Reason)
		d.API, d.Operation, d.Limit = cut(d.API), cut(d.Operation), cut(d.Limit)
	}
	first, err := s.store.TakeUsage(ctx, *r)
	// Every worker sends its report again each tick: told once, not each time.
	if changed := s.usageOutage.changed(s.now(), err); changed && err != nil {
		s.log.Error("taking usage failed: the proxies keep it, until the store can be written", "error", err)
	} else if changed {
		s.log.Info("usage is taken again")
	}
	if err != nil {
		return nil, errNotTaken
	}
	if first {
		s.metrics.took(r)
	}
	return struct{}{}, nil
}
