package usage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// LimitMax is the most rows that a Query may ask for, and DefaultLimit what it gets when it
// does not say.
const (
	DefaultLimit = 1000
	LimitMax     = 100_000
)

// Query asks what was called from Since on and before Until.
type Query struct {
	// Since and Until are rounded outwards to what the rows have; see Report. Since is
	// when the oldest row began unless given, Until is now.
	Since, Until time.Time
	// Per is the time of a row of the answer; empty: one for the whole span.
	Per Grain
	// By are the dimensions that have rows of their own; the others are added up.
	By []Dimension

	// Subscription (its name, or its id), and the names below, leave only these; empty: all.
	// A name means the subscription that has it, and where none has it any more those that had.
	Subscription string
	Developer    string // an e-mail address
	Product      string
	API          string
	Operation    string
	Outcome      wire.CallOutcome

	// Limit is how many rows are answered, those with most calls of the earliest time
	// first; DefaultLimit unless given, at most LimitMax.
	Limit int
}

// Report answers a Query.
type Report struct {
	// Since and Until are what the rows cover, and Grain what they were made of: the
	// coarsest that fits what was asked for, as far as it is still kept.
	Since time.Time   `json:"since"`
	Until time.Time   `json:"until"`
	Grain Grain       `json:"grain"`
	Per   Grain       `json:"per,omitempty"`
	By    []Dimension `json:"by"`
	Rows  []Row       `json:"rows"`
	// More says that there are more rows than Query.Limit.
	More bool `json:"more,omitempty"`
}

// Row adds up calls. A dimension that the query does not name is empty, and so is the name
// of what did not match: the API of a request to none, the subscription of one without a key.
type Row struct {
	Time           time.Time        `json:"time,omitzero"` // when it begins; zero: Report.Since
	Subscription   string           `json:"subscription,omitempty"`
	SubscriptionID uint32           `json:"subscription_id,omitempty"`
	Developer      string           `json:"developer,omitempty"`
	Product        string           `json:"product,omitempty"`
	API            string           `json:"api,omitempty"`
	Operation      string           `json:"operation,omitempty"`
	Outcome        wire.CallOutcome `json:"outcome,omitempty"`

	Calls         int64 `json:"calls"`
	Success       int64 `json:"success"`
	Blocked       int64 `json:"blocked"`
	Failed        int64 `json:"failed"`
	Other         int64 `json:"other"`
	RequestBytes  int64 `json:"request_bytes"`
	ResponseBytes int64 `json:"response_bytes"`
	Total         Times `json:"total"`
	Backend       Times `json:"backend"`
}

// Times says how long calls took. Percentiles are estimated, see docs/usage.md; the rest is
// exact, to the microsecond.
type Times struct {
	Calls         int64 `json:"calls"` // that were measured
	AverageMicros int64 `json:"average_micros"`
	MinMicros     int64 `json:"min_micros"`
	MaxMicros     int64 `json:"max_micros"`
	P50Micros     int64 `json:"p50_micros"`
	P95Micros     int64 `json:"p95_micros"`
	P99Micros     int64 `json:"p99_micros"`
}

// QueryError says what is wrong with a Query. Field is as in the JSON of the admin API: since,
// until, per, by, outcome or limit.
type QueryError struct{ Field, Text string }

func (e *QueryError) Error() string { return e.Field + " " + e.Text }

// complete puts in what the query left to us, and checks it.
func (q *Query) complete(now time.Time) error {
	if q.Until.IsZero() || q.Until.After(now) {
		q.Until = now
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	q.By = slices.Clone(q.By)
	slices.SortFunc(q.By, func(a, b Dimension) int { return slices.Index(Dimensions, a) - slices.Index(Dimensions, b) })
	q.By = slices.Compact(q.By)
	switch {
	case q.Per != "" && q.Per.length() == 0:
		return &QueryError{"per", "is minute, hour or day"}
	case slices.ContainsFunc(q.By, func(d Dimension) bool { return !slices.Contains(Dimensions, d) }):
		return &QueryError{"by", "names a dimension that there is not: there are " + join(Dimensions)}
	case q.Outcome != "" && !slices.Contains(outcomes, q.Outcome):
		return &QueryError{"outcome", "is one of " + join(outcomes)}
	case q.Limit < 0 || q.Limit > LimitMax:
		return &QueryError{"limit", fmt.Sprintf("is from 1 to %d", LimitMax)}
	case q.Since.After(q.Until):
		return &QueryError{"since", "is after until, or in the future"}
	}
	return nil
}

var outcomes = []wire.CallOutcome{wire.CallSuccess, wire.CallBlocked, wire.CallFailed, wire.CallOther}

func join[S ~string](words []S) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}
