package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/store"
)

const (
	// maxCounters bounds a list of counters, maxRecords one of adjustments or events.
	maxCounters = 1000
	maxRecords  = 200
)

type (
	limitsInput struct {
		Subscription string `query:"subscription" maxLength:"512" doc:"Only this one's, by name or id."`
	}
	limitsOutput      struct{ Body Limits }
	adjustmentsOutput struct{ Body Adjustments }
	eventsOutput      struct{ Body Events }
	resetInput        struct{ Body Reset }
	raiseInput        struct{ Body Raise }
)

func (s *Server) limitRoutes(rs *routes) {
	tags := []string{"limits"}
	read := func(path string) Route { return Route{Method: http.MethodGet, Path: path, Right: RightRead} }
	change := func(path string) Route {
		return Route{Method: http.MethodPost, Path: path, Right: RightWrite, types: []string{typeJSON}}
	}
	add(rs, read(PathLimits), huma.Operation{Summary: "List what is used of limits", Tags: tags}, s.limits)
	add(rs, read(PathAdjustments), huma.Operation{Summary: "List changes of counters, newest first", Tags: tags}, s.adjustments)
	add(rs, read(PathEvents), huma.Operation{Summary: "List limits that were nearly reached, newest first", Tags: tags}, s.events)
	add(rs, change(PathReset), huma.Operation{Summary: "Forget what was used", Tags: tags}, s.reset)
	add(rs, change(PathRaise), huma.Operation{Summary: "Add to a quota, for its current period", Tags: tags}, s.raise)
}

func (s *Server) limits(ctx context.Context, in *limitsInput) (*limitsOutput, error) {
	f, err := s.filter(ctx, in.Subscription, maxCounters)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.Counters(ctx, f)
	if err != nil {
		return nil, err
	}
	reply := Limits{Now: s.now().UTC(), Cut: len(found) > maxCounters}
	found = found[:min(len(found), maxCounters)]
	names, err := names(ctx, s.store, found, func(c *ledger.Counter) uint32 { return c.Subscription })
	reply.Counters = counters(found, names)
	return &limitsOutput{reply}, err
}

func (s *Server) adjustments(ctx context.Context, in *limitsInput) (*adjustmentsOutput, error) {
	f, err := s.filter(ctx, in.Subscription, maxRecords)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.Adjustments(ctx, f)
	if err != nil {
		return nil, err
	}
	reply, err := s.adjusted(ctx, found)
	return &adjustmentsOutput{reply}, err
}

func (s *Server) events(ctx context.Context, in *limitsInput) (*eventsOutput, error) {
	f, err := s.filter(ctx, in.Subscription, maxRecords)
	if err != nil {
		return nil, err
	}
	found, err := s.ledger.Events(ctx, f)
	if err != nil {
		return nil, err
	}
	reply := Events{Events: []Event{}, Cut: len(found) > maxRecords}
	found = found[:min(len(found), maxRecords)]
	names, err := names(ctx, s.store, found, func(e *ledger.Event) uint32 { return e.Subscription })
	for _, e := range found {
		reply.Events = append(reply.Events, Event{Time: e.Time.UTC(), Counter: e.Counter, Subscription: e.Subscription,
			SubscriptionName: names[e.Subscription], Limit: e.Limit, Percent: e.Percent, Used: e.Used})
	}
	return &eventsOutput{reply}, err
}

// filter finds what is asked about: a subscription by its name or id, all for "". It asks
// for one more than most, which shows whether there are more.
func (s *Server) filter(ctx context.Context, subscription string, most int) (ledger.Filter, error) {
	f := ledger.Filter{All: subscription == "", Max: most + 1}
	if f.All {
		return f, nil
	}
	sub, err := s.store.FindSubscription(ctx, subscription)
	switch {
	case err == nil:
		f.Subscription = sub.ID
		return f, nil
	case !errors.Is(err, store.ErrNotFound):
		return f, err
	}
	if id, err := strconv.ParseUint(subscription, 10, 32); err == nil && s.counted(ctx, uint32(id)) {
		f.Subscription = uint32(id)
		return f, nil
	}
	return f, s.unknownSubscription(ctx, "subscription_unknown", subscription)
}

// counted says whether a subscription that is not there has counters still: it was removed.
// Id 0 has those that are of no subscription.
func (s *Server) counted(ctx context.Context, id uint32) bool {
	found, err := s.ledger.Counters(ctx, ledger.Filter{Subscription: id, Max: 1})
	return err == nil && len(found) > 0
}

