package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/tollgate/tollgate/policies"
)

// maxFileBytes bounds each file of a folder or bundle.
const maxFileBytes = 16 << 20

// source is what policies are built from, before it is understood: the embedded modules
// with the author's beside them or in their place.
type source struct {
	modules map[string]module // by path below the root: tollgate/access/access.rego
	data    map[string]any
}

// module is one Rego file. name is what people find it under.
type module struct {
	name string
	text []byte
	own  bool // the author's, not embedded
}

// equal says whether the same policies would be built from both.
func (s source) equal(other source) bool {
	same := func(x, y module) bool { return x.name == y.name && bytes.Equal(x.text, y.text) }
	return maps.EqualFunc(s.modules, other.modules, same) && reflect.DeepEqual(s.data, other.data)
}

// read loads the embedded policies and adds those of dir or of bundle, whichever is
// named. A file at the path of an embedded one takes its place.
func read(dir, bundleFile string) (source, error) {
	s := source{modules: map[string]module{}, data: map[string]any{}}
	if err := s.add(policies.FS, "policies", false); err != nil {
		return source{}, err
	}
	if bundleFile != "" {
		info, err := os.Stat(bundleFile)
		switch {
		case err != nil:
			return source{}, fmt.Errorf("reading bundle: %w", err)
		case !info.IsDir():
			return s, s.addBundle(bundleFile)
		}
		dir = bundleFile
	}
	if dir == "" {
		return s, nil
	}
	// A folder that vanished must not be taken for one without policies.
	if info, err := os.Stat(dir); err != nil {
		return source{}, fmt.Errorf("reading policies: %w", err)
	} else if !info.IsDir() {
		return source{}, fmt.Errorf("reading policies: %s is not a folder", dir)
	}
	return s, s.add(os.DirFS(dir), dir, true)
}

// add takes in every module and every data.json, data.yaml and data.yml below files, as
// OPA does with a bundle. Names that begin with a dot are left out: editors and
// Kubernetes keep their own copies under such.
func (s source) add(files fs.FS, root string, own bool) error {
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir(), !isPolicyFile(name):
			return nil
		}
		text, err := readFile(files, name)
		if err != nil {
			return err
		}
		if path.Ext(name) == ".rego" {
			s.modules[name] = module{name: filepath.Join(root, name), text: text, own: own}
			return nil
		}
		return s.addData(filepath.Join(root, name), path.Dir(name), text)
	})
	if err != nil {
		return fmt.Errorf("reading policies: %w", err)
	}
	return nil
}

func isPolicyFile(name string) bool {
	switch path.Base(name) {
	case "data.json", "data.yaml", "data.yml":
		return true
	}
	return path.Ext(name) == ".rego"
}

// readFile follows a symbolic link to a file, for that is how Kubernetes mounts a
// ConfigMap.
func readFile(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxFileBytes)
	}
	return fs.ReadFile(files, name)
}

// addData mounts a data file at the path of its folder.
func (s source) addData(file, at string, text []byte) error {
	var value map[string]any
	if err := util.Unmarshal(text, &value); err != nil {
		return &Mistakes{{File: file, Line: 1, Message: fmt.Sprintf("not a JSON or YAML object: %v", err)}}
	}
	if at != "." {
		for _, segment := range slices.Backward(strings.Split(at, "/")) {
			value = map[string]any{segment: value}
		}
	}
	return s.merge(file, value)
}

func (s source) merge(file string, value map[string]any) error {
	for _, ours := range []string{"catalog", "configuration", "tollgate"} {
		if _, taken := value[ours]; taken {
			return &Mistakes{{File: file, Line: 1, Message: fmt.Sprintf("data.%s belongs to tollgate: choose another name", ours)}}
		}
	}
	if at, ok := mergeInto(s.data, value, "data"); !ok {
		return &Mistakes{{File: file, Line: 1, Message: at + " is declared twice"}}
	}
	return nil
}

// mergeInto adds from to into; false and the path when both have something there.
func mergeInto(into, from map[string]any, at string) (string, bool) {
	for _, key := range slices.Sorted(maps.Keys(from)) {
		old, exists := into[key]
		if !exists {
			into[key] = from[key]
			continue
		}
		inner, isObject := old.(map[string]any)
		other, areObjects := from[key].(map[string]any)
		if !isObject || !areObjects {
			return at + "." + key, false
		}
		if at, ok := mergeInto(inner, other, at+"."+key); !ok {
			return at, false
		}
	}
	return "", true
}

// addBundle takes in a bundle.tar.gz as `opa build` writes it. Signed bundles are
// refused: this release has no way to name the key that would verify them.
func (s source) addBundle(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading bundle: %w", err)
	}
	b, err := bundle.NewReader(bytes.NewReader(text)).
		WithRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		WithSizeLimitBytes(maxFileBytes).
		Read()
	if err != nil {
		var parse ast.Errors
		if errors.As(err, &parse) {
			return mistakes(parse)
		}
		return &Mistakes{{File: file, Message: err.Error()}}
	}
	if len(b.WasmModules) > 0 || len(b.PlanModules) > 0 {
		return &Mistakes{{File: file, Message: "compiled bundles are not supported: build it with --target rego"}}
	}
	for _, m := range b.Modules {
		name := strings.TrimPrefix(m.Path, "/")
		s.modules[name] = module{name: file + ":" + name, text: m.Raw, own: true}
	}
	return s.merge(file, b.Data)
}
