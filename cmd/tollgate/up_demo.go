package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
	"github.com/tollgate/tollgate/emulator"
	"github.com/tollgate/tollgate/emulator/azurite"
	"github.com/tollgate/tollgate/sidecar/bootstrap"
	"github.com/tollgate/tollgate/sidecar/xds"
)

const (
	loopback = "127.0.0.1"
	// What the demo's catalog declares.
	demoAPI       = "AzureML Demo API"
	demoSuffix    = "azureml-demo"
	demoWorkspace = emulator.DefaultWorkspace
	demoService   = emulator.DefaultService

	// Names of the parts in messages.
	partEnvoy   = "Envoy"
	partSidecar = "the sidecar"
	partBackend = "the emulated AzureML service"

	readyPath = "/.tollgate/ready"
	// readyInARow is how many connections in a row must find a worker that is ready: each
	// worker gets ready by itself, and Envoy gives it connections as it likes.
	readyInARow = 8
	// A slow machine compiles the filter for many seconds.
	readyWithin = 90 * time.Second
	stopGrace   = 5 * time.Second
	pollEvery   = 20 * time.Millisecond
)

// demo is a run of `tollgate up`.
type demo struct {
	upOptions
	layout layout
	keys   demoKeys
	out    io.Writer
	unlock func()

	storage *azurite.Process // nil without Node.js
	parts   []*process.Process
	died    chan error // the first part that ends
}

func (d *demo) gateway() string { return "http://" + net.JoinHostPort(loopback, strconv.Itoa(d.port)) }
func (d *demo) backend() string {
	return "http://" + net.JoinHostPort(loopback, strconv.Itoa(d.backendPort))
}

// from is where what is handed out stands.
func (d *demo) from() string {
	if d.empty {
		return "store " + d.layout.store
	}
	return "catalog " + d.catalog
}

func (d *demo) storageConnection() string {
	if d.storage == nil {
		return ""
	}
	return d.storage.ConnectionString
}

// start starts the parts and returns when the gateway answers. Envoy needs the sidecar's
// files; storage starts meanwhile, and the backend needs to know it.
func (d *demo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	fmt.Fprintln(d.out, "Starting the demo in "+d.layout.dir)
	stored := make(chan error, 1)
	go func() { stored <- d.startStorage(ctx) }()
	err := d.startGateway(ctx)
	// Wait for storage whatever happened, so that stop finds it.
	if storage := <-stored; err == nil {
		err = storage
	}
	if err != nil {
		return err
	}
	if d.storage != nil {
		d.say("storage", "Azurite at "+d.storage.URL)
	} else {
		d.say("storage", "none: batch jobs need Node.js, and there is no `node` on PATH; all else works")
	}
	if err := d.startBackend(ctx); err != nil {
		return err
	}
	return d.await(ctx, partEnvoy, d.layout.envoyLog, d.ready)
}

// startGateway starts the sidecar and, as soon as that has written its files, Envoy.
func (d *demo) startGateway(ctx context.Context) error {
	args := []string{"serve",
		"--store", d.layout.store,
		"--socket", d.layout.sidecarSocket,
		"--admin", d.layout.administration,
		"--xds", d.layout.xds,
		"--allow-backend", loopback,
		"--policies", d.policies,
	}
	if !d.empty {
		args = append(args, "--catalog", d.catalog, "--backend", demoAPI+"="+d.backend())
	}
	err := d.run(process.Program{
		Name: partSidecar, Path: self(), Log: d.layout.sidecarLog, Args: args,
		Env: append(os.Environ(),
			"TOLLGATE_DEMO_KEY="+d.keys.Unlimited,
			"TOLLGATE_DEMO_STARTER_KEY="+d.keys.Starter,
			"AZUREML_API_KEY="+d.keys.Backend,
			secretPrefix+"AZUREML="+d.keys.Backend,
		),
	})
	if err != nil {
		return err
	}
	d.say("sidecar", "policies and "+d.from())
	if err := d.await(ctx, partSidecar, d.layout.sidecarLog, d.sidecarReady); err != nil {
		return err
	}
	if err := d.writeBootstrap(); err != nil {
		return err
	}
	d.say("Envoy", "compiles the filter")
	return d.run(process.Program{
		Name: partEnvoy, Path: d.envoy, Log: d.layout.envoyLog,
		// Not below warning: debug would print request headers.
		Args: []string{"--config-path", d.layout.bootstrap, "--log-level", "warning",
			"--disable-hot-restart", "--file-flush-interval-msec", "500"},
		Env: plainEnv(), // no key is its business
	})
}

// startStorage starts Azurite, unless there is no Node.js for it: the rest of the demo does
// without.
func (d *demo) startStorage(ctx context.Context) error {
	if _, err := exec.LookPath("node"); err != nil {
		return nil
	}
	// Once it runs it ends with stop, not with ctx: after those who use it.
	life, end := context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, end)()
	storage, err := azurite.Start(life, azurite.Options{
		Dir: d.layout.blobs, Port: d.storagePort, AccountKey: d.keys.Storage, Bin: d.azurite(),
	})
	if err != nil {
		end()
		return fmt.Errorf("the blob storage does not start: %w", err)
	}
	d.storage = storage
	return nil
}

