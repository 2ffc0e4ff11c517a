// Package harness runs a whole gateway for tests: a real Envoy with the compiled filter,
// the sidecar as a process of its own, the AzureML emulator inside the test, where what
// reached the backend can be looked at, and blob storage where asked for. Envoy runs
// envoy.yaml, filled in by the same code as for `tollgate up`.
//
// Everything is on free ports and in a folder of its own. Nothing sleeps: Eventually polls.
package harness

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/emulator"
	"github.com/tollgate/tollgate/emulator/azurite"
	"github.com/tollgate/tollgate/sidecar/bootstrap"
)

// readyWithin is for two cores that are busy otherwise.
const readyWithin = 120 * time.Second

const loopback = "127.0.0.1"

// ReadyPath is answered by the filter: 200 once the worker that was asked has a snapshot.
const ReadyPath = "/.tollgate/ready"

// Options says what to run. The zero value is the demo.
type Options struct {
	// Catalog is the text of the catalog file; empty: the demo's.
	Catalog string
	// Policies is a folder with policies, added to the embedded ones.
	Policies string
	// Backends are URLs in the place of those in the catalog, by the API's name. nil: the
	// demo's API goes to the emulator.
	Backends map[string]string
	// Env is added to the sidecar's environment. Keys gives the demo catalog's.
	Env []string
	// Emulator configures the backend; its keys are Keys' and everything else the default.
	Emulator func(*emulator.Config)
	// Storage starts Azurite.
	Storage bool
	// Bootstrap edits Envoy's configuration before it is used.
	Bootstrap func(filled []byte) ([]byte, error)
	// Unready returns from Start as soon as Envoy listens: for gateways that never become ready.
	Unready bool
	// Concurrency is Envoy's number of workers; 0: two.
	Concurrency int
	// Emulated are the names of the APIs that go to the emulator; nil: the demo's. Nothing
	// goes there where Backends is not nil.
	Emulated []string
	// Store is a postgres:// URL in the place of a SQLite file in the gateway's folder.
	Store string
	// Beside is a gateway whose keys and backend this one has as well. With the same Store
	// and Catalog they are two doors of one house.
	Beside *Gateway
	// Serve is added to the arguments of the sidecar.
	Serve []string
}

// Gateway is what Start started.
type Gateway struct {
	URL     string // of the gateway, without a slash at the end
	Dir     string
	Catalog string // the catalog file
	Keys    Keys
	Backend *emulator.Server
	// BackendURL is where Backend listens.
	BackendURL string
	// Faults is between Envoy and the sidecar.
	Faults  *Faults
	Storage *azurite.Process // nil unless asked for

	t       *testing.T // fails when something does
	owner   *testing.T // ends the processes when it ends
	options Options
	root    string
	port    int
	running *running // shared by the copies that For makes
}

// For returns the same gateway for a subtest, which fails instead of its parent.
func (g *Gateway) For(t *testing.T) *Gateway {
	c := *g
	c.t = t
	return &c
}

// Root is the clone: the folder with go.mod.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Binary is the built command line.
func Binary(t *testing.T) string { return built(t, "bin/tollgate") }

// Plugin is the compiled filter.
func Plugin(t *testing.T) string { return built(t, "bin/tollgate.wasm") }

func built(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(Root(), name)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%s is missing: run `make build` first", name)
	}
	return file
}

