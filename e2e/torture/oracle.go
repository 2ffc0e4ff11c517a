// Package torture kills real gateways again and again while clients call as fast as they
// are let, and looks from outside for one call too many.
package torture

import (
	"cmp"
	"slices"
	"time"
)

// Call is a call that was let pass, on a clock that all calls share. The gateway let it pass
// at some moment between the client's sending and the backend's receiving; at which of them
// is not known from outside.
type Call struct{ Sent, Arrived time.Duration }

// Most is the largest number of calls that were let pass within one window for certain:
// from the first one's Sent to the last one's Arrived is less than the window. It sorts
// calls by Sent.
func Most(calls []Call, window time.Duration) int {
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.Sent, b.Sent) })
	most := 0
	for i := range calls {
		end := calls[i].Sent + window
		within := 0
		for j := i; j < len(calls) && calls[j].Sent < end; j++ {
			if calls[j].Arrived < end {
				within++
			}
		}
		most = max(most, within)
	}
	return most
}
