package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"
	"github.com/open-policy-agent/opa/v1/rego"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/sidecar/policy"
)

// Invariant I2 of the analysis itself: two inputs that agree at every prefix get the same
// decision, whatever the policy. Inputs here are arbitrary documents, deeper than what
// today's wire carries, for aliases are only dangerous where there is depth.

// documentPaths lead to the leaves of the documents.
var documentPaths = [][]string{
	{"request", "method"},
	{"request", "path"},
	{"request", "headers", "x", "0"},
	{"request", "headers", "x", "1", "q"},
	{"request", "query", "a", "0"},
	{"request", "jwt", "suspended"},
	{"request", "jwt", "groups", "0"},
	{"request", "jwt", "a", "b"},
	{"resource", "locked"},
	{"resource", "owner", "a"},
}

// documentCase is a policy and documents to try it on.
type documentCase struct {
	rules     string
	documents []any
}

func drawDocumentCase(t *rapid.T) documentCase {
	g := generator{t: t, paths: documentPaths}
	c := documentCase{rules: g.rules()}
	base := drawDocument(t)
	c.documents = append(c.documents, base)
	for range 9 {
		c.documents = append(c.documents, change(t, base))
	}
	return c
}

func drawDocument(t *rapid.T) any {
	return map[string]any{
		"request": map[string]any{
			"method": drawScalar(t), "path": drawScalar(t),
			"headers": map[string]any{"x": []any{drawScalar(t), map[string]any{"q": drawScalar(t)}}},
			"query":   map[string]any{"a": []any{drawScalar(t)}},
			"jwt":     map[string]any{"suspended": drawScalar(t), "groups": []any{drawScalar(t)}, "a": map[string]any{"b": drawScalar(t)}},
		},
		"resource": map[string]any{"locked": drawScalar(t), "owner": map[string]any{"a": drawScalar(t)}},
	}
}

func drawScalar(t *rapid.T) any {
	return rapid.SampledFrom([]any{"a", "b", true, false, nil, json.Number("1")}).Draw(t, "scalar")
}

// change copies document with one thing replaced or removed.
func change(t *rapid.T, document any) any {
	path := rapid.SampledFrom(documentPaths).Draw(t, "changed")
	depth := rapid.IntRange(1, len(path)).Draw(t, "depth")
	return changed(t, document, path[:depth])
}

func changed(t *rapid.T, value any, path []string) any {
	if len(path) == 0 {
		return rapid.SampledFrom([]any{"a", nil, true, map[string]any{}, map[string]any{"suspended": true, "b": "a"}, []any{}, []any{"a"}}).Draw(t, "value")
	}
	switch value := value.(type) {
	case map[string]any:
		copied := map[string]any{}
		for key, member := range value {
			copied[key] = member
		}
		if len(path) == 1 && rapid.Bool().Draw(t, "removed") {
			delete(copied, path[0])
			return copied
		}
		copied[path[0]] = changed(t, value[path[0]], path[1:])
		return copied
	case []any:
		copied := slices.Clone(value)
		i := int(path[0][0] - '0')
		if i < len(copied) {
			copied[i] = changed(t, copied[i], path[1:])
		}
		return copied
	}
	return value
}

// key is what a cache would compare: the value at each prefix, or that there is none.
func key(document ast.Value, prefixes []ast.Ref) string {
	var b strings.Builder
	for _, prefix := range prefixes {
		value, err := document.Find(prefix[1:])
		if err != nil {
			b.WriteString("absent;")
			continue
		}
		fmt.Fprintf(&b, "=%s;", value)
	}
	return b.String()
}

// analysis picks the prefixes that decisions are kept under; a mutant picks others.
type analysis func(*ast.Compiler) ([]ast.Ref, error)

func sound(c *ast.Compiler) ([]ast.Ref, error) { return policy.Analyze(c.Modules).Prefixes, nil }

// longestOnly drops the prefixes of other prefixes, as if the longer said it all.
func longestOnly(c *ast.Compiler) ([]ast.Ref, error) {
	all := policy.Analyze(c.Modules).Prefixes
	return slices.DeleteFunc(slices.Clone(all), func(prefix ast.Ref) bool {
		return slices.ContainsFunc(all, func(other ast.Ref) bool { return len(other) > len(prefix) && other.HasPrefix(prefix) })
	}), nil
}

