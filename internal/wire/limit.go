package wire

// Limit is how much of something may be used. It is named by Name and Key, its counter.
type Limit struct {
	Name string    `json:"name"` // [A-Za-z0-9_.-]{1,64}; stands in RateLimit fields
	Key  string    `json:"key"`  // whose: "subscription:42"
	Kind LimitKind `json:"kind"`
	Unit LimitUnit `json:"unit"`
	// Amount is at least 0; 0 lets nothing pass.
	Amount int64 `json:"amount"`
	// WindowMillis is, of a rate, the length of any window in which at most Amount is
	// spent, at least 1000; of a quota, its period, 0: for life. Of concurrency 0.
	WindowMillis int64 `json:"window_millis,omitempty"`
	// StartMillis is the Unix time at which the first period of a quota begins.
	StartMillis int64 `json:"start_millis,omitempty"`
	// SuccessOnly gives a unit back when the response's status is 400 or above.
	SuccessOnly bool `json:"success_only,omitempty"`
	// ReportOnly counts, and refuses nothing.
	ReportOnly bool `json:"report_only,omitempty"`
}

// LimitKind tells the three kinds of limits apart.
type LimitKind string

// The kinds of limits.
const (
	// KindRate is at most Amount in any window.
	KindRate LimitKind = "rate"
	// KindQuota is at most Amount in each of consecutive periods.
	KindQuota LimitKind = "quota"
	// KindConcurrency is at most Amount at once.
	KindConcurrency LimitKind = "concurrency"
)

// Refusal is how a request is answered for which a limit of this kind leaves no room; the
// reason is empty for a kind that this build does not know.
func (k LimitKind) Refusal() (status int, reason string) {
	switch k {
	case KindRate:
		return 429, "rate_limited"
	case KindQuota:
		return 403, "quota_exceeded"
	case KindConcurrency:
		return 429, "concurrency_limited"
	}
	return 403, ""
}

// LimitUnit is what a limit counts.
type LimitUnit string

// The units of limits. Calls are charged before a request passes, the others after its
// response: they may be overdrawn by what is in flight.
const (
	UnitCalls LimitUnit = "calls"
	// UnitBytes counts the bytes of requests and responses, heads and bodies.
	UnitBytes LimitUnit = "bytes"
	// UnitRows counts the rows that AzureML scored, as its response has them.
	UnitRows LimitUnit = "rows"
)

// Deferred says whether the limit is charged after the fact, so that a lease of it may be
// overdrawn: any unit but calls, and what is only reported.
func (l *Limit) Deferred() bool { return l.Unit != UnitCalls || l.ReportOnly }

// PermitMax is the largest amount of a limit in calls that is leased one call at a time.
const PermitMax = 256

// Permit says whether a lease of the limit is for one request: one call, or one slot.
func (l *Limit) Permit() bool {
	return l.Kind == KindConcurrency || !l.Deferred() && l.Amount <= PermitMax
}

// Known says whether this build knows the limit's kind and unit.
func (l *Limit) Known() bool {
	_, reason := l.Kind.Refusal()
	return reason != "" && (l.Unit == UnitCalls || l.Unit == UnitBytes || l.Unit == UnitRows)
}

// Take asks for a lease on each limit of the decision that Held does not name.
type Take struct {
	ID uint64 `json:"id"` // unique in its VM, never 0
	// Waiting: a request waits for it, so that each lease holds at least one unit. Else
	// the leases are for requests to come, and there may be none.
	Waiting bool `json:"waiting,omitempty"`
	// Held names counters of which the worker holds a lease to spend from.
	Held []Demand `json:"held,omitempty"`
	// Wanted is how many units the worker expects to spend soon, beyond what waits.
	Wanted []Demand `json:"wanted,omitempty"`
}

// Demand names a counter, and units of it.
type Demand struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Units int64  `json:"units,omitempty"`
}

// Lease is a part of a limit that one worker may spend.
type Lease struct {
	Limit   int   `json:"limit"`   // index into Answer.Limits
	Counter int64 `json:"counter"` // the ledger's id, for Settlement
	Units   int64 `json:"units"`
	// LifeMillis is how long after the dispatch of the ask it may be spent.
	LifeMillis int64 `json:"life_millis"`
	// Left is what is left of the limit beside this lease; below 0 when overdrawn.
	Left int64 `json:"left"`
	// ResetMillis is when more will be left: of a rate when its oldest charge ends, of a
	// quota its period; -1: never, or not known.
	ResetMillis int64 `json:"reset_millis"`
}

// Exhausted is why nothing was granted.
type Exhausted struct {
	Limit int `json:"limit"` // index into Answer.Limits: the one that takes longest
	// RetryMillis is when there will be room for one request; -1: never.
	RetryMillis int64 `json:"retry_millis"`
	// Leased: units are out in open leases, which may come back before that.
	Leased bool `json:"leased,omitempty"`
}

// Settlement closes a lease, or lengthens it.
type Settlement struct {
	Take    uint64 `json:"take"` // the id of the take that was granted it
	Counter int64  `json:"counter"`
	// Spent is at most the lease's units, but where the limit is Deferred.
	Spent int64 `json:"spent"`
	// AgeMillis is the time from the take's dispatch to the last spending, rounded up, by
	// the worker's monotonic clock.
	AgeMillis int64 `json:"age_millis"`
	// Extend says that the lease is not spent from any more, but what it was spent on is
	// not over: from now on it holds Spent units. It stays open; one of concurrency, whatever
	// is Spent, and one of a limit that is Deferred for another life from now on.
	Extend bool `json:"extend,omitempty"`
}
