package policy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/policies"
	"github.com/tollgate/tollgate/sidecar/policy"
)

// bundled is a bundle.tar.gz of files.
func bundled(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	a := tar.NewWriter(z)
	for name, text := range files {
		if err := a.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  []string // file:line: part of the message
	}{
		"no mistake":           {map[string]string{"own.rego": deny("a")}, nil},
		"all parse errors":     {map[string]string{"a.rego": "package a b\n", "b.rego": "packag b\n"}, []string{"a.rego:1: ", "b.rego:1: "}},
		"unsafe variable":      {map[string]string{"own.rego": access + "deny contains x\n"}, []string{"own.rego:3: var x is unsafe"}},
		"strictness":           {map[string]string{"own.rego": access + "deny contains \"a\" if x := 1\n"}, []string{"own.rego:3: assigned var x unused"}},
		"unknown function":     {map[string]string{"own.rego": access + "deny contains \"a\" if f(1)\n"}, []string{"own.rego:3: undefined function f"}},
		"wrong type":           {map[string]string{"own.rego": access + "deny contains \"a\" if input.request.method == 1\n"}, []string{"own.rego:3: match error"}},
		"a list as a value":    {map[string]string{"own.rego": access + "deny contains \"a\" if input.request.query.n == \"1\"\n"}, []string{"own.rego:3: input.request.query.n is a list of values: compare input.request.query.n[0]"}},
		"a list as no value":   {map[string]string{"lib.rego": "package lib\n\np if \"gold\" != input.request.headers[\"x-plan\"]\n"}, []string{`lib.rego:3: input.request.headers["x-plan"] is a list of values`}},
		"a list as a list":     {map[string]string{"own.rego": access + "deny contains \"a\" if input.request.query.n == [\"1\"]\n\ndeny contains \"b\" if input.request.query.n[0] == \"1\"\n\ndeny contains \"c\" if \"1\" in input.request.query.n\n"}, nil},
		"recursion":            {map[string]string{"own.rego": access + "deny contains \"a\" if data.tollgate.decision.allow\n"}, []string{"own.rego:3: rule data.tollgate.access.deny is recursive"}},
		"unknown root":         {map[string]string{"lib.rego": "package lib\n\np := input.reqest.path\n"}, []string{"lib.rego:3: input.reqest.path is in no input"}},
		"unknown field":        {map[string]string{"lib.rego": "package lib\n\np := input.subscription.developer.mail\n"}, []string{"lib.rego:3: input.subscription.developer.mail is in no input"}},
		"field of a text":      {map[string]string{"lib.rego": "package lib\n\np := input.request.path.x\n"}, []string{"lib.rego:3: input.request.path.x is in no input"}},
		"upper case":           {map[string]string{"lib.rego": "package lib\n\np := input.request.headers[\"X-Plan\"]\n"}, []string{`lib.rego:3: input.request.headers["X-Plan"] matches no header: names are in lower case: input.request.headers["x-plan"]`}},
		"a test that fails":    {map[string]string{"own_test.rego": "package own_test\n\ntest_a if false\n"}, []string{"own_test.rego:3: test test_a failed"}},
		"a case that fails":    {map[string]string{"own_test.rego": "package own_test\n\ntest_a[n] if {\n\tsome n in [\"b\"]\n\tn == \"c\"\n}\n"}, []string{"own_test.rego:3: test test_a failed"}},
		"a test of an error":   {map[string]string{"own_test.rego": "package own_test\n\ntest_a if {\n\tnot to_number(\"x\")\n}\n"}, []string{"own_test.rego:3: test test_a ended with an error"}},
		"a test that passes":   {map[string]string{"own.rego": deny("a"), "own_test.rego": "package own_test\n\ntest_a if \"a\" in data.tollgate.access.deny\n"}, nil},
		"a test of our rules":  {map[string]string{"own_test.rego": "package own_test\n\ntest_a if {\n\tnot data.tollgate.decision.allow with input as {}\n}\n"}, nil},
		"what tests declare":   {map[string]string{"own.rego": access + "deny contains \"a\" if data.own_test.off\n", "own_test.rego": "package own_test\n\noff := false\n"}, []string{"own.rego:3: data.own_test is made of tests"}},
		"data of the gateway":  {map[string]string{"data.json": `{"catalog": {}}`}, []string{"data.json:1: data.catalog belongs to tollgate"}},
		"data over rules":      {map[string]string{"lib.rego": "package lib\n\np := 1\n", "data.json": `{"lib": {"p": 2}}`}, []string{"data: a data file and a module"}},
		"data beside rules":    {map[string]string{"lib.rego": "package lib\n\np := 1\n", "data.json": `{"lib": {"q": 2}}`}, nil},
		"data over a package":  {map[string]string{"lib.rego": "package lib.sub\n\np := 1\n", "data.json": `{"lib": 2}`}, []string{"data: a data file and a module"}},
		"data twice":           {map[string]string{"data.json": `{"a": {"b": 1}}`, "a/data.yaml": "b: 2\n"}, []string{"data.json:1: data.a.b is declared twice"}},
		"no object":            {map[string]string{"data.json": `[]`}, []string{"data.json:1: not a JSON or YAML object"}},
		"what is no policy":    {map[string]string{"README.md": "text", "corpus/case.json": "[]", ".git/x.rego": "broken", ".hidden.rego": "broken"}, nil},
		"annotations":          {map[string]string{"lib.rego": "package lib\n\n# METADATA\n# schemas:\n#   - input: schema.input\np := input.api.nme\n"}, []string{"lib.rego:6: undefined ref: input.api.nme"}},
		"all headers":          {map[string]string{"own.rego": access + "deny contains \"a\" if count(input.request.headers) > 9\n"}, []string{`own.rego:3: warning: input.request.headers is read as a whole, so no decision is kept: name the field instead, like input.request.headers["x-plan"]`}},
		"all of input":         {map[string]string{"own.rego": access + "deny contains \"a\" if object.get(input, \"x\", 1) == 2\n"}, []string{"own.rego:3: warning: input is read as a whole, so no decision is kept: name the field instead, like input.request.path"}},
		"the clock":            {map[string]string{"own.rego": access + "deny contains \"a\" if time.now_ns() < 0\n"}, []string{"own.rego:3: warning: time.now_ns may answer differently each time"}},
		"behind a not":         {map[string]string{"own.rego": access + "deny contains \"a\" if not \"beta\" in input.request.query.channel\n"}, []string{"own.rego:3: warning: without input.request.query.channel the whole rule is undefined"}},
		"nested behind a not":  {map[string]string{"own.rego": access + "deny contains \"a\" if not lower(input.subscription.attributes.tier) == \"gold\"\n"}, []string{"own.rego:3: warning: without input.subscription.attributes.tier"}},
		"compared in place":    {map[string]string{"own.rego": access + "deny contains \"a\" if not input.subscription.attributes.tier == \"gold\"\n\ndeny contains \"b\" if not input.request.headers.x[0]\n\ndeny contains \"c\" if not startswith(input.request.path, \"/a\")\n"}, nil},
		"a base file replaced": {map[string]string{"tollgate/quota/quota.rego": "package tollgate.quota\n\nlimits := set()\n"}, nil},
		"a base file spoilt":   {map[string]string{"tollgate/quota/quota.rego": "package tollgate.quota\n\nlimits := }\n"}, []string{"tollgate/quota/quota.rego:3: "}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, test.files)
			var got strings.Builder
			found := policy.Check(context.Background(), dir)
			for _, m := range found {
				got.WriteString(strings.ReplaceAll(m.String(), dir+"/", "") + "\n")
			}
			for _, want := range test.want {
				if !strings.Contains(got.String(), want) {
					t.Errorf("no mistake with %q", want)
				}
			}
			if (len(found) > 0) != (len(test.want) > 0) {
				t.Errorf("%d mistakes", len(found))
			}
			if t.Failed() {
				t.Logf("found:\n%s", &got)
			}
		})
	}
}

func TestCheckOfNoFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, m := range policy.Check(context.Background(), dir) {
		if m.File == dir && strings.Contains(m.Message, "no such file") && !m.Warning {
			return
		}
	}
	t.Error("a folder that is not there has no mistake")
}

func TestBundle(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string // part of the error; empty: it denies for "a"
	}{
		"modules and data":   {map[string]string{"own.rego": access + "deny contains \"a\" if data.flags.on\n", "data.json": `{"flags": {"on": true}}`}, ""},
		"a failing test":     {map[string]string{"own.rego": deny("a"), "own_test.rego": "package own_test\n\ntest_a if false\n"}, "own_test.rego:3: test test_a failed"},
		"a mistake":          {map[string]string{"own.rego": access + "deny contains x\n"}, "own.rego:3: var x is unsafe"},
		"a parse error":      {map[string]string{"own.rego": access + "deny contains\n"}, "own.rego:4"},
		"the gateway's data": {map[string]string{"own.rego": deny("a"), "data.json": `{"catalog": {"apis": {}}}`}, "data.catalog belongs to tollgate"},
		"a signed one":       {map[string]string{"own.rego": deny("a"), ".signatures.json": `{"signatures": ["x"]}`}, "verif"},
		"http":               {map[string]string{"own.rego": access + "deny contains \"a\" if http.send({\"url\": \"\", \"method\": \"get\"})\n"}, "http.send"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "b.tar.gz")
			put(t, file, bundled(t, test.files))
			e, err := policy.Open(context.Background(), policy.Config{Bundle: file, Catalog: demoCatalog()})
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("opened with %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a"}, decide(t, e, ask(nil)).Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		e := engine(t, policy.Config{Bundle: folder(t, map[string]string{"own.rego": deny("a")})})
		if got := decide(t, e, ask(nil)); got.Allow {
			t.Errorf("%+v", got)
		}
	})
	t.Run("with a folder beside it", func(t *testing.T) {
		if _, err := policy.Open(context.Background(), policy.Config{Bundle: "a", Dir: "b"}); err == nil {
			t.Error("no error")
		}
	})
}