// azurite is where `make` puts it; empty: let the package look.
func (d *demo) azurite() string {
	if bin := filepath.Join(d.root, toolAzurite); os.Getenv("AZURITE") == "" && exists(bin) {
		return bin
	}
	return ""
}

func (d *demo) startBackend(ctx context.Context) error {
	address := net.JoinHostPort(loopback, strconv.Itoa(d.backendPort))
	err := d.run(process.Program{
		Name: partBackend, Path: self(), Log: d.layout.backendLog,
		Args: []string{"emulate", "azureml", "--listen", address},
		Env: append(plainEnv(),
			"AZUREML_KEY="+d.keys.Backend,
			"AZUREML_STORAGE="+d.storageConnection(),
			"AZUREML_CONSUMER_KEYS="+d.keys.Unlimited+" "+d.keys.Starter, // one that arrives is a bug
		),
	})
	if err != nil {
		return err
	}
	d.say("backend", "emulated AzureML at "+d.backend())
	return d.await(ctx, partBackend, d.layout.backendLog, func(ctx context.Context) bool {
		return dials(ctx, "tcp", address)
	})
}

func (d *demo) writeBootstrap() error {
	template, err := os.ReadFile(filepath.Join(d.root, bootstrapFile))
	if err != nil {
		return fmt.Errorf("reading Envoy's bootstrap: %w", err)
	}
	filled, err := bootstrap.Fill(template, bootstrap.Values{
		Address: loopback, Port: d.port, AdminSocket: d.layout.adminSocket, SidecarSocket: d.layout.sidecarSocket,
		XDS: d.layout.xds, Plugin: d.plugin, AccessLog: d.layout.accessLog,
	})
	if err != nil {
		return err
	}
	if err := writePrivate(d.layout.bootstrap, filled); err != nil {
		return fmt.Errorf("writing Envoy's bootstrap: %w", err)
	}
	return nil
}

// run starts a part and has its end reported.
func (d *demo) run(p process.Program) error {
	part, err := process.Start(p)
	if err != nil {
		return err
	}
	d.parts = append(d.parts, part)
	go func() {
		<-part.Done()
		select {
		case d.died <- endOf(part):
		default: // another one was first
		}
	}()
	return nil
}

// endOf says in one line what happened and where to read more.
func endOf(p *process.Process) error {
	how := "ended"
	if err := p.Err(); err != nil {
		how = "ended with " + err.Error()
	}
	if last := process.LastLine(p.Log); last != "" {
		how += ": " + last
	}
	return fmt.Errorf("%s %s (its log is %s)", p.Name, how, p.Log)
}

// await polls until ready says so, a part ends, or ctx does.
func (d *demo) await(ctx context.Context, name, log string, ready func(context.Context) bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case err := <-d.died:
			return d.because(ctx, err)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: see %s", name, readyWithin, log)
		case <-tick.C:
		}
	}
	return nil
}

// watch returns when ctx ends or a part does.
func (d *demo) watch(ctx context.Context) error {
	var gone <-chan struct{}
	if d.storage != nil {
		gone = d.storage.Exited()
	}
	select {
	case err := <-d.died:
		return d.because(ctx, err)
	case <-gone:
		return d.because(ctx, errors.New("the blob storage (Azurite) ended; start again with `tollgate up`"))
	case <-ctx.Done():
		return nil
	}
}

// because prefers "we were asked to stop" to "a part has ended": a terminal's Ctrl-C may
// reach both, and the part be quicker.
func (d *demo) because(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(200 * time.Millisecond):
		return err
	}
}

// stop ends the parts in the order in which requests meet them.
func (d *demo) stop() {
	for _, name := range []string{partEnvoy, partSidecar, partBackend} {
		for _, part := range d.parts {
			if part.Name == name {
				part.Stop(stopGrace)
			}
		}
	}
	if d.storage != nil {
		_ = d.storage.Close() // always nil
	}
}

func (d *demo) sidecarReady(ctx context.Context) bool {
	return exists(filepath.Join(d.layout.xds, xds.ClustersFile)) && exists(filepath.Join(d.layout.xds, xds.RoutesFile)) &&
		dials(ctx, "unix", d.layout.sidecarSocket)
}

// ready asks through Envoy: the filter answers, once it has a snapshot.
func (d *demo) ready(ctx context.Context) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range readyInARow {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.gateway()+readyPath, nil)
		if err != nil {
			return false
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}

func dials(ctx context.Context, network, address string) bool {
	connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

// self is this very program, so that all parts are of one build.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// plainEnv is what a program needs that gets no secret from us.
func plainEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
