package wire

import "time"

// UsageReport carries what a VM saw since its last one. The sidecar takes each
// (VM, Sequence) once.
type UsageReport struct {
	Version  int    `json:"version"`
	VM       string `json:"vm"`
	Sequence uint64 `json:"sequence"`
	// Store is the one that the subscriptions below are of; another's is answered with
	// 409. Empty where there is no subscription.
	Store string `json:"store,omitempty"`
	// Rows are calls that ended, added up. No two have the same minute, subscription,
	// names and outcome.
	Rows []UsageRow `json:"rows,omitempty"`
	// UsageDropped counts calls that are in no report: there were too many rows, or the
	// sidecar refused what held them.
	UsageDropped int64 `json:"usage_dropped,omitempty"`
	// Keys are the keys that calls came with, each once.
	Keys    []KeyUse `json:"keys,omitempty"`
	Denials []Denial `json:"denials,omitempty"`
	// DenialsDropped counts denials beyond what one report may carry.
	DenialsDropped int `json:"denials_dropped,omitempty"`
}

// Bounds of a UsageReport. A filter keeps below them by far.
const (
	UsageRowsMax = 4096 // rows and keys each
	UsageNameMax = 512  // bytes of a name: 128 characters
)

// UsageRow is the calls of one minute that are alike.
type UsageRow struct {
	// Minute in which they ended, in Unix minutes: 60 s each since 1970.
	Minute       int64  `json:"minute"`
	Subscription uint32 `json:"subscription,omitempty"` // 0: no known key came with them
	// Product, API and Operation are names of the catalog, as far as the calls matched.
	Product   string `json:"product,omitempty"`
	API       string `json:"api,omitempty"`
	Operation string `json:"operation,omitempty"`
	// Outcome says what the client got.
	Outcome CallOutcome `json:"outcome"`
	Calls   int64       `json:"calls"` // at least 1
	// RequestBytes and ResponseBytes are bodies and heads, of a head its names and values,
	// as it left the filter.
	RequestBytes  int64 `json:"request_bytes,omitempty"`
	ResponseBytes int64 `json:"response_bytes,omitempty"`
	// Total is from the head of the request to the end of the stream.
	Total UsageTimes `json:"total,omitzero"`
	// Backend is from forwarding the request to the head of the response. Calls that were
	// not forwarded, or got no response, are not in it.
	Backend UsageTimes `json:"backend,omitzero"`
}

// UsageTimes is a histogram of durations.
type UsageTimes struct {
	// Counts are the numbers of calls per bucket of UsageBounds; zeros at the end are left
	// out.
	Counts    []int64 `json:"counts,omitempty"`
	SumMicros int64   `json:"sum_micros,omitempty"`
	MinMicros int64   `json:"min_micros,omitempty"`
	MaxMicros int64   `json:"max_micros,omitempty"`
}

// usageBounds are the upper ends of the buckets, inclusive.
var usageBounds = [...]time.Duration{
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 1 * time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// UsageBuckets is the number of buckets of a histogram. The last one has no upper end.
const UsageBuckets = len(usageBounds) + 1

// UsageBound is the upper end of a bucket, inclusive; false for the last one, which has none.
func UsageBound(bucket int) (time.Duration, bool) {
	if bucket >= len(usageBounds) {
		return 0, false
	}
	return usageBounds[bucket], true
}

// UsageBucket is the bucket of a duration.
func UsageBucket(d time.Duration) int {
	for i, bound := range usageBounds {
		if d <= bound {
			return i
		}
	}
	return len(usageBounds)
}

// CallOutcome groups what clients got, as API Management's reports do.
type CallOutcome string

// The outcomes.
const (
	CallSuccess CallOutcome = "success" // up to 301, 304 and 307
	CallBlocked CallOutcome = "blocked" // 401, 403 and 429
	CallFailed  CallOutcome = "failed"  // 400 and from 500 on
	CallOther   CallOutcome = "other"   // the rest, and calls without a response
)

// OutcomeOf is the outcome of a status; 0 is that of a call without a response.
func OutcomeOf(status int) CallOutcome {
	switch {
	case status == 401 || status == 403 || status == 429:
		return CallBlocked
	case status == 400 || status >= 500:
		return CallFailed
	case status >= 100 && status <= 301 || status == 304 || status == 307:
		return CallSuccess
	}
	return CallOther
}

// KeyUse says when a call last came with a key.
type KeyUse struct {
	Subscription uint32 `json:"subscription"`
	Slot         Slot   `json:"slot"`
	// Expires is the key's own, see KeyRecord.KeyExpires: it tells the key of a slot from
	// those that are on their way out of it.
	Expires    uint32 `json:"expires,omitempty"`
	TimeMillis int64  `json:"time_millis"`
}

// Denial is one request that the filter answered itself, for tollgate explain.
type Denial struct {
	Call         string `json:"call"`
	TimeMillis   int64  `json:"time_millis"`
	Status       int    `json:"status"`
	Reason       string `json:"reason"`
	Decision     string `json:"decision,omitempty"` // where a policy denied
	Subscription uint32 `json:"subscription,omitempty"`
	API          string `json:"api,omitempty"` // its name
	Operation    string `json:"operation,omitempty"`
	Limit        string `json:"limit,omitempty"` // the name of the limit that was exhausted
}