func TestExplain(t *testing.T) {
	dir := folder(t, map[string]string{
		"own.rego": access + `# METADATA
# title: Closed for plans
deny contains reason if {
	some plan in input.request.headers["x-plan"]
	reason := concat("_", ["no", plan])
}

deny contains {"reason": "no_gold", "message": "text"} if input.request.headers["x-plan"][0] == "gold"

deny contains "never" if input.request.path == "/none"
`,
	})
	e := engine(t, policy.Config{Dir: dir})
	const path = "data.tollgate.access.deny"
	tests := map[string]struct {
		change func(*policy.Input)
		want   []policy.Rule
	}{
		"allowed": {func(in *policy.Input) { in.Request.Headers = nil }, nil},
		"own rules": {nil, []policy.Rule{
			{Path: path, File: dir + "/own.rego", Line: 5, Reason: "no_gold", Title: "Closed for plans"},
			{Path: path, File: dir + "/own.rego", Line: 10, Reason: "no_gold"},
		}},
		"several reasons of a rule": {func(in *policy.Input) { in.Request.Headers["x-plan"] = []string{"a", "b"} }, []policy.Rule{
			{Path: path, File: dir + "/own.rego", Line: 5, Reason: "no_a", Title: "Closed for plans"},
			{Path: path, File: dir + "/own.rego", Line: 5, Reason: "no_b", Title: "Closed for plans"},
		}},
		"embedded rules": {func(in *policy.Input) {
			in.Request.Headers, in.Subscription.State = nil, "suspended"
			in.Resource = &policy.Resource{Kind: "job", ID: "1"}
		}, []policy.Rule{
			{Path: path, File: "policies/tollgate/access/access.rego", Line: line(t, "subscription_not_active"), Reason: "subscription_not_active", Title: "Subscription not active"},
			{Path: path, File: "policies/tollgate/access/access.rego", Line: line(t, "_not_found"), Reason: "job_not_found", Title: "Somebody else's resource"},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := e.Explain(context.Background(), ask(test.change))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// line is where the embedded access policy first says reason in a rule.
func line(t *testing.T, reason string) int {
	t.Helper()
	rego, err := policies.FS.ReadFile("tollgate/access/access.rego")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(rego), "\n") {
		if strings.HasPrefix(line, "deny contains") && strings.Contains(line, reason) {
			return i + 1
		}
	}
	t.Fatalf("no rule denies for %s", reason)
	return 0
}

func TestExplainWithoutDenyRules(t *testing.T) {
	e := engine(t, policy.Config{Dir: folder(t, map[string]string{"tollgate/decision.rego": `package tollgate

decision := {
	"allow": false, "reasons": ["closed"], "status": 403, "message": "", "limits": [],
	"request": {"set": {}, "remove": []}, "response": {"set": {}, "remove": []}, "ttl": "30s", "valid_until": null,
}
`})})
	got, err := e.Explain(context.Background(), ask(nil))
	if err != nil || len(got) != 1 || got[0].Line != 3 || got[0].Reason != "closed" || got[0].Path != "data.tollgate.decision" {
		t.Errorf("%+v, %v", got, err)
	}
}
