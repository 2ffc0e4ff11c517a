package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

func (s *Server) limits(ctx context.Context, subscription string) (any, error) {
	f, names, err := s.filter(ctx, subscription, maxCounters)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.Counters(ctx, f)
	if err != nil {
		return nil, err
	}
	reply := Limits{Now: s.now().UTC()}
	reply.Cut = len(found) > maxCounters
	reply.Counters = counters(found[:min(len(found), maxCounters)], names)
	return reply, nil
}

func (s *Server) adjustments(ctx context.Context, subscription string) (any, error) {
	f, names, err := s.filter(ctx, subscription, maxRecords)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.Adjustments(ctx, f)
	if err != nil {
		return nil, err
	}
	return adjusted(found, names), nil
}

func (s *Server) events(ctx context.Context, subscription string) (any, error) {
	f, names, err := s.filter(ctx, subscription, maxRecords)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.Events(ctx, f)
	if err != nil {
		return nil, err
	}
	reply := Events{Events: []Event{}, Cut: len(found) > maxRecords}
	for _, e := range found[:min(len(found), maxRecords)] {
		reply.Events = append(reply.Events, Event{Time: e.Time.UTC(), Counter: e.Counter, Subscription: e.Subscription,
			SubscriptionName: names[e.Subscription], Limit: e.Limit, Percent: e.Percent, Used: e.Used})
	}
	return reply, nil
}

// reset resets the counters that the message names. Where there is nothing to reset, nothing
// is done, which is no error; a limit that the subscription never met is one.
func (s *Server) reset(ctx context.Context, r *Reset) (any, error) {
	found, names, err := s.named(ctx, r.Subscription, r.Limit, r.Key)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return Adjustments{Adjustments: []Adjustment{}}, nil
	}
	ids := make([]int64, len(found))
	for i, c := range found {
		ids[i] = c.ID
	}
	done, err := s.ledger.Reset(ctx, actor(ctx), ids)
	if err != nil {
		return nil, err
	}
	return s.told(adjusted(done, names)), nil
}

// raise adds to the current period of one quota.
func (s *Server) raise(ctx context.Context, r *Raise) (any, error) {
	if r.Units < 1 {
		return nil, bad("units_invalid", "units is at least 1")
	}
	if r.Limit == "" {
		return nil, bad("limit_missing", "limit is the name of a quota")
	}
	found, names, err := s.named(ctx, r.Subscription, r.Limit, r.Key)
	if err != nil {
		return nil, err
	}
	c, err := raisable(found, r.Limit)
	if err != nil {
		return nil, err
	}
	done, err := s.ledger.Raise(ctx, actor(ctx), c.ID, r.Units)
	if err != nil {
		return nil, err
	}
	return s.told(adjusted([]ledger.Adjustment{done}, names)), nil
}

// raisable is the one counter of found that can be raised, or why there is none. Where the
// length of a quota's period was changed, it is the counter that was made last.
func raisable(found []ledger.Counter, limit string) (c ledger.Counter, err error) {
	var keys []string
	for _, one := range found {
		if one.Limit.Kind != wire.KindQuota {
			continue
		}
		if !slices.Contains(keys, one.Limit.Key) {
			keys = append(keys, one.Limit.Key)
		}
		if one.ID > c.ID {
			c = one
		}
	}
	switch len(keys) {
	case 0:
		return c, &Problem{Status: http.StatusConflict, Code: "not_a_quota", Detail: notRaisable(found[0].Limit)}
	case 1:
		return c, nil
	}
	return c, &Problem{Status: http.StatusConflict, Code: "limit_ambiguous",
		Detail: fmt.Sprintf("%d counters have the name %q: name one with its key: %s", len(keys), limit, shown(keys))}
}

func notRaisable(l wire.Limit) string {
	if l.Kind == wire.KindConcurrency {
		return fmt.Sprintf("%q limits how many calls are under way at once, and only quotas can be raised: change its amount in the catalog", l.Name)
	}
	window := time.Duration(l.WindowMillis) * time.Millisecond
	return fmt.Sprintf("%q is a rate, and only quotas can be raised: what is used of a rate comes back by itself within %s. "+
		"Reset it, or change its amount in the catalog", l.Name, window)
}

// told puts changes into the sidecar's log as well.
func (s *Server) told(a Adjustments) Adjustments {
	for _, one := range a.Adjustments {
		s.log.Info("a limit was adjusted", "action", one.Action, "actor", one.Actor, "limit", one.Before.Limit, "key", one.Before.Key,
			"subscription", one.Subscription, "units", one.Units)
	}
	return a
}

// named are the counters of a subscription whose limit has this name and key, empty for any;
// with the names of subscriptions.
func (s *Server) named(ctx context.Context, subscription, limit, key string) ([]ledger.Counter, map[uint32]string, error) {
	if subscription == "" {
		return nil, nil, bad("subscription_missing", "subscription is a name or an id, and not empty")
	}
	f, names, err := s.filter(ctx, subscription, maxCounters)
	if err != nil {
		return nil, nil, err
	}
	all, err := s.ledger.Counters(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	if len(all) > maxCounters {
		return nil, nil, &Problem{Status: http.StatusConflict, Code: "too_many",
			Detail: fmt.Sprintf("%s has more than %d counters", subscription, maxCounters)}
	}
	found := slices.DeleteFunc(slices.Clone(all), func(c ledger.Counter) bool {
		return limit != "" && c.Limit.Name != limit || key != "" && c.Limit.Key != key
	})
	if len(found) == 0 && (limit != "" || key != "") {
		return nil, nil, &Problem{Status: http.StatusNotFound, Code: "limit_unknown", Detail: noCounter(subscription, limit, key, all)}
	}
	return found, names, nil
}

func noCounter(subscription, limit, key string, all []ledger.Counter) string {
	what := "limit " + fmt.Sprintf("%q", limit)
	if key != "" {
		what = fmt.Sprintf("limit %q with the key %q", limit, key)
	}
	if limit == "" {
		what = fmt.Sprintf("limit with the key %q", key)
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Limit.Name)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return fmt.Sprintf("nothing is counted of any limit of %s yet", subscription)
	}
	return fmt.Sprintf("nothing is counted of a %s of %s; counted are %s", what, subscription, shown(names))
}

// shown is a list for a sentence, cut after ten.
func shown(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
