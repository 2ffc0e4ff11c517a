package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/store"
)

// filter finds what is asked about: a subscription by its name or id, all for "". It asks
// for one more than most, which shows whether there are more.
func (s *Server) filter(ctx context.Context, subscription string, most int) (ledger.Filter, map[uint32]string, error) {
	all, err := s.store.Subscriptions(ctx)
	if err != nil {
		return ledger.Filter{}, nil, err
	}
	names := make(map[uint32]string, len(all))
	for i := range all {
		names[all[i].ID] = all[i].Name
	}
	f := ledger.Filter{All: subscription == "", Max: most + 1}
	if f.All {
		return f, names, nil
	}
	for id, name := range names {
		if name == subscription {
			f.Subscription = id
			return f, names, nil
		}
	}
	if id, err := strconv.ParseUint(subscription, 10, 32); err == nil {
		f.Subscription = uint32(id)
		if _, known := names[f.Subscription]; known || s.counted(ctx, f.Subscription) {
			return f, names, nil
		}
	}
	return f, nil, &Problem{Status: http.StatusNotFound, Code: "subscription_unknown", Detail: unknown(subscription, all)}
}

// counted says whether a subscription that is none of the catalog's has counters still: it
// was removed. Id 0 has those that are of no subscription.
func (s *Server) counted(ctx context.Context, id uint32) bool {
	found, err := s.ledger.Counters(ctx, ledger.Filter{Subscription: id, Max: 1})
	return err == nil && len(found) > 0
}

func unknown(name string, all []store.Subscription) string {
	const most = 60 // characters of it to repeat
	text := fmt.Sprintf("there is no subscription %q", name[:min(len(name), most)])
	if near := similar(name, all); len(near) > 0 {
		return text + "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return text
}

// similar are up to three quoted names that name may have been meant to be: those that hold
// it, or that few letters make of it.
func similar(name string, all []store.Subscription) []string {
	const most = 3
	if len(name) > catalog.MaxSuggestLength {
		return nil
	}
	type candidate struct {
		name  string
		wrong int
	}
	var near []candidate
	for i := range all[:min(len(all), catalog.MaxSuggestCandidates)] {
		wrong, few := catalog.Misspelt(name, all[i].Name)
		if holds(all[i].Name, name) && (!few || wrong > 1) {
			wrong, few = 1, true
		}
		if few {
			near = append(near, candidate{all[i].Name, wrong})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.wrong - b.wrong })
	var quoted []string
	for _, c := range near[:min(len(near), most)] {
		quoted = append(quoted, strconv.Quote(c.name))
	}
	return quoted
}

// holds says whether name is part of other, whatever their case.
func holds(other, name string) bool {
	return len(name) > 1 && len(other) <= catalog.MaxSuggestLength && strings.Contains(strings.ToLower(other), strings.ToLower(name))
}
