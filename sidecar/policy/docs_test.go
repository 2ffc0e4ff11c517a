package policy_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/tollgate/tollgate/internal/wire"
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

// The example of limits counts by what it says.
func TestLimitsOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "```rego\npackage tollgate.quota\n")
	example, _, closed := strings.Cut(example, "```\n")
	if !found || !closed {
		t.Fatal("there is no example of limits")
	}
	e := author(t, "package tollgate.quota\n"+example)
	want := []wire.Limit{
		{Name: "address", Key: "address:192.0.2.7", Kind: "rate", Unit: "calls", Amount: 100, WindowMillis: 60_000},
		{Name: "trial", Key: "subscription:42", Kind: "concurrency", Unit: "calls", Amount: 2},
		{Name: "user", Key: "subscription:42/user:fb80a38753ff238c0a8c4d030af6e9dd7b182c59a967e3c42d879991c7b634ad",
			Kind: "quota", Unit: "calls", Amount: 1000, WindowMillis: 86_400_000, StartMillis: 1767323045678, SuccessOnly: true},
	}
	got := decide(t, e, ask(func(in *policy.Input) {
		in.Subscription.Attributes["tier"] = "trial"
		in.Request.Source = &wire.Source{Address: "192.0.2.7"}
		in.Request.Headers = map[string][]string{"x-user": {"alice@example.com\x00"}}
	}))
	slices.SortFunc(got.Limits, func(a, b wire.Limit) int { return strings.Compare(a.Name, b.Name) })
	if diff := cmp.Diff(want, got.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	got = decide(t, e, ask(func(in *policy.Input) { in.Request.Headers = nil }))
	if len(got.Limits) > 0 || got.TTL != policy.DefaultTTL {
		t.Errorf("without an address, a user and a trial: %+v", got)
	}
}

// The table of codes names all of them, and no other.
func TestCodesOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{policy.CodeUndefined, policy.CodeType, policy.CodeError, policy.CodeTimeout} {
		if !strings.Contains(string(text), "| `"+code+"` |") {
			t.Errorf("%s is not documented", code)
		}
	}
}
