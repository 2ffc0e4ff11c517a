package catalog_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The package decides; it asks no network, clock, database or environment.
func TestPackageIsPure(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case path == "net", strings.HasPrefix(path, "net/http"), path == "os/exec", path == "database/sql", strings.HasPrefix(path, "math/rand"):
			t.Errorf("depends on %s", path)
		case standard == "false" && path != "go.yaml.in/yaml/v3" && path != "github.com/mtibben/confusables" &&
			!strings.HasPrefix(path, "golang.org/x/text/") && !strings.HasSuffix(path, "/internal/catalog"):
			t.Errorf("depends on %s", path)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding sources: %v, %v", files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok {
				switch used := x.Name + "." + selector.Sel.Name; {
				case used == "time.Now", used == "time.Since", used == "time.Until", used == "time.Local", x.Name == "os":
					t.Errorf("%s uses %s", name, used)
				}
			}
			return true
		})
	}
}
