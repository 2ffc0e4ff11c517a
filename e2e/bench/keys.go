package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
	"github.com/tollgate/tollgate/sidecar/bootstrap"
)

// keysCommand measures what many subscriptions cost: their table in the sidecar and in each
// worker, the look-up of a key, and how soon a revoked one is refused.
const keysCommand = "keys"

// keysRun bounds such a run, whatever goes wrong.
const keysRun = 10 * time.Minute

// keysConfig says how much to measure.
type keysConfig struct {
	root     string
	sizes    []int // numbers of subscriptions
	workers  int   // of Envoy
	requests int   // for each figure of the look-up, in each round
	rounds   int
	revokes  int
}

// measureKeysIfTold ends the process when its arguments were keysCommand's.
func measureKeysIfTold() {
	if len(os.Args) < 2 || os.Args[1] != keysCommand {
		return
	}
	c := keysConfig{root: clone(), sizes: []int{1000, 1_000_000}}
	f := flag.NewFlagSet(keysCommand, flag.ExitOnError)
	f.IntVar(&c.workers, "workers", 2, "Envoy's workers")
	f.IntVar(&c.requests, "requests", 3000, "requests for each figure of the look-up, in each round")
	f.IntVar(&c.rounds, "rounds", 15, "rounds of them")
	f.IntVar(&c.revokes, "revokes", 5, "keys that are revoked one after the other")
	f.Func("subscriptions", "N,...: how many there are (default 1000,1000000)", func(list string) error {
		c.sizes = nil
		for text := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of subscriptions", text)
			}
			c.sizes = append(c.sizes, n)
		}
		return nil
	})
	_ = f.Parse(os.Args[2:]) // it exits
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, keysRun, fmt.Errorf("the run takes longer than %s", keysRun))
	defer cancel()
	exit(runKeys(ctx, os.Stdout, c))
}

// keysFigures is what was measured with one number of subscriptions.
type keysFigures struct {
	subscriptions   int
	apply           time.Duration // of the sidecar's start with a catalog file, until it listens
	restart         time.Duration // the same without one
	sidecarMemory   int64         // resident, at rest
	sidecarPeak     int64
	snapshot, pages int64         // bytes: of the answer to a watch; of all pages
	numberOfPages   int           // that are not the same as another
	ready           time.Duration // from when Envoy listens until its last worker has the keys
	envoyMemory     int64         // resident, of the whole process
	tables          []int64       // linear memories of the filter, the main thread's among them
	tablesBusy      []int64       // the same after all other measurements
	alone           time.Duration // of a look-up, without Envoy
	module          float64       // microseconds by which unknown is more than again, in the same round
	unknown, known  float64       // CPU microseconds of a request with another key each time; 0: too few keys
	again           float64       // and with the same key
	revoked         []time.Duration
}

func runKeys(ctx context.Context, out io.Writer, c keysConfig) (err error) {
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	var rigs []*keysRig
	defer func() {
		for _, k := range rigs {
			k.rig.stop()
			os.RemoveAll(k.dir)
		}
	}()
	for _, n := range c.sizes {
		k := &keysRig{lane: &lane{variant: variant{name: "keys", filtered: true}, patience: keysRun}, secret: newKey(), workers: c.workers}
		k.subscriptions = n
		if k.dir, err = os.MkdirTemp("", "tgk"); err != nil { // short: a socket's path has at most 107 bytes
			return fmt.Errorf("making a folder: %w", err)
		}
		k.rig = &rig{root: c.root, dir: k.dir, lanes: []*lane{k.lane}}
		rigs = append(rigs, k)
		if err := k.prepare(ctx, out); err != nil {
			return fmt.Errorf("with %d subscriptions: %w", n, err)
		}
	}
	fmt.Fprintf(out, "Looking keys up, %d rounds of each\n", c.rounds)
	if err := lookUp(ctx, c, rigs); err != nil {
		return fmt.Errorf("looking keys up: %w", err)
	}
	fmt.Fprintf(out, "Revoking %d keys of each\n", c.revokes)
	for _, k := range rigs {
		for i := range c.revokes {
			took, err := k.revoke(ctx, i)
			if err != nil {
				return fmt.Errorf("revoking one of %d keys: %w", 2*k.subscriptions, err)
			}
			k.revoked = append(k.revoked, took)
		}
		if k.tablesBusy, err = linearMemories(k.envoyPID()); err != nil {
			return err
		}
	}
	return printKeys(out, rigs)
}