// aliasesResolved is OPA's own answer to the question.
func aliasesResolved(c *ast.Compiler) ([]ast.Ref, error) {
	bases, err := dependencies.Base(c, ast.MustParseRef("data.p.deny"))
	return slices.DeleteFunc(bases, func(ref ast.Ref) bool { return !ref.HasPrefix(ast.InputRootRef) }), err
}

// bodiesOnly forgets functions and whatever else deny calls.
func bodiesOnly(c *ast.Compiler) ([]ast.Ref, error) {
	only := ast.MustParseModule("package p")
	for _, m := range c.Modules {
		for _, rule := range m.Rules {
			if rule.Head.Name == "deny" {
				only.Rules = append(only.Rules, rule)
			}
		}
	}
	return policy.Analyze(map[string]*ast.Module{"p": only}).Prefixes, nil
}

// negationsForgotten leaves out what is only read behind `not`.
func negationsForgotten(c *ast.Compiler) ([]ast.Ref, error) {
	only := ast.MustParseModule("package p")
	for _, m := range c.Modules {
		for _, rule := range m.Rules {
			kept := rule.Copy()
			kept.Body = slices.DeleteFunc(kept.Body, func(e *ast.Expr) bool { return e.Negated })
			only.Rules = append(only.Rules, kept)
		}
	}
	return policy.Analyze(map[string]*ast.Module{"p": only}).Prefixes, nil
}

// violation finds two documents that share a key and yet are decided differently. It is
// empty when there are none; compiled is false for rules that OPA refuses.
func violation(c documentCase, pick analysis) (found string, compiled bool, shared int, err error) {
	module, err := ast.ParseModuleWithOpts("p.rego", "package p\n\n"+c.rules, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		return "", false, 0, fmt.Errorf("%w\n%s", err, c.rules)
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(map[string]*ast.Module{"p.rego": module}); compiler.Failed() {
		return "", false, 0, nil
	}
	prefixes, err := pick(compiler)
	if err != nil {
		return "", false, 0, err
	}
	query, err := rego.New(rego.Query("data.p.deny"), rego.Compiler(compiler)).PrepareForEval(context.Background())
	if err != nil {
		return "", false, 0, err
	}
	kept, made := map[string]string{}, map[string]any{}
	for _, document := range c.documents {
		value := ast.MustInterfaceToValue(document)
		results, err := query.Eval(context.Background(), rego.EvalParsedInput(value))
		decision := "an error" // of a rule with two values, say: that is an outcome too
		if err == nil {
			decision = fmt.Sprint(results[0].Expressions[0].Value)
		}
		k := key(value, prefixes)
		if earlier, hit := kept[k]; hit {
			shared++
			if earlier != decision {
				return fmt.Sprintf("%s\nkept under %v\n%v gives %s\n%v gives %s", c.rules, prefixes, made[k], earlier, document, decision), true, shared, nil
			}
		}
		kept[k], made[k] = decision, document
	}
	return "", true, shared, nil
}

func TestInputsThatAgreeOnThePrefixesAreDecidedAlike(t *testing.T) {
	compiled, hits := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		found, ok, shared, err := violation(drawDocumentCase(t), sound)
		if err != nil {
			t.Fatal(err)
		}
		if found != "" {
			t.Fatal(found)
		}
		if ok {
			compiled, hits = compiled+1, hits+shared
		}
	})
	if compiled < 50 || hits < 50 {
		t.Errorf("only %d policies compiled, and only %d inputs shared a key: the test shows little", compiled, hits)
	}
}

// The property is only worth something if it catches analyses that are wrong.
func TestPropertyCatchesUnsoundAnalyses(t *testing.T) {
	mutants := map[string]analysis{
		"dependencies.Base":         aliasesResolved,
		"the longest prefixes only": longestOnly,
		"deny without its callees":  bodiesOnly,
		"without negations":         negationsForgotten,
	}
	cases := rapid.Custom(drawDocumentCase)
	for name, mutant := range mutants {
		t.Run(name, func(t *testing.T) {
			for seed := range 3000 {
				found, _, _, err := violation(cases.Example(seed), mutant)
				if err != nil {
					t.Fatal(err)
				}
				if found != "" {
					t.Logf("caught at seed %d:\n%s", seed, found)
					return
				}
			}
			t.Error("not caught")
		})
	}
}
