package main_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
)

const module = "../bin/tollgate.wasm"

// TestImportsAndExports holds the module to what the host has: an import more, and an older
// Envoy may not load it; an export more, and each request pays for a callback.
func TestImportsAndExports(t *testing.T) {
	text, err := os.ReadFile(module)
	if err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	runtime := wazero.NewRuntime(t.Context())
	defer func() { _ = runtime.Close(t.Context()) }()
	compiled, err := runtime.CompileModule(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range compiled.ImportedFunctions() {
		from, name, _ := f.Import()
		got = append(got, "import "+from+"."+name)
	}
	for name := range compiled.ExportedFunctions() {
		got = append(got, "export "+name)
	}
	slices.Sort(got)
	golden, err := os.ReadFile("testdata/module.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(golden)), "\n"), got); diff != "" {
		t.Errorf("module.golden (-want +got):\n%s", diff)
	}
}

// TestGuestDependencies keeps packages out of the module that cost it size, or that need a
// host the filter does not have.
func TestGuestDependencies(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./plugin")
	list.Dir, list.Env = "..", append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		if slices.Contains([]string{"encoding/json", "net", "net/http", "log/slog", "log", "regexp", "context"}, name) || strings.Contains(name, "tollgate/sidecar") {
			t.Errorf("the module imports %s", name)
		}
	}
}
