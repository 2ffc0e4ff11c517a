package policy

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
)

// maxLimits is how many limits may apply to one request; the catalog's own are fewer.
const maxLimits = 32

// parseLimits checks the limits of a decision, in their order. One that stands twice counts
// once; two that share a counter, its name and key, must be the same.
func parseLimits(value ast.Value) ([]wire.Limit, error) {
	terms, err := elements(value, "decision.limits")
	if err != nil || len(terms) == 0 {
		return nil, err
	}
	limits := make([]wire.Limit, 0, len(terms))
	for _, term := range terms {
		l, err := parseLimit(term.Value)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(limits, func(other wire.Limit) bool { return other.Name == l.Name && other.Key == l.Key })
		switch {
		case i < 0:
			limits = append(limits, l)
		case limits[i] != l:
			return nil, typeError("two limits of decision.limits have one name and key, and differ")
		}
		if len(limits) > maxLimits {
			return nil, typeError("decision.limits has more than %d limits", maxLimits)
		}
	}
	return limits, nil
}

// parseLimit reads a limit as docs/policies.md has it. What the catalog would refuse is
// refused here, too.
func parseLimit(value ast.Value) (wire.Limit, error) {
	d := open(value, "a limit of decision.limits")
	name := taken[ast.String](d, "name", "a string")
	key := taken[ast.String](d, "key", "a string")
	kind := taken[ast.String](d, "kind", "a string")
	amount := taken[ast.Number](d, "amount", "a number")
	window, period := d.optional("window"), d.optional("period")
	unit := orElse(d, "unit", "a string", ast.String(catalog.DefaultUnit))
	count := orElse(d, "count", "a string", ast.String(catalog.DefaultCount))
	enforce := orElse(d, "enforce", "a boolean", ast.Boolean(true))
	start := d.optional("start")
	if err := d.close(); err != nil {
		return wire.Limit{}, err
	}
	declared := catalog.Limit{Name: string(name), Kind: string(kind), Unit: string(unit), Count: string(count), Enforce: bool(enforce)}
	var err error
	if declared.Amount, err = parseAmount(amount); err != nil {
		return wire.Limit{}, err
	}
	if declared.Window, err = parseLength(window, "window"); err != nil {
		return wire.Limit{}, err
	}
	if declared.Period, err = parseLength(period, "period"); err != nil {
		return wire.Limit{}, err
	}
	l, err := wireLimit(&declared, string(key))
	if err != nil {
		return wire.Limit{}, err
	}
	l.StartMillis, err = parseStart(start, l.Kind)
	return l, err
}

func parseAmount(value ast.Number) (int64, error) {
	amount, ok := value.Int64()
	if !ok {
		return 0, typeError("the amount of a limit is no whole number from 0 to %d", int64(catalog.MaxAmount))
	}
	return amount, nil
}

// parseLength reads a window or period; nil is none.
func parseLength(value ast.Value, field string) (*catalog.Duration, error) {
	if value == nil {
		return nil, nil
	}
	s, ok := value.(ast.String)
	length, err := catalog.ParseDuration(string(s))
	if !ok || err != nil {
		return nil, typeError(`the %s of a limit is no duration like "1m" or "7d"`, field)
	}
	return &length, nil
}

// wireLimit checks l and key, and is the limit but for its start.
func wireLimit(l *catalog.Limit, key string) (wire.Limit, error) {
	switch {
	case !slices.Contains(catalog.LimitKinds, l.Kind):
		return wire.Limit{}, typeError("the kind of a limit is none of %s", strings.Join(catalog.LimitKinds, ", "))
	case !slices.Contains(catalog.LimitUnits, l.Unit):
		return wire.Limit{}, typeError("the unit of a limit is none of %s", strings.Join(catalog.LimitUnits, ", "))
	case !slices.Contains(catalog.LimitCounts, l.Count):
		return wire.Limit{}, typeError("the count of a limit is none of %s", strings.Join(catalog.LimitCounts, ", "))
	case !isKey(key):
		return wire.Limit{}, typeError("the key of a limit is not 1 to %d bytes of printable characters", catalog.MaxKeyBytes)
	}
	for _, fault := range l.Faults() {
		return wire.Limit{}, typeError("the %s of a limit: %s", fault.Field, fault.Message)
	}
	limit := wire.Limit{
		Name: l.Name, Key: key, Kind: wire.LimitKind(l.Kind), Unit: wire.LimitUnit(l.Unit), Amount: l.Amount,
		SuccessOnly: l.Count == "success", ReportOnly: !l.Enforce,
	}
	for _, length := range []*catalog.Duration{l.Window, l.Period} {
		if length != nil {
			limit.WindowMillis = time.Duration(*length).Milliseconds()
		}
	}
	return limit, nil
}

// isKey: a counter key stands in the store, in logs and on people's terminals.
func isKey(key string) bool {
	return key != "" && len(key) <= catalog.MaxKeyBytes && utf8.ValidString(key) &&
		!strings.ContainsFunc(key, func(c rune) bool { return !unicode.IsPrint(c) })
}

// parseStart is when the first period of a quota begins; null and none are the epoch.
func parseStart(value ast.Value, kind wire.LimitKind) (int64, error) {
	if value == nil {
		return 0, nil
	}
	start, err := parseInstant(value, "the start of a limit")
	if _, isNull := value.(ast.Null); err != nil || isNull {
		return 0, err
	}
	if kind != wire.KindQuota {
		return 0, typeError("the start of a limit: only a quota has one")
	}
	return start.UnixMilli(), nil
}
