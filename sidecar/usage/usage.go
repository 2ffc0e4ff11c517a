// Package usage keeps what was called, by whom and with what outcome, for people: it adds up
// the rows that filters report per minute, hour and day, forgets them when they are old, and
// answers questions about them. It bills nothing; the ledger does.
//
// Days and hours are those of UTC.
package usage

import "time"

// Grain is the length of time that a row covers.
type Grain string

// The grains. The empty one is a whole span.
const (
	Minute Grain = "minute"
	Hour   Grain = "hour"
	Day    Grain = "day"
)

// How long rows are kept.
const (
	KeepMinutes = 2 * 24 * time.Hour
	KeepHours   = 90 * 24 * time.Hour
	KeepDays    = 3 * 365 * 24 * time.Hour
)

// table is where the rows of a grain are, from the finest on.
type table struct {
	grain  Grain
	name   string
	length time.Duration
	keep   time.Duration
	// slice is how much of the oldest Prune takes away at once.
	slice time.Duration
}

var tables = []table{
	{Minute, "usage_minute", time.Minute, KeepMinutes, time.Hour},
	{Hour, "usage_hour", time.Hour, KeepHours, 24 * time.Hour},
	{Day, "usage_day", 24 * time.Hour, KeepDays, 30 * 24 * time.Hour},
}

// length is 0 for a grain that there is not.
func (g Grain) length() time.Duration {
	for _, t := range tables {
		if t.grain == g {
			return t.length
		}
	}
	return 0
}

func (t table) seconds() int64 { return int64(t.length / time.Second) }

// Dimension is what rows are told apart by.
type Dimension string

// The dimensions.
const (
	BySubscription Dimension = "subscription"
	ByDeveloper    Dimension = "developer"
	ByProduct      Dimension = "product"
	ByAPI          Dimension = "api"
	ByOperation    Dimension = "operation"
	ByOutcome      Dimension = "outcome"
)

// Dimensions are all of them, in the order of columns.
var Dimensions = []Dimension{BySubscription, ByDeveloper, ByProduct, ByAPI, ByOperation, ByOutcome}