// keysRig is a gateway of so many subscriptions, and what was measured of it.
type keysRig struct {
	*lane
	keysFigures
	secret  string // that all keys begin with
	workers int
}

// prepare fills a store and starts a gateway with it.
func (k *keysRig) prepare(ctx context.Context, out io.Writer) error {
	r := k.rig
	r.keys.consumer, r.keys.backend = newKey(), newKey()
	version, err := bootstrap.ReadVersion(filepath.Join(r.root, ".envoy-version"))
	if err != nil {
		return err
	}
	if r.envoy, err = bootstrap.FindEnvoy(ctx, version, os.Getenv("ENVOY"), "envoy", filepath.Join(r.root, ".tools/envoy/envoy/_bin/envoy")); err != nil {
		return fmt.Errorf("%w: run `make envoy`, or name one in $ENVOY", err)
	}
	if r.backend, err = startBackend(); err != nil {
		return err
	}
	fmt.Fprintf(out, "Writing %d subscriptions with two keys each\n", k.subscriptions)
	began := time.Now()
	if err := k.seed(ctx); err != nil {
		return fmt.Errorf("writing subscriptions: %w", err)
	}
	fmt.Fprintf(out, "Starting a gateway with them, which took %s to write\n", seconds(time.Since(began)))
	return k.startAll(ctx)
}

// key is one of a subscription, 1 or 2.
func (k *keysRig) key(subscription, slot int) string {
	return fmt.Sprintf("%s-%09d-%d", k.secret, subscription, slot)
}

func (k *keysRig) envoyPID() int { return k.processes[len(k.processes)-1].PID() }

// serve runs the sidecar, with a catalog to apply or with what its store holds, and returns
// how long it takes until it answers filters.
func (k *keysRig) serve(ctx context.Context, more ...string) (*process.Process, time.Duration, error) {
	args := append([]string{"serve", "--store", k.path("tollgate.db"), "--socket", k.path("sidecar.sock"), "--admin", k.path("admin-api.sock"),
		"--xds", k.path("xds"), "--allow-backend", loopback, "--backend", apiName + "=" + k.rig.backend.url(), "--allow-env", "AZUREML_API_KEY"}, more...)
	began := time.Now()
	if err := k.run(process.Program{Name: "the sidecar", Path: filepath.Join(k.rig.root, binaryFile), Args: args, Env: k.rig.env(),
		Log: k.path(fmt.Sprintf("sidecar.%d.log", len(k.processes)))}); err != nil {
		return nil, 0, err
	}
	err := k.await(ctx, "the sidecar", func() error { return dials("unix", k.path("sidecar.sock")) })
	return k.processes[len(k.processes)-1], time.Since(began), err
}

// startAll starts sidecar and Envoy and measures that. What is measured of the sidecar is
// its second start: the first one applies the catalog.
func (k *keysRig) startAll(ctx context.Context) error {
	if err := os.MkdirAll(k.path("xds"), 0o700); err != nil {
		return err
	}
	sidecar, took, err := k.serve(ctx, "--catalog", filepath.Join(k.rig.root, catalogFile))
	if err != nil {
		return err
	}
	k.apply = took
	sidecar.Stop(stopGrace)
	k.processes = nil
	if sidecar, k.restart, err = k.serve(ctx); err != nil {
		return err
	}
	if err := k.readTable(ctx); err != nil {
		return fmt.Errorf("reading what the sidecar hands out: %w", err)
	}
	if k.port, err = process.Port(loopback, 0); err != nil {
		return err
	}
	if err := k.writeBootstrap(); err != nil {
		return err
	}
	if err := k.run(process.Program{Name: "Envoy", Path: k.rig.envoy, Log: k.path("envoy.log"), Args: []string{"--config-path", k.path("envoy.yaml"),
		"--concurrency", strconv.Itoa(k.workers), "--log-level", "warning", "--disable-hot-restart"}}); err != nil {
		return err
	}
	if err := k.await(ctx, "Envoy", func() error { return dials("tcp", k.address()) }); err != nil {
		return err
	}
	began := time.Now()
	each, err := k.eachWorker(ctx)
	if err != nil {
		return err
	}
	defer closeAll(each)
	for _, c := range each {
		if err := k.await(ctx, "a worker", func() error { return c.answers("/.tollgate/ready", "", 200) }); err != nil {
			return err
		}
	}
	k.ready = time.Since(began)
	if k.sidecarMemory, k.sidecarPeak, err = residentMemory(sidecar.PID()); err != nil {
		return err
	}
	if k.envoyMemory, _, err = residentMemory(k.envoyPID()); err != nil {
		return err
	}
	k.tables, err = linearMemories(k.envoyPID())
	return err
}

