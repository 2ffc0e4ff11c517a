package catalog

import (
	"regexp"
	"time"
)

// Limit is a limit of a product, an API or an operation, see wire.Limit. Whose calls it
// counts is not said here: the policies make a counter key of who calls.
type Limit struct {
	Name string `yaml:"name" json:"name"` // [A-Za-z0-9_.-], at most 64; unique in its list
	Kind string `yaml:"kind" json:"kind"` // rate, quota or concurrency
	// Amount is from 0, which lets nothing pass, to MaxAmount.
	Amount int64 `yaml:"amount" json:"amount"`
	// Window, of a rate and of nothing else, is whole seconds from 1s to 24h.
	Window *Duration `yaml:"window" json:"window,omitempty"`
	// Period, of a quota and of nothing else, is whole seconds, at least 1s; 0 is for life.
	Period *Duration `yaml:"period" json:"period,omitempty"`
	Unit   string    `yaml:"unit" json:"unit"`   // calls (default), bytes or rows
	Count  string    `yaml:"count" json:"count"` // all (default) or success
	// Enforce is true unless the file says false: then the limit is only counted.
	Enforce bool `yaml:"enforce" json:"enforce"`
}

// Bounds of a Limit.
const (
	// MaxAmount is the largest integer that a RateLimit field can carry (RFC 9651 section
	// 3.3.1).
	MaxAmount     = 999_999_999_999_999
	MinWindow     = time.Second
	MaxWindow     = 24 * time.Hour
	MaxKeyBytes   = 512 // of a counter key
	maxListLimits = 10  // limits of one product, API or operation
)

// LimitKinds, LimitUnits and LimitCounts are the words that Kind, Unit and Count take.
var (
	LimitKinds  = []string{"rate", "quota", "concurrency"}
	LimitUnits  = []string{"calls", "bytes", "rows"}
	LimitCounts = []string{"all", "success"}
)

// Fault is one thing wrong with a limit.
type Fault struct {
	Field   string // as in a file: "window"
	Message string // what would be right; it quotes no value
}

var limitName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Faults is what is wrong with a limit whose Kind, Unit and Count are words of their lists.
// It is one rule for what a file declares and what a policy returns.
func (l *Limit) Faults() []Fault {
	var faults []Fault
	fault := func(wrong bool, field, message string) {
		if wrong {
			faults = append(faults, Fault{field, message})
		}
	}
	fault(!limitName.MatchString(l.Name), "name", "must be 1 to 64 letters, digits, dots, underscores and hyphens")
	fault(l.Amount < 0 || l.Amount > MaxAmount, "amount", "must be from 0 to 999999999999999")
	switch l.Kind {
	case "rate":
		fault(l.Window == nil, "window", "is missing; every rate needs one, like window: 1m")
		fault(l.Window != nil && !l.Window.within(MinWindow, MaxWindow), "window", "must be whole seconds from 1s to 24h")
		fault(l.Period != nil, "period", "belongs to a quota; a rate has a window, like window: 1m")
	case "quota":
		fault(l.Period == nil, "period", "is missing; every quota needs one, like period: 7d, or period: 0 for life")
		fault(l.Period != nil && *l.Period != 0 && !l.Period.within(time.Second, 1<<63-1), "period", "must be whole seconds, at least 1s, or 0 for life")
		fault(l.Window != nil, "window", "belongs to a rate; a quota has a period, like period: 7d")
	case "concurrency":
		const none = "does not belong to concurrency, which counts the calls that are in flight"
		fault(l.Window != nil, "window", none)
		fault(l.Period != nil, "period", none)
		fault(l.Unit != "calls", "unit", "must be calls: concurrency counts the calls that are in flight")
	}
	fault(l.Count == "success" && (l.Kind == "concurrency" || l.Unit != "calls"), "count", "success is only for rates and quotas of calls")
	return faults
}
