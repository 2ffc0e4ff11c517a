package policy

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Rule is a rule that denied, as its author finds it.
type Rule struct {
	Path   string `json:"path"` // data.tollgate.access.deny
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
	Title  string `json:"title,omitempty"` // from the rule's METADATA
}

// Explain returns the rules that deny in, sorted by file and line; none when it is
// allowed. It evaluates each rule that may deny once more, so it is for denials only. It
// fails like Decide; of the input nothing is in its result.
//
// Where an author's decision denies without data.tollgate.access.deny, the decision
// itself is the rule.
func (e *Engine) Explain(ctx context.Context, in Input) ([]Rule, error) {
	s := e.current.Load()
	if in.Policy != "" && in.Policy != s.wire.Revision {
		return nil, ErrStale
	}
	var denied []Rule
	for _, rule := range s.compiler.GetRulesExact(ast.MustParseRef("data.tollgate.access.deny")) {
		reasons, err := s.reasons(ctx, rule, in)
		if err != nil {
			return nil, err
		}
		for _, reason := range reasons {
			denied = append(denied, s.describe(rule, reason))
		}
	}
	if len(denied) == 0 {
		value, err := s.evaluate(ctx, in)
		if err != nil {
			return nil, err
		}
		decision, err := parseDecision(value)
		if err != nil || decision.Allow {
			return nil, err
		}
		for _, rule := range s.compiler.GetRulesExact(ast.MustParseRef("data.tollgate.decision")) {
			denied = append(denied, s.describe(rule, strings.Join(decision.Reasons, ", ")))
		}
	}
	slices.SortFunc(denied, func(x, y Rule) int {
		return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), strings.Compare(x.Reason, y.Reason))
	})
	return slices.Compact(denied), nil
}

// reasons are what one rule contributes for in: its body is evaluated with its key bound
// to a variable of ours.
func (s *set) reasons(ctx context.Context, rule *ast.Rule, in Input) ([]string, error) {
	const key = ast.Var("explained")
	body := rule.Body.Copy()
	body.Append(ast.Equality.Expr(ast.NewTerm(key), rule.Head.Key))
	results, err := s.run(ctx, body, in)
	if err != nil {
		return nil, err
	}
	var reasons []string
	for _, result := range results {
		value := result[key].Value
		if o, ok := value.(ast.Object); ok {
			if reason := o.Get(ast.InternedTerm("reason")); reason != nil {
				value = reason.Value
			}
		}
		if reason, _ := value.(ast.String); isReason(string(reason)) {
			reasons = append(reasons, string(reason))
		}
	}
	return reasons, nil
}

func (s *set) describe(rule *ast.Rule, reason string) Rule {
	r := Rule{Path: rule.Ref().GroundPrefix().String(), Reason: reason}
	if at := rule.Loc(); at != nil {
		r.File, r.Line = at.File, at.Row
	}
	for _, annotations := range s.compiler.GetAnnotationSet().GetRuleScope(rule) {
		r.Title = cmp.Or(r.Title, annotations.Title)
	}
	return r
}
