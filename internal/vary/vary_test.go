package vary_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/vary"
	"github.com/tollgate/tollgate/internal/wire"
)

func text(s string) *string { return &s }

func policy(fields ...string) wire.Policy {
	p := wire.Policy{}
	for _, field := range fields {
		p.Vary = append(p.Vary, strings.Fields(field))
	}
	return p
}

func full() wire.Request {
	return wire.Request{
		Method: text("GET"), Path: text("/jobs/7"), Scheme: text("https"), Host: text("api.example"),
		Params:  map[string]string{"jobid": "7", "workspace": "w"},
		Query:   map[string][]string{"a": {"1", "2"}, "b": {""}},
		Headers: map[string][]string{"x-plan": {"gold"}, "accept": {"*/*"}},
		Source:  &wire.Source{Address: "10.0.0.1"},
	}
}

func TestProject(t *testing.T) {
	tests := map[string]struct {
		policy wire.Policy
		want   wire.Request
		bad    bool
	}{
		"nothing":             {policy: policy()},
		"all":                 {policy: wire.Policy{Full: true}, want: full()},
		"texts":               {policy: policy("request method", "request path", "request scheme", "request host"), want: wire.Request{Method: text("GET"), Path: text("/jobs/7"), Scheme: text("https"), Host: text("api.example")}},
		"source":              {policy: policy("request source address"), want: wire.Request{Source: &wire.Source{Address: "10.0.0.1"}}},
		"all params":          {policy: policy("request params"), want: wire.Request{Params: map[string]string{"jobid": "7", "workspace": "w"}}},
		"one param":           {policy: policy("request params jobid"), want: wire.Request{Params: map[string]string{"jobid": "7"}}},
		"headers and queries": {policy: policy("request headers x-plan", "request query a", "request query b"), want: wire.Request{Headers: map[string][]string{"x-plan": {"gold"}}, Query: map[string][]string{"a": {"1", "2"}, "b": {""}}}},
		"absent stays absent": {policy: policy("request headers x-none", "request params none", "request query none")},
		"no jwt yet":          {policy: policy("request jwt")},
		"resource is no part": {policy: policy("resource")},
		"unknown root":        {policy: policy("subscription id"), bad: true},
		"unknown field":       {policy: policy("request body"), bad: true},
		"unknown part":        {policy: policy("request source port"), bad: true},
		"unknown collection":  {policy: policy("request cookies a"), bad: true},
		"headers as a whole":  {policy: policy("request headers"), bad: true},
		"query as a whole":    {policy: policy("request query"), bad: true},
		"request as a whole":  {policy: policy("request"), bad: true},
		"too deep":            {policy: policy("request headers a b"), bad: true},
		"empty":               {policy: wire.Policy{Vary: []wire.Field{{}}}, bad: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := vary.Project(full(), test.policy)
			if ok == test.bad {
				t.Fatalf("ok is %v", ok)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("projection (-want +got):\n%s", diff)
			}
			if _, ok := vary.AppendKey(nil, full(), nil, test.policy); ok == (test.bad || test.policy.Full) {
				t.Errorf("the key's ok is %v", ok)
			}
		})
	}
}

func TestProjectLeavesTheRequestAlone(t *testing.T) {
	request := full()
	cut, _ := vary.Project(request, policy("request headers x-plan"))
	cut.Headers["x-plan"] = nil
	if diff := cmp.Diff(full(), request); diff != "" {
		t.Errorf("the request changed (-want +got):\n%s", diff)
	}
}