// names are the names of the subscriptions of a list, of those that are there.
func names[Item any](ctx context.Context, subscriptions Subscriptions, list []Item, of func(*Item) uint32) (map[uint32]string, error) {
	found := map[uint32]string{0: ""}
	for i := range list {
		id := of(&list[i])
		if _, asked := found[id]; asked {
			continue
		}
		sub, err := subscriptions.FindSubscription(ctx, strconv.FormatUint(uint64(id), 10))
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && sub.ID != id: // another one has the number as its name
			found[id] = ""
		case err != nil:
			return nil, err
		default:
			found[id] = sub.Name
		}
	}
	return found, nil
}

// adjusted are at most maxRecords of done, for people.
func (s *Server) adjusted(ctx context.Context, done []ledger.Adjustment) (Adjustments, error) {
	cut := len(done) > maxRecords
	done = done[:min(len(done), maxRecords)]
	names, err := names(ctx, s.store, done, func(a *ledger.Adjustment) uint32 { return a.Subscription })
	return Adjustments{Adjustments: shownAdjustments(done, names), Cut: cut}, err
}

// reset resets the counters that the message names. Where there is nothing to reset, nothing
// is done, which is no error; a limit that the subscription never met is one.
func (s *Server) reset(ctx context.Context, in *resetInput) (*adjustmentsOutput, error) {
	found, err := s.named(ctx, in.Body.Subscription, in.Body.Limit, in.Body.Key)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return &adjustmentsOutput{Adjustments{Adjustments: []Adjustment{}}}, nil
	}
	ids := make([]int64, len(found))
	for i, c := range found {
		ids[i] = c.ID
	}
	done, err := s.ledger.Reset(ctx, calledBy(ctx).actor, ids)
	if err != nil {
		return nil, err
	}
	return s.told(ctx, done)
}

// raise adds to the current period of one quota.
func (s *Server) raise(ctx context.Context, in *raiseInput) (*adjustmentsOutput, error) {
	r := in.Body
	if r.Units < 1 {
		return nil, bad("units_invalid", "units is at least 1")
	}
	if r.Limit == "" {
		return nil, bad("limit_missing", "limit is the name of a quota")
	}
	found, err := s.named(ctx, r.Subscription, r.Limit, r.Key)
	if err != nil {
		return nil, err
	}
	c, err := raisable(found, r.Limit)
	if err != nil {
		return nil, err
	}
	done, err := s.ledger.Raise(ctx, calledBy(ctx).actor, c.ID, r.Units)
	if err != nil {
		return nil, err
	}
	return s.told(ctx, []ledger.Adjustment{done})
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
		return c, problem(http.StatusConflict, "not_a_quota", "%s", notRaisable(found[0].Limit))
	case 1:
		return c, nil
	}
	return c, problem(http.StatusConflict, "limit_ambiguous", "%d counters have the name %q: name one with its key: %s", len(keys), limit, shown(keys))
}

func notRaisable(l wire.Limit) string {
	if l.Kind == wire.KindConcurrency {
		return fmt.Sprintf("%q limits how many calls are under way at once, and only quotas can be raised: change its amount in the catalog", l.Name)
	}
	window := time.Duration(l.WindowMillis) * time.Millisecond
	return fmt.Sprintf("%q is a rate, and only quotas can be raised: what is used of a rate comes back by itself within %s. "+
		"Reset it, or change its amount in the catalog", l.Name, window)
}

// told answers with what was done, and puts it into the sidecar's log as well.
func (s *Server) told(ctx context.Context, done []ledger.Adjustment) (*adjustmentsOutput, error) {
	for _, one := range done {
		var before ledger.State
		_ = json.Unmarshal([]byte(one.Before), &before) // the ledger's own JSON
		s.log.Info("a limit was adjusted", "action", one.Action, "actor", one.Actor, "limit", before.Limit, "key", before.Key,
			"subscription", one.Subscription, "units", one.Units)
	}
	reply, err := s.adjusted(ctx, done)
	return &adjustmentsOutput{reply}, err
}

// named are the counters of a subscription whose limit has this name and key, empty for any.
func (s *Server) named(ctx context.Context, subscription, limit, key string) ([]ledger.Counter, error) {
	if subscription == "" {
		return nil, bad("subscription_missing", "subscription is a name or an id, and not empty")
	}
	f, err := s.filter(ctx, subscription, maxCounters)
	if err != nil {
		return nil, err
	}
	all, err := s.ledger.Counters(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(all) > maxCounters {
		return nil, problem(http.StatusConflict, "too_many", "%s has more than %d counters", subscription, maxCounters)
	}
	found := slices.DeleteFunc(slices.Clone(all), func(c ledger.Counter) bool {
		return limit != "" && c.Limit.Name != limit || key != "" && c.Limit.Key != key
	})
	if len(found) == 0 && (limit != "" || key != "") {
		return nil, problem(http.StatusNotFound, "limit_unknown", "%s", noCounter(subscription, limit, key, all))
	}
	return found, nil
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
