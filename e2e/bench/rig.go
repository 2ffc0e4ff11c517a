package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/bootstrap"
	"github.com/tollgate/tollgate/sidecar/xds"
)

const (
	loopback    = "127.0.0.1"
	pluginFile  = "bin/tollgate.wasm"
	binaryFile  = "bin/tollgate"
	catalogFile = "examples/azureml-demo/tollgate.yaml"
	// What the demo's catalog declares.
	apiName   = "AzureML Demo API"
	apiSuffix = "azureml-demo"

	readyWithin = 60 * time.Second // for machines that are busy otherwise
	pollEvery   = 10 * time.Millisecond
	stopGrace   = 5 * time.Second
)

// rig is everything that runs during a benchmark.
type rig struct {
	root, dir string
	envoy     string
	keys      struct{ consumer, backend string }
	backend   *backend
	lanes     []*lane
	processes []*process.Process
}

// lane is a variant that runs.
type lane struct {
	variant
	rig       *rig
	dir       string
	port      int                // Envoy's
	metrics   string             // address of the sidecar's metrics; empty: there is no sidecar
	processes []*process.Process // whose CPU time is the variant's
	clients   []*client
	patience  time.Duration // with what starts; 0: readyWithin
}

// startRig starts all variants and returns when each has let a request through.
func startRig(ctx context.Context, c config, dir string) (r *rig, err error) {
	r = &rig{root: c.root, dir: dir}
	r.keys.consumer, r.keys.backend = newKey(), newKey()
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	version, err := bootstrap.ReadVersion(filepath.Join(r.root, ".envoy-version"))
	if err != nil {
		return r, err
	}
	r.envoy, err = bootstrap.FindEnvoy(ctx, version, os.Getenv("ENVOY"), "envoy", filepath.Join(r.root, ".tools/envoy/envoy/_bin/envoy"))
	if err != nil {
		return r, fmt.Errorf("%w: run `make envoy`, or name one in $ENVOY", err)
	}
	if r.backend, err = startBackend(); err != nil {
		return r, err
	}
	for _, v := range c.variants {
		l := &lane{variant: v, rig: r, dir: filepath.Join(dir, v.name)}
		r.lanes = append(r.lanes, l)
		if err := l.start(ctx); err != nil {
			return r, fmt.Errorf("starting %s: %w", l.name, err)
		}
	}
	for _, l := range r.lanes {
		if err := l.open(ctx, c.connections); err != nil {
			return r, fmt.Errorf("starting %s: %w", l.name, err)
		}
	}
	return r, nil
}

// stop ends all that was started.
func (r *rig) stop() {
	for _, l := range r.lanes {
		for _, c := range l.clients {
			c.close()
		}
	}
	for _, p := range r.processes { // all at once: each takes its time to end
		_ = p.Signal(os.Interrupt)
	}
	for _, p := range r.processes {
		p.Stop(stopGrace)
	}
	if r.backend != nil {
		r.backend.stop()
	}
}

// newKey is a random key of 32 hex digits.
func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// env is the environment that the demo's catalog reads its keys from.
func (r *rig) env() []string {
	return append(os.Environ(), "TOLLGATE_DEMO_KEY="+r.keys.consumer, "TOLLGATE_DEMO_STARTER_KEY="+newKey(), "AZUREML_API_KEY="+r.keys.backend)
}

// catalog is the demo's, with our backend.
func (r *rig) catalog() (*catalog.Catalog, error) {
	return readCatalog(filepath.Join(r.root, catalogFile), r.backend.url())
}

func readCatalog(file, backend string) (*catalog.Catalog, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	overrides := map[string]string{apiName: backend}
	c, mistakes := catalog.Parse(file, text, catalog.Options{AllowBackends: []string{loopback}, BackendOverrides: overrides})
	if len(mistakes) > 0 {
		return nil, errors.New(mistakes[0].String())
	}
	c.Override(overrides)
	return c, nil
}

func (l *lane) path(name string) string { return filepath.Join(l.dir, name) }
func (l *lane) address() string         { return net.JoinHostPort(loopback, strconv.Itoa(l.port)) }

// start starts the variant's processes: what Envoy asks first, Envoy last.
func (l *lane) start(ctx context.Context) error {
	if err := os.MkdirAll(l.path("xds"), 0o700); err != nil {
		return err
	}
	var err error
	if l.filtered {
		err = l.startSidecar(ctx)
	} else {
		err = l.writeRoutes()
	}
	if err == nil && l.server != nil {
		err = l.startServer(ctx)
	}
	if err != nil {
		return err
	}
	if l.port, err = process.Port(loopback, 0); err != nil {
		return err
	}
	if err := l.writeBootstrap(); err != nil {
		return err
	}
	// One worker: what is measured is CPU time, and on two cores a second one would fight
	// with the load and the backend.
	return l.run(process.Program{Name: "Envoy", Path: l.rig.envoy, Log: l.path("envoy.log"), Args: []string{
		"--config-path", l.path("envoy.yaml"), "--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"}})
}

func (l *lane) startSidecar(ctx context.Context) error {
	port, err := process.Port(loopback, 0)
	if err != nil {
		return err
	}
	l.metrics = net.JoinHostPort(loopback, strconv.Itoa(port))
	file := filepath.Join(l.rig.root, catalogFile)
	if l.limits {
		if file, err = l.writeCatalog(); err != nil {
			return err
		}
	}
	args := []string{"serve", "--catalog", file, "--store", l.path("tollgate.db"),
		"--socket", l.path("sidecar.sock"), "--admin", l.path("limits.sock"), "--xds", l.path("xds"), "--metrics", l.metrics,
		"--allow-backend", loopback, "--backend", apiName + "=" + l.rig.backend.url()}
	if l.policy != "" {
		folder := l.path("policies")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "bench.rego"), []byte(l.policy), 0o600); err != nil {
			return err
		}
		args = append(args, "--policies", folder)
	}
	if err := l.run(process.Program{Name: "the sidecar", Path: filepath.Join(l.rig.root, binaryFile), Args: args,
		Env: l.rig.env(), Log: l.path("sidecar.log")}); err != nil {
		return err
	}
	return l.await(ctx, "the sidecar", func() error {
		if _, err := os.Stat(l.path("xds/" + xds.RoutesFile)); err != nil {
			return err
		}
		return dials("tcp", l.metrics) // the last thing that it does
	})
}

func (l *lane) run(p process.Program) error {
	started, err := process.Start(p)
	if err != nil {
		return err
	}
	l.processes = append(l.processes, started)
	l.rig.processes = append(l.rig.processes, started)
	return nil
}

// ended is errEnded once one of the variant's processes has.
func (l *lane) ended() error {
	for _, p := range l.processes {
		select {
		case <-p.Done():
			return fmt.Errorf("%w: %s (%w): %s", errEnded, p.Name, p.Err(), process.LastLine(p.Log))
		default:
		}
	}
	return nil
}

// await tries until there is no error, and returns the last one when readyWithin is over.
func (l *lane) await(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.patience, readyWithin))
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ended := l.ended(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w%s", what, err, l.lastWords())
		case <-tick.C:
		}
	}
}

// lastWords are the last lines of the logs.
func (l *lane) lastWords() string {
	var b strings.Builder
	for _, p := range l.processes {
		if line := process.LastLine(p.Log); line != "" {
			b.WriteString("\n  " + p.Name + ": " + line)
		}
	}
	return b.String()
}

func dials(network, address string) error {
	connection, err := net.DialTimeout(network, address, time.Second)
	if err == nil {
		connection.Close()
	}
	return err
}
