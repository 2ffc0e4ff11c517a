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
	f.IntVar(&c.requests, "requests", 4000, "requests for each figure of the look-up, in each round")
	f.IntVar(&c.rounds, "rounds", 7, "rounds of them")
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
	seed            time.Duration
	load            time.Duration // of the sidecar, from its start until it listens
	sidecarMemory   int64         // resident, at rest
	sidecarPeak     int64
	snapshot, pages int64         // bytes: of the answer to a watch; of all pages
	numberOfPages   int           // that are not the same as another
	ready           time.Duration // from when Envoy listens until its last worker has the keys
	envoyMemory     int64         // resident, of the whole process
	tables          []int64       // linear memories of the filter, the main thread's among them
	tablesBusy      []int64       // the same after all other measurements
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
	var all []keysFigures
	for _, n := range c.sizes {
		f, err := measureKeys(ctx, out, c, n)
		if err != nil {
			return fmt.Errorf("with %d subscriptions: %w", n, err)
		}
		all = append(all, f)
	}
	return printKeys(out, all)
}

// keysRig is a gateway of so many subscriptions.
type keysRig struct {
	*lane
	subscriptions int
	secret        string // that all keys begin with
	workers       int
}

func measureKeys(ctx context.Context, out io.Writer, c keysConfig, n int) (f keysFigures, err error) {
	f.subscriptions = n
	dir, err := os.MkdirTemp("", "tgk") // short: a socket's path has at most 107 bytes
	if err != nil {
		return f, fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	r := &rig{root: c.root, dir: dir}
	r.keys.consumer, r.keys.backend = newKey(), newKey()
	defer r.stop()
	version, err := bootstrap.ReadVersion(filepath.Join(r.root, ".envoy-version"))
	if err != nil {
		return f, err
	}
	if r.envoy, err = bootstrap.FindEnvoy(ctx, version, os.Getenv("ENVOY"), "envoy", filepath.Join(r.root, ".tools/envoy/envoy/_bin/envoy")); err != nil {
		return f, fmt.Errorf("%w: run `make envoy`, or name one in $ENVOY", err)
	}
	if r.backend, err = startBackend(); err != nil {
		return f, err
	}
	k := &keysRig{lane: &lane{variant: variant{name: "keys", filtered: true}, rig: r, dir: dir}, subscriptions: n, secret: newKey(), workers: c.workers}
	r.lanes = append(r.lanes, k.lane)
	fmt.Fprintf(out, "Writing %d subscriptions with two keys each\n", n)
	began := time.Now()
	if err := k.seed(ctx); err != nil {
		return f, fmt.Errorf("writing subscriptions: %w", err)
	}
	f.seed = time.Since(began)
	fmt.Fprintln(out, "Starting the sidecar, then Envoy")
	if err := k.startAll(ctx, &f); err != nil {
		return f, err
	}
	fmt.Fprintf(out, "Looking keys up, %d rounds\n", c.rounds)
	if err := k.lookUp(ctx, c, &f); err != nil {
		return f, fmt.Errorf("looking keys up: %w", err)
	}
	fmt.Fprintf(out, "Revoking %d keys\n", c.revokes)
	for i := range c.revokes {
		took, err := k.revoke(ctx, i)
		if err != nil {
			return f, fmt.Errorf("revoking a key: %w", err)
		}
		f.revoked = append(f.revoked, took)
	}
	f.tablesBusy, err = linearMemories(k.envoyPID())
	return f, err
}

// key is one of a subscription, 1 or 2.
func (k *keysRig) key(subscription, slot int) string {
	return fmt.Sprintf("%s-%09d-%d", k.secret, subscription, slot)
}

func (k *keysRig) envoyPID() int { return k.processes[len(k.processes)-1].PID() }

// startAll starts sidecar and Envoy and measures that.
func (k *keysRig) startAll(ctx context.Context, f *keysFigures) (err error) {
	if err := os.MkdirAll(k.path("xds"), 0o700); err != nil {
		return err
	}
	began := time.Now()
	if err := k.startSidecar(ctx); err != nil {
		return err
	}
	f.load = time.Since(began)
	if err := k.await(ctx, "the sidecar's socket", func() error { return dials("unix", k.path("sidecar.sock")) }); err != nil {
		return err
	}
	if err := k.readTable(ctx, f); err != nil {
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
	began = time.Now()
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
	f.ready = time.Since(began)
	if f.sidecarMemory, f.sidecarPeak, err = residentMemory(k.processes[0].PID()); err != nil {
		return err
	}
	if f.envoyMemory, _, err = residentMemory(k.envoyPID()); err != nil {
		return err
	}
	f.tables, err = linearMemories(k.envoyPID())
	return err
}

func printKeys(w io.Writer, all []keysFigures) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of func(f keysFigures) string) {
		fmt.Fprintf(t, "%s\t", name)
		for _, f := range all {
			fmt.Fprintf(t, "%s\t", of(f))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(w)
	row("subscriptions, two keys each", func(f keysFigures) string { return strconv.Itoa(f.subscriptions) })
	row("snapshot", func(f keysFigures) string { return kib(f.snapshot) })
	row("pages", func(f keysFigures) string { return fmt.Sprintf("%d of %s", f.numberOfPages, mib(f.pages)) })
	row("sidecar ready after", func(f keysFigures) string { return seconds(f.load) })
	row("sidecar's memory, and peak", func(f keysFigures) string { return mib(f.sidecarMemory) + ", " + mib(f.sidecarPeak) })
	row("workers ready after", func(f keysFigures) string { return seconds(f.ready) })
	row("Envoy's memory", func(f keysFigures) string { return mib(f.envoyMemory) })
	row("filter's memory, largest of a thread", func(f keysFigures) string { return mib(largest(f.tables)) })
	row("the same after the load", func(f keysFigures) string { return mib(largest(f.tablesBusy)) })
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
	fmt.Fprintln(w, "\nMemory of the filter is the linear memory of its module, as large as it has grown; CPU is Envoy's, all of a request.")
	last := all[len(all)-1]
	lines := []string{
		fmt.Sprintf("keys_subscriptions=%d", last.subscriptions),
		fmt.Sprintf("keys_worker_mib=%.1f", float64(max(largest(last.tables), largest(last.tablesBusy)))/(1<<20)),
		fmt.Sprintf("keys_sidecar_seconds=%.2f", last.load.Seconds()),
		fmt.Sprintf("keys_ready_seconds=%.2f", last.ready.Seconds()),
		fmt.Sprintf("keys_unknown_us_over_smallest=%.3f", last.unknown/all[0].unknown),
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
