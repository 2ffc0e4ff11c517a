package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// listsAsValues finds comparisons of a header or a query parameter, which are lists of values,
// with a single value: they are never equal, so a denial behind one never denies.
func listsAsValues(modules map[string]*ast.Module) Mistakes {
	var found Mistakes
	for _, m := range modules {
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if !e.IsCall() || len(e.Operands()) != 2 || !comparisons[e.Operator().String()] {
				return false
			}
			for i, operand := range e.Operands() {
				ref, ok := operand.Value.(ast.Ref)
				if !ok || !isList(ref) || !ast.IsScalar(e.Operand(1-i).Value) {
					continue
				}
				found = append(found, Mistake{
					File: e.Location.File, Line: e.Location.Row,
					Message: fmt.Sprintf("%s is a list of values: compare %[1]s[0], or ask whether a value is in it", ref),
				})
			}
			return false
		})
	}
	return found
}

// comparisons are the builtins behind =, == and their kin.
var comparisons = map[string]bool{"eq": true, "equal": true, "neq": true, "lt": true, "lte": true, "gt": true, "gte": true}

// isList: input.request.headers.x or input.request.query.x, and no deeper.
func isList(ref ast.Ref) bool {
	if len(ref) != 4 || !ref.HasPrefix(ast.InputRootRef) || text(ref, 1) != "request" || !ref.IsGround() {
		return false
	}
	return text(ref, 2) == "headers" || text(ref, 2) == "query"
}

// undefinedBehindNot finds negated calls with an argument that a request may lack. OPA
// evaluates arguments before it negates: where one is undefined, so is the rule, and
// `deny ... if not "beta" in input.request.query.channel` lets pass who sends no channel.
func undefinedBehindNot(modules map[string]*ast.Module) Mistakes {
	var found Mistakes
	for _, m := range modules {
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if !e.Negated || !e.IsCall() {
				return false
			}
			for _, operand := range e.Operands() {
				if _, isRef := operand.Value.(ast.Ref); isRef && equalities[e.Operator().String()] {
					continue // compared in place
				}
				ast.WalkRefs(operand, func(ref ast.Ref) bool {
					if mayLack(ref) {
						found = append(found, Mistake{
							File: e.Location.File, Line: e.Location.Row, Warning: true,
							Message: fmt.Sprintf("without %s the whole rule is undefined, `not` or not: give the condition behind `not` a rule of its own", ref),
						})
					}
					return false
				})
			}
			return false
		})
	}
	return found
}

var equalities = map[string]bool{"eq": true, "equal": true}

// mayLack: members that some requests and subscriptions have and others do not.
func mayLack(ref ast.Ref) bool {
	if len(ref) < 4 || !ref.HasPrefix(ast.InputRootRef) {
		return false
	}
	switch text(ref, 1) + " " + text(ref, 2) {
	case "request headers", "request query", "request params", "request jwt", "subscription attributes":
		return true
	}
	return false
}