// Envoy is the Envoy that the project is tested with.
func Envoy(t *testing.T) string {
	t.Helper()
	version, err := bootstrap.ReadVersion(filepath.Join(Root(), ".envoy-version"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := bootstrap.FindEnvoy(t.Context(), version, os.Getenv("ENVOY"), "envoy", filepath.Join(Root(), ".tools/envoy/envoy/_bin/envoy"))
	if err != nil {
		t.Fatalf("%v: run `make envoy`, or name one in $ENVOY", err)
	}
	return path
}

// Start starts a gateway, waits until every worker is likely to be ready, and stops all of
// it when the test ends.
func Start(t *testing.T, o Options) *Gateway {
	t.Helper()
	g := &Gateway{t: t, owner: t, running: &running{}, options: o, root: Root(), Keys: newKeys()}
	g.Dir = tempDir(t)
	g.Catalog = filepath.Join(g.Dir, "tollgate.yaml")
	t.Cleanup(g.report)
	g.startStorage()
	if o.Beside != nil {
		g.Keys, g.Backend, g.BackendURL = o.Beside.Keys, o.Beside.Backend, o.Beside.BackendURL
	} else {
		g.startBackend()
	}
	if o.Catalog == "" {
		o.Catalog = DemoCatalog(t)
	}
	g.WriteCatalog(o.Catalog)
	g.Faults = newFaults(t, g.path("faults.sock"), g.path("sidecar.sock"))
	g.StartSidecar()
	g.StartEnvoy()
	if o.Unready {
		g.Eventually(readyWithin, "Envoy listens", func() bool { return dials("tcp", g.address()) })
	} else {
		g.AwaitReady(readyWithin)
	}
	return g
}

// tempDir has a short name: a socket's path has at most 107 bytes.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (g *Gateway) path(name string) string { return filepath.Join(g.Dir, name) }
func (g *Gateway) address() string         { return net.JoinHostPort(loopback, strconv.Itoa(g.port)) }

func (g *Gateway) startStorage() {
	if !g.options.Storage {
		return
	}
	g.t.Helper()
	storage, err := azurite.Start(context.Background(), azurite.Options{})
	if err != nil {
		g.t.Fatal(err)
	}
	g.Storage = storage
	g.owner.Cleanup(func() { storage.Close() })
}

func (g *Gateway) startBackend() {
	g.t.Helper()
	c := emulator.Config{PrimaryKey: g.Keys.Backend, ConsumerKeys: g.Keys.consumers(), Record: 1000}
	if g.options.Emulator != nil {
		g.options.Emulator(&c)
	}
	backend, err := emulator.New(c)
	if err != nil {
		g.t.Fatal(err)
	}
	server := httptest.NewServer(backend)
	g.Backend, g.BackendURL = backend, server.URL
	g.owner.Cleanup(func() { server.CloseClientConnections(); server.Close(); backend.Close() })
}

func (g *Gateway) writeBootstrap() {
	g.t.Helper()
	template, err := os.ReadFile(filepath.Join(g.root, "envoy.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	filled, err := bootstrap.Fill(template, bootstrap.Values{
		Address: loopback, Port: g.port, AdminSocket: g.path("admin.sock"), SidecarSocket: g.path("faults.sock"),
		XDS: g.path("xds"), Plugin: Plugin(g.t), AccessLog: g.path("access.log"),
	})
	if err == nil && g.options.Bootstrap != nil {
		filled, err = g.options.Bootstrap(filled)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.write("envoy.yaml", filled)
}

// AwaitReady waits until the gateway has answered ready many times in a row, on connections
// of their own, so that with good luck every worker was among them.
func (g *Gateway) AwaitReady(within time.Duration) {
	g.t.Helper()
	const inARow = 16
	g.Eventually(within, "the gateway is ready", func() bool {
		g.alive(g.running.envoy)
		for range inARow {
			response, err := g.client().Get(g.URL + ReadyPath)
			if err != nil {
				return false
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	})
}

// client opens a connection per request: Envoy gives connections to workers as it likes.
func (g *Gateway) client() *http.Client {
	return &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// WriteCatalog replaces the catalog file, in one step as an editor would.
func (g *Gateway) WriteCatalog(text string) {
	g.t.Helper()
	g.write("tollgate.yaml", []byte(text))
}

func (g *Gateway) write(name string, content []byte) {
	g.t.Helper()
	temp := g.path("." + name + ".new")
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(temp, g.path(name)); err != nil {
		g.t.Fatal(err)
	}
}

// report shows the ends of the logs of a test that failed.
func (g *Gateway) report() {
	if !g.owner.Failed() {
		return
	}
	const most = 3000 // bytes
	logs, _ := filepath.Glob(g.path("*.log"))
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if len(text) > most {
			text = text[len(text)-most:]
		}
		g.t.Logf("--- %s\n%s", filepath.Base(file), strings.TrimSpace(string(text)))
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func dials(network, address string) bool {
	connection, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}
