package catalog

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// String is d as Go writes it: "1m30s". It has no days, so that everything that reads Go's
// durations reads it, time.parse_duration_ns of Rego among them.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText is how d stands in JSON and YAML.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes, and what ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	length, err := ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("reading duration: %w", err)
	}
	*d = length
	return nil
}

const day = 24 * time.Hour

var errDays = errors.New("days are a whole number before all else, like 7d or 1d12h")

// ParseDuration reads a duration as Go writes it, or with whole days of 24 hours before the
// rest: "90s", "7d", "1d12h". It fails with what neither is, and beyond 292 years.
func ParseDuration(text string) (Duration, error) {
	unsigned := strings.TrimLeft(text, "+-")
	days, rest, hasDays := strings.Cut(unsigned, "d")
	if !hasDays {
		length, err := time.ParseDuration(text)
		return Duration(length), err
	}
	count, err := strconv.ParseUint(days, 10, 32)
	signed := strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-")
	if err != nil || len(text)-len(unsigned) > 1 || signed || rest == "0" {
		return 0, errDays
	}
	length := time.Duration(0)
	if rest != "" {
		if length, err = time.ParseDuration(rest); err != nil {
			return 0, errDays
		}
	}
	if int64(count) > (math.MaxInt64-int64(length))/int64(day) {
		return 0, errors.New("longer than 292 years")
	}
	length += time.Duration(count) * day
	if strings.HasPrefix(text, "-") {
		length = -length
	}
	return Duration(length), nil
}

// within says whether d is whole seconds from shortest to longest.
func (d Duration) within(shortest, longest time.Duration) bool {
	return d >= Duration(shortest) && d <= Duration(longest) && d%Duration(time.Second) == 0
}
