package policy_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/vary"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
)

// Invariant I2 over the real way: filter and sidecar of one request, with a cache. What
// the cache holds was decided from a projection; it is compared with a fresh decision of
// the full input.

// requestPaths are what rules can read of a request as today's wire carries it.
var requestPaths = [][]string{
	{"request", "method"},
	{"request", "path"},
	{"request", "host"},
	{"request", "scheme"},
	{"request", "source", "address"},
	{"request", "params", "a"},
	{"request", "query", "a", "0"},
	{"request", "query", "b", "1"},
	{"request", "headers", "a", "0"},
	{"request", "headers", "b", "1"},
	{"request", "jwt"},
	{"resource", "owner"},
	{"resource", "id"},
}

type requestCase struct {
	rules    string
	requests []subject
}

// subject is a request as the filter sees it.
type subject struct {
	request  wire.Request
	resource *wire.Resource
}

func drawRequestCase(t *rapid.T) requestCase {
	g := generator{t: t, paths: requestPaths}
	c := requestCase{rules: g.rules()}
	base := drawSubject(t)
	c.requests = append(c.requests, base)
	for range 9 {
		other := base
		for range rapid.IntRange(1, 2).Draw(t, "changes") {
			from := drawSubject(t)
			field := rapid.IntRange(0, reflect.TypeFor[wire.Request]().NumField()).Draw(t, "field")
			if field == reflect.TypeFor[wire.Request]().NumField() {
				other.resource = from.resource
				continue
			}
			reflect.ValueOf(&other.request).Elem().Field(field).Set(reflect.ValueOf(from.request).Field(field))
		}
		c.requests = append(c.requests, other)
	}
	return c
}

func drawSubject(t *rapid.T) subject {
	optional := func(label string) *string {
		return rapid.SampledFrom([]*string{nil, text(""), text("a"), text("b")}).Draw(t, label)
	}
	values := rapid.SampledFrom([][]string{{}, {""}, {"a"}, {"b"}, {"a", "b"}, {"b", "a"}})
	lists := func(label string) map[string][]string {
		return rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c"}), values).Draw(t, label)
	}
	s := subject{request: wire.Request{
		Method: optional("method"), Path: optional("path"), Scheme: optional("scheme"), Host: optional("host"),
		Params:  rapid.MapOf(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"", "a"})).Draw(t, "params"),
		Query:   lists("query"),
		Headers: lists("headers"),
	}}
	if address := optional("address"); address != nil {
		s.request.Source = &wire.Source{Address: *address}
	}
	if id := optional("id"); id != nil {
		s.resource = &wire.Resource{Kind: "job", ID: *id, Scope: map[string]string{"w": "a"}}
	}
	return s
}

// filter is what a filter does; mutants do it otherwise.
type filter struct {
	project func(wire.Request, wire.Policy) (wire.Request, bool)
	key     func([]byte, wire.Request, *wire.Resource, wire.Policy) ([]byte, bool)
}

var soundFilter = filter{vary.Project, vary.AppendKey}

// ask is what the sidecar makes of a request: owners are looked up by id.
func (s subject) ask(request wire.Request, withResource bool) policy.Input {
	return ask(func(in *policy.Input) {
		in.Request = request
		if s.resource == nil || !withResource {
			return
		}
		in.Resource = &policy.Resource{Kind: s.resource.Kind, ID: s.resource.ID}
		if owner := uint32(42); s.resource.ID == "a" {
			in.Resource.Owner = &owner
		}
	})
}

// outcome is a decision or the code of an error.
func outcome(e *policy.Engine, in policy.Input) (string, policy.Decision) {
	decision, err := e.Decide(context.Background(), in)
	if err != nil {
		return code(err), policy.Decision{}
	}
	return fmt.Sprintf("%v %v %d %v", decision.Allow, decision.Reasons, decision.Status, decision.Limits), decision
}

// contradiction sends the requests of c through f, one after the other, and returns what
// was wrong with the first answer that the full input would not have got.
func contradiction(t testing.TB, e *policy.Engine, c requestCase, f filter) (found string, hits int) {
	p := e.Policy()
	if p.Full && len(p.Vary) > 0 || !slices.IsSortedFunc(p.Vary, slices.Compare[wire.Field]) {
		t.Fatalf("full %v with %v", p.Full, p.Vary)
	}
	cache := map[string]string{}
	for _, s := range c.requests {
		fresh, _ := outcome(e, s.ask(s.request, true))
		cut, ok := f.project(s.request, p)
		if !ok {
			t.Fatalf("%v has fields that no filter knows", p.Vary)
		}
		key, keyed := f.key(nil, s.request, s.resource, p)
		if kept, hit := cache[string(key)]; hit && keyed {
			hits++
			if kept != fresh {
				return fmt.Sprintf("%s\n%v: kept %s, but %s", c.rules, p.Vary, kept, fresh), hits
			}
		}
		answer, decision := outcome(e, s.ask(cut, vary.Resource(p)))
		if answer != fresh {
			return fmt.Sprintf("%s\n%v: projected %s, but %s", c.rules, p.Vary, answer, fresh), hits
		}
		if keyed && decision.TTL > 0 {
			cache[string(key)] = answer
		}
	}
	return "", hits
}

