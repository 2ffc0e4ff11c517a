package gate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/vary"
	"github.com/tollgate/tollgate/internal/wire"
)

// TestTheGateProjectsAsVaryDoes ties what the filter asks to the projection for which the
// policy engine's property test proves that it is enough: read in part, a
// request gives what the whole of it cut down gives.
func TestTheGateProjectsAsVaryDoes(t *testing.T) {
	fields := []wire.Field{
		{"request", "method"}, {"request", "path"}, {"request", "scheme"}, {"request", "host"}, {"request", "jwt"}, {"request", "source", "address"},
		{"request", "params"}, {"request", "params", "model"}, {"request", "params", "none"}, {"resource"},
		{"request", "query", "q"}, {"request", "query", "r"}, {"request", "query", "subscription-key"},
		{"request", "headers", "x-a"}, {"request", "headers", "x-b"}, {"request", "headers", "authorization"}, {"request", "headers", "ocp-apim-subscription-key"},
	}
	f := newFixture(t)
	ask := func(p wire.Policy, pairs [][2]string) wire.Request {
		f.snapshot.Policy = p
		f.load()
		_, outcome := f.begin(pairs)
		wantStep(t, gate.Ask, outcome)
		return outcome.Ask.Request
	}
	rapid.Check(t, func(t *rapid.T) {
		target := "/demo/execute/" + rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "model") + "?" + rapid.StringMatching(`((q|r)=[ab]?&){0,3}`).Draw(t, "query")
		pairs := request("POST", target, "ocp-apim-subscription-key: "+goodKey)
		for _, header := range rapid.SliceOfN(rapid.SampledFrom([]string{"x-a", "x-b", "authorization"}), 0, 4).Draw(t, "headers") {
			if header != "authorization" || pairs[len(pairs)-1][0] != header {
				pairs = append(pairs, [2]string{header, rapid.StringMatching(`[a-c]?`).Draw(t, "value")})
			}
		}
		count := 0
		for _, pair := range pairs {
			if pair[0] == "authorization" {
				count++
			}
		}
		if count > 1 {
			return // a doubled key is refused before anyone is asked
		}
		policy := wire.Policy{Revision: "p", Vary: rapid.SliceOfDistinct(rapid.SampledFrom(fields), func(f wire.Field) string { return cmp.Diff(f, wire.Field{}) }).Draw(t, "vary")}
		whole := ask(wire.Policy{Revision: "whole", Full: true}, pairs)
		want, ok := vary.Project(whole, policy)
		if diff := cmp.Diff(want, ask(policy, pairs), equateAbsent); !ok || diff != "" {
			t.Fatalf("projected for %v (-want +got):\n%s", policy.Vary, diff)
		}
	})
}

// equateAbsent: an empty map and none say the same on the wire.
var equateAbsent = cmp.FilterValues(func(a, b map[string][]string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())
