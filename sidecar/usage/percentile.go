package usage

import (
	"math"

	"github.com/tollgate/tollgate/internal/wire"
)

func (h *histogram) times() Times {
	calls := h.calls()
	if calls == 0 {
		return Times{}
	}
	return Times{
		Calls: calls, AverageMicros: h.sum / calls, MinMicros: h.min, MaxMicros: h.max,
		P50Micros: h.percentile(0.50), P95Micros: h.percentile(0.95), P99Micros: h.percentile(0.99),
	}
}

// percentile estimates the duration that a part of the calls does not exceed: the calls of a
// bucket count as spread evenly over it, or over that part of it in which there are calls at
// all, between the minimum and the maximum. It is in the bucket of the exact one.
func (h *histogram) percentile(part float64) int64 {
	rank := max(1, int64(math.Ceil(part*float64(h.calls()))))
	var below int64 // calls in the buckets before
	var low int64   // the lower end of the bucket
	for i, n := range h.counts {
		high := h.max
		if bound, ok := wire.UsageBound(i); ok {
			high = min(high, bound.Microseconds())
		}
		if below+n >= rank {
			low = max(low, h.min)
			return low + int64(math.Round(float64(high-low)*float64(rank-below)/float64(n)))
		}
		below, low = below+n, high
	}
	return h.max
}
