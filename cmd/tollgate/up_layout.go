package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tollgate/tollgate/sidecar/bootstrap"
)

const (
	bootstrapFile = "envoy.yaml"
	versionFile   = ".envoy-version"
	demoCatalog   = "examples/azureml-demo/tollgate.yaml"
	// Where `make` puts its tools, below the clone.
	toolEnvoy   = ".tools/envoy/envoy/_bin/envoy"
	toolAzurite = ".tools/azurite/node_modules/.bin/azurite-blob"
)

// layout names everything in the folder of a run.
type layout struct {
	dir, lock, keys, env, store, xds, blobs     string
	bootstrap, sidecarSocket, adminSocket       string
	administration                              string // the sidecar's; adminSocket is Envoy's
	accessLog, envoyLog, sidecarLog, backendLog string
}

func newLayout(root, dir string) layout {
	if dir == "" {
		dir = filepath.Join(root, ".tollgate")
	}
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	return layout{
		dir: dir, lock: in("lock"), keys: in("keys.json"), env: in("demo.env"), store: in("tollgate.db"),
		xds: in("xds"), blobs: in("blobs"),
		bootstrap: in("envoy.yaml"), sidecarSocket: in("sidecar.sock"), adminSocket: in("admin.sock"),
		administration: in(filepath.Base(defaultAdmin)),
		accessLog:      in("access.log"), envoyLog: in("envoy.log"), sidecarLog: in("sidecar.log"), backendLog: in("backend.log"),
	}
}

// clear removes what an earlier run left and this one waits for.
func (l layout) clear() error {
	for _, file := range []string{l.sidecarSocket, l.adminSocket, l.env, l.accessLog} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clearing the run before: %w", err)
		}
	}
	return nil
}

// findRoot returns the clone: the folder that was named, else the nearest with envoy.yaml
// from here up, else the one that this program was built in.
func findRoot(named string) (string, error) {
	if named != "" {
		if !exists(filepath.Join(named, bootstrapFile)) {
			return "", fmt.Errorf("%s is no clone of tollgate: it has no %s", named, bootstrapFile)
		}
		return filepath.Abs(named)
	}
	if here, err := os.Getwd(); err == nil {
		for dir := here; ; dir = filepath.Dir(dir) {
			if exists(filepath.Join(dir, bootstrapFile)) && exists(filepath.Join(dir, versionFile)) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if program, err := os.Executable(); err == nil {
		if dir := filepath.Dir(filepath.Dir(program)); exists(filepath.Join(dir, bootstrapFile)) {
			return dir, nil
		}
	}
	return "", errors.New("this is no clone of tollgate: run `tollgate up` in one, or name it with --root")
}

func (d *demo) findEnvoy(ctx context.Context) (string, error) {
	version, err := bootstrap.ReadVersion(filepath.Join(d.root, versionFile))
	if err != nil {
		return "", err
	}
	path, err := bootstrap.FindEnvoy(ctx, version, d.envoy, "envoy", filepath.Join(d.root, toolEnvoy))
	switch {
	case errors.Is(err, bootstrap.ErrNoEnvoy):
		return "", fmt.Errorf("there is no Envoy %s on PATH or in .tools: get it with `make envoy`, or name one with ENVOY=/path/to/envoy", version)
	case err != nil:
		return "", fmt.Errorf("$ENVOY names no usable Envoy: %w", err)
	}
	return path, nil
}

func findPlugin(root, named string) (string, error) {
	var candidates []string
	if named != "" {
		candidates = []string{named}
	} else {
		if program, err := os.Executable(); err == nil {
			candidates = append(candidates, filepath.Join(filepath.Dir(program), "tollgate.wasm"))
		}
		candidates = append(candidates, filepath.Join(root, "bin", "tollgate.wasm"))
	}
	for _, c := range candidates {
		if exists(c) {
			return filepath.Abs(c)
		}
	}
	return "", fmt.Errorf("the compiled filter %s is missing: build it with `make build`", candidates[len(candidates)-1])
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
