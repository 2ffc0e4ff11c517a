package policy

import (
	"context"
	"errors"
	"slices"
)

// Check finds the mistakes in the policies of dir as a gateway would load them, with the
// embedded ones: what does not compile, tests that fail, fields that no input has. Where
// there are none, it warns of what keeps decisions from being cached, and of negations
// that a missing field escapes. Sorted by place.
func Check(ctx context.Context, dir string) []Mistake {
	s, err := read(dir, "")
	if err != nil {
		return asMistakes(err, dir)
	}
	p, err := compile(ctx, s)
	if err != nil {
		return asMistakes(err, dir)
	}
	warnings := slices.Clone(p.pitfalls)
	for _, use := range append(p.analysis.Whole, p.analysis.Unrepeatable...) {
		warnings = append(warnings, Mistake{File: use.File, Line: use.Line, Message: use.advice(), Warning: true})
	}
	return warnings.sorted()
}

// firstMistake is what one log record can carry of err.
func firstMistake(err error) (Mistake, int) {
	var all *Mistakes
	if errors.As(err, &all) && len(*all) > 0 {
		return (*all)[0], len(*all)
	}
	return Mistake{Message: err.Error()}, 1
}
