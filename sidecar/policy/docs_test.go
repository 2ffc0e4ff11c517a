package policy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/tollgate/tollgate/sidecar/policy"
)

// Every example of docs/policies.md compiles, passes its tests, and is formatted. Only
// the one about the clock is warned of.
func TestExamplesOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for i, part := range strings.Split(string(text), "```rego\n")[1:] {
		rego, _, closed := strings.Cut(part, "```\n")
		if !closed {
			t.Fatalf("example %d is not closed", i+1)
		}
		examples++
		t.Run(fmt.Sprintf("example %d", i+1), func(t *testing.T) {
			name := "own.rego"
			if strings.Contains(rego, "_test\n") {
				name = "own_test.rego"
			}
			for _, m := range policy.Check(context.Background(), folder(t, map[string]string{name: rego})) {
				if !m.Warning || !strings.Contains(rego, "time.now_ns") {
					t.Errorf("%v", m)
				}
			}
			formatted, err := format.SourceWithOpts(name, []byte(rego), format.Opts{RegoVersion: ast.RegoV1})
			if err != nil || strings.TrimSpace(string(formatted)) != strings.TrimSpace(rego) {
				t.Errorf("not formatted, %v:\n%s", err, formatted)
			}
		})
	}
	if examples < 8 {
		t.Errorf("only %d examples", examples)
	}
}

// The table of codes names all of them, and no other.
func TestCodesOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{policy.CodeUndefined, policy.CodeType, policy.CodeError, policy.CodeTimeout, policy.CodeLimits} {
		if !strings.Contains(string(text), "| `"+code+"` |") {
			t.Errorf("%s is not documented", code)
		}
	}
}