// opened is nil for rules that are no policy.
func opened(t testing.TB, dir string, c requestCase) *policy.Engine {
	// In a package without a schema: types would tell OPA that most random rules are wrong.
	put(t, dir+"/random.rego", "package random\n\n"+c.rules)
	put(t, dir+"/own.rego", access+"deny contains reason if some reason in data.random.deny\n")
	put(t, dir+"/limits.rego", `package tollgate.quota

limits contains {"name": "r", "key": key, "kind": "rate", "amount": 5, "window": "1m"} if some key in data.random.counted
`)
	e, err := policy.Open(context.Background(), policy.Config{Dir: dir, Catalog: demoCatalog(), Timeout: 1 << 40})
	if err != nil {
		return nil
	}
	return e
}

func TestCachedDecisionsAreThoseOfTheFullInput(t *testing.T) {
	dir := t.TempDir()
	opens, hits, limited := 0, 0, 0
	little := func() bool { return opens < 20 || hits < 20 || limited < 20 }
	// Random rules may be poor ones for a while.
	for round := 0; round < 10 && little() && !t.Failed(); round++ {
		rapid.Check(t, func(rt *rapid.T) {
			c := drawRequestCase(rt)
			e := opened(t, dir, c)
			if e == nil {
				return
			}
			limited += limitedRequests(e, c)
			found, shared := contradiction(t, e, c, soundFilter)
			if found != "" {
				rt.Fatal(found)
			}
			opens, hits = opens+1, hits+shared
		})
	}
	if !t.Failed() && little() {
		t.Errorf("only %d policies, %d answers from the cache and %d with limits: the test shows little", opens, hits, limited)
	}
}

// limitedRequests is how many requests of c are allowed with a limit.
func limitedRequests(e *policy.Engine, c requestCase) (count int) {
	for _, s := range c.requests {
		if _, decision := outcome(e, s.ask(s.request, true)); len(decision.Limits) > 0 {
			count++
		}
	}
	return count
}

// The keys of limits are part of what is kept: a filter that forgets a field which only a
// limit reads is caught.
func TestPropertyCatchesLimitsOfAnother(t *testing.T) {
	c := requestCase{rules: "deny := set()\n\ncounted contains input.request.headers.a[0]\n"}
	for _, value := range []string{"a", "b"} {
		c.requests = append(c.requests, subject{request: wire.Request{Headers: map[string][]string{"a": {value}}}})
	}
	e := opened(t, t.TempDir(), c)
	if found, _ := contradiction(t, e, c, soundFilter); found != "" {
		t.Error(found)
	}
	for name, mutant := range map[string]filter{
		"out of the projection": {
			project: func(full wire.Request, p wire.Policy) (wire.Request, bool) {
				p.Vary = nil
				return vary.Project(full, p)
			},
			key: vary.AppendKey,
		},
		"out of the key": {
			project: vary.Project,
			key: func(key []byte, full wire.Request, r *wire.Resource, p wire.Policy) ([]byte, bool) {
				p.Vary = nil
				return vary.AppendKey(key, full, r, p)
			},
		},
	} {
		if found, _ := contradiction(t, e, c, mutant); found == "" {
			t.Errorf("a field left %s: not caught", name)
		}
	}
}

func TestPropertyCatchesUnsoundFilters(t *testing.T) {
	without := func(p wire.Policy) wire.Policy {
		if len(p.Vary) > 1 {
			p.Vary = p.Vary[1:] // the last one is resource, always
		}
		return p
	}
	mutants := map[string]filter{
		"a field left out of the projection": {
			project: func(full wire.Request, p wire.Policy) (wire.Request, bool) { return vary.Project(full, without(p)) },
			key:     vary.AppendKey,
		},
		"a field left out of the key": {
			project: vary.Project,
			key: func(key []byte, full wire.Request, r *wire.Resource, p wire.Policy) ([]byte, bool) {
				return vary.AppendKey(key, full, r, without(p))
			},
		},
		"absent taken for empty": {
			project: vary.Project,
			key: func(key []byte, full wire.Request, r *wire.Resource, p wire.Policy) ([]byte, bool) {
				for _, field := range []**string{&full.Method, &full.Path, &full.Host, &full.Scheme} {
					if *field == nil {
						*field = text("")
					}
				}
				return vary.AppendKey(key, full, r, p)
			},
		},
		"a whole input that is kept": {
			project: vary.Project,
			key: func(key []byte, full wire.Request, r *wire.Resource, p wire.Policy) ([]byte, bool) {
				p.Full = false
				return vary.AppendKey(key, full, r, p)
			},
		},
	}
	cases := rapid.Custom(drawRequestCase)
	dir := t.TempDir()
	caught := map[string]bool{"a whole input that is kept": true} // the engine gives it no ttl
	for seed := 0; seed < 600 && len(caught) < len(mutants); seed++ {
		c := cases.Example(seed)
		e := opened(t, dir, c)
		if e == nil {
			continue
		}
		for name, mutant := range mutants {
			if found, _ := contradiction(t, e, c, mutant); found != "" && name == "a whole input that is kept" {
				t.Errorf("%s was kept in spite of its ttl: %s", name, found)
			} else if found != "" {
				caught[name] = true
			}
		}
	}
	for name := range mutants {
		if !caught[name] {
			t.Errorf("%s: not caught", name)
		}
	}
}