func TestResource(t *testing.T) {
	tests := map[string]struct {
		policy wire.Policy
		want   bool
	}{
		"named":     {policy("request path", "resource"), true},
		"full":      {wire.Policy{Full: true}, true},
		"not named": {policy("request path"), false},
	}
	for name, test := range tests {
		if got := vary.Resource(test.policy); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Every pair of these requests differs in a field of the policy, so every pair of keys
// must differ.
func TestKeysDiffer(t *testing.T) {
	p := policy("request headers a", "request headers b", "request method", "request params", "request query a", "request source address", "resource")
	type subject struct {
		request  wire.Request
		resource *wire.Resource
	}
	headers := func(of map[string][]string) subject { return subject{request: wire.Request{Headers: of}} }
	job := func(kind, id, key, value string) subject {
		return subject{resource: &wire.Resource{Kind: kind, ID: id, Scope: map[string]string{key: value}}}
	}
	subjects := map[string]subject{
		"nothing":            {},
		"empty method":       {request: wire.Request{Method: text("")}},
		"method":             {request: wire.Request{Method: text("a")}},
		"empty list":         headers(map[string][]string{"a": {}}),
		"one empty value":    headers(map[string][]string{"a": {""}}),
		"two empty values":   headers(map[string][]string{"a": {"", ""}}),
		"a then b":           headers(map[string][]string{"a": {"a", "b"}}),
		"b then a":           headers(map[string][]string{"a": {"b", "a"}}),
		"joined":             headers(map[string][]string{"a": {"ab"}}),
		"other header":       headers(map[string][]string{"b": {"ab"}}),
		"split over headers": headers(map[string][]string{"a": {"a"}, "b": {"b"}}),
		"query":              {request: wire.Request{Query: map[string][]string{"a": {"ab"}}}},
		"no address":         {request: wire.Request{Source: &wire.Source{}}},
		"params":             {request: wire.Request{Params: map[string]string{"a": "bc"}}},
		"other params":       {request: wire.Request{Params: map[string]string{"ab": "c"}}},
		"job":                job("job", "1", "w", "x"),
		"other id":           job("job", "2", "w", "x"),
		"other kind":         job("model", "1", "w", "x"),
		"other workspace":    job("job", "1", "w", "y"),
		"other scope":        job("job", "1", "v", "x"),
	}
	seen := map[string]string{}
	for name, subject := range subjects {
		key, ok := vary.AppendKey(nil, subject.request, subject.resource, p)
		if !ok {
			t.Fatalf("%s has no key", name)
		}
		if other, twice := seen[string(key)]; twice {
			t.Errorf("%s and %s share the key %x", name, other, key)
		}
		seen[string(key)] = name
	}
}

func TestKeyIgnoresWhatIsNotRead(t *testing.T) {
	p := policy("request headers x-plan", "request params jobid")
	one, _ := vary.AppendKey([]byte("sub"), full(), nil, p)
	other := full()
	other.Method, other.Query, other.Source = text("PUT"), nil, nil
	other.Params["workspace"] = "else"
	two, _ := vary.AppendKey([]byte("sub"), other, &wire.Resource{Kind: "job"}, p)
	if !bytes.Equal(one, two) || !bytes.HasPrefix(one, []byte("sub")) {
		t.Errorf("keys %q and %q", one, two)
	}
}

func TestLargeValuesHaveNoKey(t *testing.T) {
	large := strings.Repeat("x", vary.MaxValueBytes+1)
	fits := strings.Repeat("x", vary.MaxValueBytes)
	half := strings.Repeat("x", vary.MaxValueBytes/2)
	tests := map[string]struct {
		request  wire.Request
		resource *wire.Resource
		want     bool
	}{
		"a text that fits":     {request: wire.Request{Path: &fits}, want: true},
		"a text":               {request: wire.Request{Path: &large}},
		"a header":             {request: wire.Request{Headers: map[string][]string{"a": {large}}}},
		"a header in parts":    {request: wire.Request{Headers: map[string][]string{"a": {half, half}}}},
		"many empty values":    {request: wire.Request{Headers: map[string][]string{"a": make([]string, vary.MaxValueBytes)}}},
		"a parameter":          {request: wire.Request{Params: map[string]string{"a": large}}},
		"a parameter's name":   {request: wire.Request{Params: map[string]string{large: ""}}},
		"parameters, together": {request: wire.Request{Params: map[string]string{"a": half, "b": half}}},
		"an address":           {request: wire.Request{Source: &wire.Source{Address: large}}},
		"an id":                {resource: &wire.Resource{ID: large}},
		"a kind":               {resource: &wire.Resource{Kind: large}},
	}
	p := policy("request headers a", "request params", "request path", "request source address", "resource")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, ok := vary.AppendKey(nil, test.request, test.resource, p); ok != test.want {
				t.Errorf("ok is %v", ok)
			}
		})
	}
}
