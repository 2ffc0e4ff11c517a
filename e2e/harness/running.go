package harness

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
)

// stopGrace is what a process has to end by itself.
const stopGrace = 10 * time.Second

// running are the processes of a gateway, nil before the first start.
type running struct{ sidecar, envoy *process.Process }

// StartSidecar starts the sidecar, for the first time or after it has ended, and returns
// when it has written Envoy's routes and listens.
func (g *Gateway) StartSidecar() {
	g.t.Helper()
	g.LaunchSidecar()
	g.Eventually(readyWithin, "the sidecar listens", func() bool {
		g.alive(g.running.sidecar)
		return exists(g.path("xds/routes.yaml")) && dials("unix", g.path("sidecar.sock"))
	})
}

// LaunchSidecar starts the sidecar and returns at once; it may end by itself, where its
// database is gone.
func (g *Gateway) LaunchSidecar() {
	g.t.Helper()
	store := g.options.Store
	if store == "" {
		store = g.path("tollgate.db")
	}
	args := []string{"serve", "--catalog", g.Catalog, "--store", store, "--admin", g.path("admin-api.sock"),
		"--socket", g.path("sidecar.sock"), "--xds", g.path("xds"), "--allow-backend", loopback}
	if g.options.Policies != "" {
		args = append(args, "--policies", g.options.Policies)
	}
	for name, url := range g.backends() {
		args = append(args, "--backend", name+"="+url)
	}
	g.running.sidecar = g.start(process.Program{Name: "the sidecar", Path: Binary(g.t), Args: append(args, g.options.Serve...),
		Env: slices.Concat(os.Environ(), g.Keys.env(), g.options.Env), Log: g.nextLog("sidecar")})
}

func (g *Gateway) backends() map[string]string {
	if g.options.Backends != nil {
		return g.options.Backends
	}
	emulated := g.options.Emulated
	if emulated == nil {
		emulated = []string{DemoAPI}
	}
	backends := map[string]string{}
	for _, name := range emulated {
		backends[name] = g.BackendURL
	}
	return backends
}

// SidecarRuns is false once the sidecar has ended, whatever the reason.
func (g *Gateway) SidecarRuns() bool { return runs(g.running.sidecar) }

// SidecarPID is the process id of the sidecar.
func (g *Gateway) SidecarPID() int { return g.running.sidecar.PID() }

// KillSidecar ends the sidecar as a crash would.
func (g *Gateway) KillSidecar() { g.running.sidecar.Kill() }

// StopSidecar ends the sidecar as its user would.
func (g *Gateway) StopSidecar() { g.running.sidecar.Stop(stopGrace) }

// FreezeSidecar keeps the sidecar from running until ThawSidecar.
func (g *Gateway) FreezeSidecar() { g.signal(g.running.sidecar, syscall.SIGSTOP) }

// ThawSidecar lets it go on.
func (g *Gateway) ThawSidecar() { g.signal(g.running.sidecar, syscall.SIGCONT) }

// StartEnvoy starts Envoy, for the first time or after it has ended, then on the port that
// it had, and returns at once: AwaitReady waits until it serves.
func (g *Gateway) StartEnvoy() {
	g.t.Helper()
	if g.port == 0 {
		var err error
		if g.port, err = process.Port(loopback, 0); err != nil {
			g.t.Fatal(err)
		}
		g.URL = "http://" + g.address()
		g.writeBootstrap()
	}
	workers := g.options.Concurrency
	if workers == 0 {
		workers = 2
	}
	g.running.envoy = g.start(process.Program{Name: "Envoy", Path: Envoy(g.t), Log: g.nextLog("envoy"), Args: []string{
		"--config-path", g.path("envoy.yaml"), "--concurrency", strconv.Itoa(workers), "--log-level", "info",
		"--disable-hot-restart", "--file-flush-interval-msec", "20"}})
}

// EnvoyRuns is false once Envoy has ended, whatever the reason.
func (g *Gateway) EnvoyRuns() bool { return runs(g.running.envoy) }

// KillEnvoy ends Envoy as a crash would: whatever its workers held is lost.
func (g *Gateway) KillEnvoy() { g.running.envoy.Kill() }

// FreezeEnvoy keeps all of Envoy's workers from running until ThawEnvoy.
func (g *Gateway) FreezeEnvoy() { g.signal(g.running.envoy, syscall.SIGSTOP) }

// ThawEnvoy lets them go on.
func (g *Gateway) ThawEnvoy() { g.signal(g.running.envoy, syscall.SIGCONT) }

func (g *Gateway) signal(p *process.Process, s syscall.Signal) {
	g.t.Helper()
	if err := p.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

func (g *Gateway) start(p process.Program) *process.Process {
	g.t.Helper()
	started, err := process.Start(p)
	if err != nil {
		g.t.Fatal(err)
	}
	g.owner.Cleanup(func() {
		_ = started.Signal(syscall.SIGCONT) // a frozen one would not hear that it is to stop
		started.Stop(stopGrace)
	})
	return started
}

// nextLog keeps the log of an earlier process of that name: sidecar.1.log, sidecar.2.log.
func (g *Gateway) nextLog(name string) string {
	for i := 1; ; i++ {
		if file := g.path(fmt.Sprintf("%s.%d.log", name, i)); !exists(file) {
			return file
		}
	}
}

func runs(p *process.Process) bool {
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// alive fails the test when a process has ended that should run.
func (g *Gateway) alive(p *process.Process) {
	g.t.Helper()
	if !runs(p) {
		g.t.Fatalf("%s ended (%v): %s", p.Name, p.Err(), process.LastLine(p.Log))
	}
}
