package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
)

// custom is a builtin that OPA does not ship.
const custom = "tollgate.test.custom"

func init() {
	ast.RegisterBuiltin(&ast.Builtin{Name: custom, Decl: types.NewFunction(types.Args(types.S), types.S)})
}

func compile(t testing.TB, texts ...string) map[string]*ast.Module {
	t.Helper()
	modules := map[string]*ast.Module{}
	for i, text := range texts {
		name := strings.Repeat("x", i+1) + ".rego"
		module, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		modules[name] = module
	}
	compiler := ast.NewCompiler().WithStrict(true)
	if compiler.Compile(modules); compiler.Failed() {
		t.Fatalf("%v\n%s", compiler.Errors, texts)
	}
	return compiler.Modules
}

func prefixes(a policy.Analysis) []string {
	var list []string
	for _, prefix := range a.Prefixes {
		list = append(list, strings.TrimPrefix(prefix.String(), "input."))
	}
	return list
}

func TestAnalyzePrefixes(t *testing.T) {
	const (
		whole = "input"
		jwt   = "request.jwt"
	)
	tests := map[string]struct {
		rules string
		want  []string
		full  bool
	}{
		// Each of these is a way for a dependency to hide.
		"whole input by a variable": {`p if { x := input; x.request.path == "a" }`, []string{whole}, true},
		"walk":                      {`p if { walk(input, [_, "a"]) }`, []string{whole}, true},
		"json.patch":                {`p if { json.patch(input, [])["request"] == "a" }`, []string{whole}, true},
		"destructuring":             {`p if { {"request": r} = input; r.path == "a" }`, []string{whole}, true},
		"object.get":                {`p if { object.get(input, ["request", "path"], "") == "a" }`, []string{whole}, true},
		"any header":                {`p if { some h; input.request.headers[h][0] == "a" }`, []string{"request.headers"}, true},
		"negation below an alias":   {`p if { c := input.request.jwt; not c.suspended }`, []string{jwt}, false},
		"negation beside a mention": {`p if { _ = input.request.jwt; not input.request.jwt.suspended }`, []string{jwt, "request.jwt.suspended"}, false},
		"comprehension":             {`p if { g := input.request.jwt; count({x | x := g.groups[_]; x == "a"}) == 0 }`, []string{jwt}, false},
		"resource below an alias":   {`p if { res := input.resource; not res.locked }`, []string{"resource"}, false},
		"one value of a header":     {`p if { h := input.request.headers.x[1]; not h.q }`, []string{"request.headers.x[1]"}, false},
		"function that reads input": {`f(x) := input.request.path if x == 1
p if f(1) == "a"`, []string{"request.path"}, false},
		"mock of input": {`q if input.request.method == "a"
p if q with input.request.method as input.request.scheme`, []string{"request.method", "request.scheme"}, false},
		"mock of data": {`q if data.d == 1
p if q with data.d as input.request.host`, []string{"request.host"}, false},
		"general ref heads": {`p[input.request.method].x := 1
q[x].y contains z if { x := "a"; z := input.request.path }`, []string{"request.method", "request.path"}, false},
		"dynamic data":             {`p if { some k; data.plugins[k].deny }`, nil, false},
		"dynamic data by an input": {`p if { data.plugins[input.request.method].deny }`, []string{"request.method"}, false},

		// Every other place where a reference can stand.
		"else":                 {`p := 1 if false else := input.request.host`, []string{"request.host"}, false},
		"else body":            {`p := 1 if false else := 2 if input.request.host == "a"`, []string{"request.host"}, false},
		"head value":           {`p := input.request.path`, []string{"request.path"}, false},
		"head key":             {`p contains input.request.path`, []string{"request.path"}, false},
		"object value":         {`p := {"a": [input.request.path]}`, []string{"request.path"}, false},
		"object key":           {`p := {input.request.path: 1}`, []string{"request.path"}, false},
		"set":                  {`p := {input.request.path}`, []string{"request.path"}, false},
		"array comprehension":  {`p := [x | x := input.request.query.a[_]]`, []string{"request.query.a"}, false},
		"object comprehension": {`p := {k: v | v := input.request.params[k]}`, []string{"request.params"}, false},
		"every":                {`p if { every x in input.request.query.a { x != input.request.host } }`, []string{"request.host", "request.query.a"}, false},
		"some in":              {`p if { some x in input.request.params; x == "a" }`, []string{"request.params"}, false},
		"function argument": {`f(x) := x
p := f(input.request.path)`, []string{"request.path"}, false},
		"function pattern": {`f({"a": x}) := x
p := f({"a": input.request.path})`, []string{"request.path"}, false},
		"reference in an index": {`p if { input.request.params[input.request.method] == "a" }`, []string{"request.method", "request.params"}, false},
		"index in a reference":  {`p if { data.x[input.request.method][_] == 1 }`, []string{"request.method"}, false},
		"import":                {"import input.request as r\np if r.path == \"a\"", []string{"request.path"}, false},
		"import of input":       {"import input as i\np if i.request.path == \"a\"", []string{"request.path"}, false},
		"template string":       {"p := $\"a {input.request.path}\"", []string{"request.path"}, false},
		"in":                    {`p if "a" in input.request.query.a`, []string{"request.query.a"}, false},
		"whole request":         {`p if { r := input.request; r.path == "a" }`, []string{"request"}, true},
		"whole query":           {`p if count(input.request.query) > 1`, []string{"request.query"}, true},
		"dynamic root":          {`p if { some x; input[x] == 1 }`, []string{whole}, true},
		"brackets":              {`p if input["request"]["path"] == "a"`, []string{"request.path"}, false},
		"part of a scalar":      {`p if input.request.method.x`, []string{"request.method.x"}, false},
		"a rule nobody reaches": {`_unused if input.request.host == "a"`, []string{"request.host"}, false},
		"the fixed part":        {`p if { input.subscription.developer.groups[_] == input.product.name; input.api; input.operation; input.gateway.region == "a" }`, nil, false},
		"input in a list":       {`p := [input]`, []string{whole}, true},
		"input through a mock": {`q := data.d
p if q.request.path == "a" with data.d as input`, nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.want == nil && test.full {
				test.want = []string{whole}
			}
			a := policy.Analyze(compile(t, "package p\n\n"+test.rules))
			if diff := cmp.Diff(test.want, prefixes(a)); diff != "" {
				t.Errorf("prefixes (-want +got):\n%s", diff)
			}
			if a.Full() != test.full {
				t.Errorf("full is %v", a.Full())
			}
			if a.Full() && len(a.Fields()) > 0 {
				t.Errorf("fields of a policy that reads all: %v", a.Fields())
			}
		})
	}
}

