package policies_test

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/tollgate/tollgate/policies"
)

// modules reads every embedded module, by its path.
func modules(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".rego" {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		texts[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) == 0 {
		t.Fatal("no modules are embedded")
	}
	return texts
}

func parsed(t *testing.T) map[string]*ast.Module {
	t.Helper()
	all := map[string]*ast.Module{}
	for name, text := range modules(t) {
		module, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		all[name] = module
	}
	return all
}

// compiler is strict and knows the schemas, as `opa check --strict -s policies/schemas`.
func compiler(t *testing.T) *ast.Compiler {
	t.Helper()
	text, err := fs.ReadFile(policies.FS, policies.InputSchema)
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := util.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.MustParseRef("schema.input"), schema)
	return ast.NewCompiler().WithStrict(true).WithSchemas(set).WithUseTypeCheckAnnotations(true)
}

func TestRego(t *testing.T) {
	covered := cover.New()
	all := parsed(t)
	results, err := tester.NewRunner().
		SetCompiler(compiler(t)).
		SetStore(inmem.New()).
		SetModules(all).
		RaiseBuiltinErrors(true).
		SetCoverageQueryTracer(covered).
		SetCoverageRuns(nil).
		RunTests(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for result := range results {
		ran++
		if !result.Pass() {
			t.Errorf("%s: %v %v", result.Location, result, result.Error)
		}
	}
	if ran == 0 {
		t.Fatal("no Rego tests ran")
	}
	report := covered.Report(all)
	for name, file := range report.Files {
		for _, missed := range file.NotCovered {
			t.Errorf("%s:%d: not covered by any test", name, missed.Start.Row)
		}
	}
}

func TestEveryFileHasASiblingTest(t *testing.T) {
	texts := modules(t)
	for name := range texts {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		if _, ok := texts[strings.TrimSuffix(name, ".rego")+"_test.rego"]; !ok {
			t.Errorf("%s has no sibling test", name)
		}
	}
}

func TestFormat(t *testing.T) {
	for name, text := range modules(t) {
		formatted, err := format.SourceWithOpts(name, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(formatted), text); diff != "" {
			t.Errorf("%s is not formatted (-want +got):\n%s", name, diff)
		}
	}
}

// The path of a module is its package, so that an author finds one from the other.
func TestPathIsPackage(t *testing.T) {
	for name, module := range parsed(t) {
		var segments []string
		for _, term := range module.Package.Path[1:] {
			segments = append(segments, string(term.Value.(ast.String)))
		}
		pkg := strings.TrimSuffix(strings.Join(segments, "/"), "_test")
		if pkg != path.Dir(name) {
			t.Errorf("%s is package %s", name, pkg)
		}
	}
}

func TestMetadata(t *testing.T) {
	c := compiler(t)
	if c.Compile(parsed(t)); c.Failed() {
		t.Fatal(c.Errors)
	}
	annotations := c.GetAnnotationSet()
	var entrypoints []string
	for name, module := range c.Modules {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		if annotations.GetPackageScope(module.Package) == nil {
			t.Errorf("%s: the package has no METADATA", name)
		}
		for _, rule := range module.Rules {
			if strings.HasPrefix(string(rule.Head.Name), "_") {
				continue
			}
			own := annotations.GetRuleScope(rule)
			if document := annotations.GetDocumentScope(rule.Ref().GroundPrefix()); document != nil {
				own = append(own, document)
			}
			if len(own) == 0 || own[0].Title == "" {
				t.Errorf("%s: %s has no METADATA with a title", rule.Loc(), rule.Head.Name)
			}
			if slices.ContainsFunc(own, func(a *ast.Annotations) bool { return a.Entrypoint }) {
				entrypoints = append(entrypoints, rule.Ref().String())
			}
		}
	}
	if diff := cmp.Diff([]string{"data.tollgate.decision"}, entrypoints); diff != "" {
		t.Errorf("entrypoints (-want +got):\n%s", diff)
	}
}

// A type error against the schema must be found, or the annotations do nothing.
func TestSchemaIsUsed(t *testing.T) {
	all := parsed(t)
	const name = "tollgate/access/typo.rego"
	all[name] = ast.MustParseModuleWithOpts(`package tollgate.access

# METADATA
# schemas:
#   - input: schema.input
deny contains "x" if input.api.nme == "orders"
`, ast.ParserOptions{ProcessAnnotation: true})
	c := compiler(t)
	c.Compile(all)
	if !c.Failed() || !strings.Contains(c.Errors.Error(), "input.api.nme") {
		t.Errorf("compiling input.api.nme gave %v", c.Errors)
	}
}
