package admin

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// similar are up to three quoted names that name may have been meant to be: those that hold
// it, or that few letters make of it.
func similar(name string, names []string) []string {
	const most = 3
	if len(name) > catalog.MaxSuggestLength {
		return nil
	}
	type candidate struct {
		name  string
		wrong int
	}
	var near []candidate
	for _, other := range names[:min(len(names), catalog.MaxSuggestCandidates)] {
		wrong, few := catalog.Misspelt(name, other)
		if holds(other, name) && (!few || wrong > 1) {
			wrong, few = 1, true
		}
		if few {
			near = append(near, candidate{other, wrong})
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