func TestFields(t *testing.T) {
	tests := map[string]struct {
		rules string
		want  []wire.Field
	}{
		"nothing":               {`p := 1`, []wire.Field{}},
		"scalars":               {`p := [input.request.scheme, input.request.method, input.request.path, input.request.host]`, []wire.Field{{"request", "host"}, {"request", "method"}, {"request", "path"}, {"request", "scheme"}}},
		"below a scalar":        {`p := input.request.path[0]`, []wire.Field{{"request", "path"}}},
		"one value of a header": {`p := input.request.headers.x[1]`, []wire.Field{{"request", "headers", "x"}}},
		"a header twice":        {`p := [input.request.headers.x[0], input.request.headers["x"]]`, []wire.Field{{"request", "headers", "x"}}},
		"a query":               {`p := input.request.query["A-b"][0]`, []wire.Field{{"request", "query", "A-b"}}},
		"a parameter":           {`p := input.request.params.jobid`, []wire.Field{{"request", "params", "jobid"}}},
		"parameters absorb one": {`p := [input.request.params.jobid, input.request.params]`, []wire.Field{{"request", "params"}}},
		"claims":                {`p := input.request.jwt.sub`, []wire.Field{{"request", "jwt"}}},
		"source":                {`p := input.request.source`, []wire.Field{{"request", "source", "address"}}},
		"address":               {`p := input.request.source.address`, []wire.Field{{"request", "source", "address"}}},
		"resource":              {`p := input.resource.owner`, []wire.Field{{"resource"}}},
		// What no input has is not asked for.
		"unknown root":       {`p := input.foo`, []wire.Field{}},
		"unknown field":      {`p := input.request.body.x`, []wire.Field{}},
		"unknown source":     {`p := input.request.source.port`, []wire.Field{}},
		"upper case":         {`p := input.request.headers["X-Foo"]`, []wire.Field{}},
		"a number as header": {`p := input.request.headers[0]`, []wire.Field{}},
		"a number as root":   {`p := input[0]`, []wire.Field{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := policy.Analyze(compile(t, "package p\n\n"+test.rules))
			if diff := cmp.Diff(test.want, a.Fields()); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnalyzeUnrepeatable(t *testing.T) {
	tests := map[string]struct {
		rules string
		want  []string
	}{
		"none":              {`p := time.parse_rfc3339_ns("2030-01-01T00:00:00Z")`, nil},
		"clock":             {`p := time.now_ns()`, []string{"time.now_ns"}},
		"clock in a term":   {`p := [1 + time.now_ns()]`, []string{"time.now_ns"}},
		"token":             {`p := io.jwt.decode_verify("x", {})`, []string{"io.jwt.decode_verify"}},
		"certificates":      {`p := crypto.x509.parse_and_verify_certificates("x")`, []string{"crypto.x509.parse_and_verify_certificates"}},
		"certificates with": {`p := crypto.x509.parse_and_verify_certificates_with_options("x", {})`, []string{"crypto.x509.parse_and_verify_certificates_with_options"}},
		"custom":            {`p := tollgate.test.custom("x")`, []string{custom}},
		"passed about":      {"f(x) := x\nq := f(\"a\")\np if q == \"b\" with f as tollgate.test.custom", []string{custom}},
		"replaced":          {"p if time.now_ns() == 1 with time.now_ns as 1", []string{"time.now_ns"}},
		"own function":      {"f(x) := x\np := f(1)", nil},
		"shadowing":         {`p if { time := {"now_ns": 1}; time.now_ns == 1 }`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var names []string
			for _, use := range policy.Analyze(compile(t, "package p\n\n"+test.rules)).Unrepeatable {
				names = append(names, use.Name)
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// The compiler turns variables into references and moves nested references out. Should it
// ever stop doing so, they count all the same.
func TestAnalyzeAsWritten(t *testing.T) {
	tests := map[string]struct {
		rules string
		want  []string
	}{
		"a nested reference": {`p if data.x[input.request.method]`, []string{"request.method"}},
		"a nested call":      {`p := [lower(input.request.method)]`, []string{"request.method"}},
	}
	for name, test := range tests {
		m := ast.MustParseModule("package p\n\n" + test.rules)
		if diff := cmp.Diff(test.want, prefixes(policy.Analyze(map[string]*ast.Module{"p": m}))); diff != "" {
			t.Errorf("%s: prefixes (-want +got):\n%s", name, diff)
		}
	}
	m := ast.MustParseModule("package p\n\np := x")
	m.Rules[0].Head.Value = ast.NewTerm(ast.Var("input"))
	if !policy.Analyze(map[string]*ast.Module{"p": m}).Full() {
		t.Error("a variable called input is not taken for the whole input")
	}
	m = ast.MustParseModule("package p\n\np := [time.now_ns()]")
	if len(policy.Analyze(map[string]*ast.Module{"p": m}).Unrepeatable) != 1 {
		t.Error("a nested call of the clock is not found")
	}
}

func TestUsesHavePlaces(t *testing.T) {
	a := policy.Analyze(compile(t, "package p\n\np if {\n\tcount(input.request.headers) > 3\n\ttime.now_ns() > 3\n}\n", "package q\n\np := input.foo\n"))
	want := policy.Analysis{
		Whole:        []policy.Use{{File: "x.rego", Line: 4, Name: "input.request.headers"}},
		Unrepeatable: []policy.Use{{File: "x.rego", Line: 5, Name: "time.now_ns"}},
		Never:        []policy.Use{{File: "xx.rego", Line: 3, Name: "input.foo"}},
	}
	a.Prefixes = nil
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}