func printKeys(w io.Writer, rigs []*keysRig) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of func(f keysFigures) string) {
		fmt.Fprintf(t, "%s\t", name)
		for _, k := range rigs {
			fmt.Fprintf(t, "%s\t", of(k.keysFigures))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(w)
	row("subscriptions, two keys each", func(f keysFigures) string { return strconv.Itoa(f.subscriptions) })
	row("snapshot", func(f keysFigures) string { return kib(f.snapshot) })
	row("pages", func(f keysFigures) string { return fmt.Sprintf("%d of %s", f.numberOfPages, mib(f.pages)) })
	row("sidecar applies the catalog, ready after", func(f keysFigures) string { return seconds(f.apply) })
	row("sidecar ready after", func(f keysFigures) string { return seconds(f.restart) })
	row("sidecar's memory, and peak", func(f keysFigures) string { return mib(f.sidecarMemory) + ", " + mib(f.sidecarPeak) })
	row("workers ready after", func(f keysFigures) string { return seconds(f.ready) })
	row("Envoy's memory", func(f keysFigures) string { return mib(f.envoyMemory) })
	row("filter's memory, largest of a thread", func(f keysFigures) string { return mib(largest(f.tables)) })
	row("the same after the load", func(f keysFigures) string { return mib(largest(f.tablesBusy)) })
	row("look-up of a key alone, outside Envoy", func(f keysFigures) string { return fmt.Sprintf("%d ns", f.alone.Nanoseconds()) })
	row("look-up in the module, about", func(f keysFigures) string { return micros(f.module) })
	row("request with an unknown key, CPU", func(f keysFigures) string { return micros(f.unknown) })
	row("with another known key each time", func(f keysFigures) string { return micros(f.known) })
	row("with the same key each time", func(f keysFigures) string { return micros(f.again) })
	row("revoked to refused by the last worker", func(f keysFigures) string {
		var texts []string
		for _, d := range f.revoked {
			texts = append(texts, strconv.FormatInt(d.Milliseconds(), 10))
		}
		return strings.Join(texts, " ") + " ms"
	})
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nMemory of the filter is the linear memory of its module, as large as it has grown. A look-up is digest, MAC and search of a key\n"+
		"that is not remembered; in the module it is what a request with an unknown key takes more than one with a key that is.\n"+
		"CPU is Envoy's, all of a request that the filter refuses by its key.")
	first, last := rigs[0], rigs[len(rigs)-1]
	lines := []string{
		fmt.Sprintf("keys_subscriptions=%d", last.subscriptions),
		fmt.Sprintf("keys_worker_mib=%.1f", float64(max(largest(last.tables), largest(last.tablesBusy)))/(1<<20)),
		fmt.Sprintf("keys_sidecar_seconds=%.2f", last.restart.Seconds()),
		fmt.Sprintf("keys_ready_seconds=%.2f", last.ready.Seconds()),
		fmt.Sprintf("keys_lookup_over_smallest=%.3f", float64(last.alone)/float64(first.alone)),
		fmt.Sprintf("keys_module_lookup_over_smallest=%.3f", last.module/first.module),
		fmt.Sprintf("keys_again_over_smallest=%.3f", last.again/first.again),
		fmt.Sprintf("keys_unknown_over_smallest=%.3f", last.unknown/first.unknown),
	}
	worst := time.Duration(0)
	for _, d := range last.revoked {
		worst = max(worst, d)
	}
	lines = append(lines, fmt.Sprintf("keys_revoke_ms=%d", worst.Milliseconds()))
	_, err := fmt.Fprintln(w, "\n"+strings.Join(lines, "\n"))
	return err
}

func largest(sizes []int64) (most int64) {
	for _, n := range sizes {
		most = max(most, n)
	}
	return most
}

func mib(n int64) string             { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
func kib(n int64) string             { return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10)) }
func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func micros(us float64) string {
	if us == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f us", us)
}
