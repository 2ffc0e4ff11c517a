// Command bench compares what the filter costs with what else could stand in its place:
// nothing, a Lua filter, and ext_authz to a server that evaluates the same policy; and what
// two limits add to it with what Envoy's global rate limit filter does. All Envoys run
// envoy.yaml with the same catalog, but for the limits, and the same backend; they differ in
// one HTTP filter. They are started once, and given load one after the other, again and
// again, so that whatever else the machine does meets all of them; ratios are of neighbours
// in time. Beside that it counts what the ledger grants on a disk.
//
// It measures and asserts nothing about time. What it does check is that it measures what it
// says: every answer is 200, the backend gets what it should, limits apply where there are
// some, and who should ask for each request does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// config says how much to measure.
type config struct {
	root        string // the clone
	variants    []variant
	rounds      int           // of all variants
	lead        time.Duration // of load that is not measured, before each slice
	slice       time.Duration // of load, for each variant in each round
	requests    int           // at most, in a slice
	warmup      int           // requests to each variant before the first round
	connections int
	up          bool          // whether to time `tollgate up`
	grants      time.Duration // for how long the ledger grants; 0: it is not timed
	pace        pace          // of the variant limits, after the rounds; no time: none
}

// wholeRun bounds a run, whatever goes wrong.
const wholeRun = 170 * time.Second

func main() {
	serveIfTold()
	measureKeysIfTold()
	c := config{root: clone(), variants: variants}
	flag.IntVar(&c.rounds, "rounds", 14, "how often each variant gets load")
	flag.DurationVar(&c.lead, "lead", 300*time.Millisecond, "load before each slice that is not measured")
	flag.DurationVar(&c.slice, "slice", 400*time.Millisecond, "for how long at a time")
	flag.IntVar(&c.requests, "requests", 50_000, "requests in a slice, at most")
	flag.IntVar(&c.warmup, "warmup", 1000, "requests to each variant before the first round")
	flag.IntVar(&c.connections, "connections", 8, "connections, each with one request at a time")
	flag.BoolVar(&c.up, "up", true, "time `tollgate up` too")
	flag.DurationVar(&c.grants, "grants", 3*time.Second, "for how long the ledger is asked for grants; 0: not at all")
	flag.IntVar(&c.pace.perSecond, "pace", 500, "requests per second at which the calls of the variant limits are counted")
	flag.DurationVar(&c.pace.settle, "settle", 2*time.Second, "for how long at that pace before they are counted")
	flag.DurationVar(&c.pace.time, "steady", 8*time.Second, "for how long they are counted; 0: not at all")
	flag.Func("with", "NAME=FILE: compare with another compiled filter too, its decision kept; repeatable", c.with)
	flag.Func("only", "NAME,...: these variants alone; the lines at the end need all of ours", c.only)
	flag.Parse()
	if c.pace.perSecond < 1 {
		exit(errors.New("-pace is at least 1"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, wholeRun, fmt.Errorf("the run takes longer than %s", wholeRun))
	defer cancel()
	exit(run(ctx, os.Stdout, c))
}

// with adds a variant: the way to see what a change to the filter saves.
func (c *config) with(argument string) error {
	name, file, ok := strings.Cut(argument, "=")
	if !ok || name == "" || file == "" {
		return errors.New("it is NAME=FILE")
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	c.variants = append(slices.Clip(c.variants), variant{name: name, about: "the filter " + file, filtered: true, module: file})
	return nil
}

// only leaves variants out, but for bare, which the others are compared with.
func (c *config) only(names string) error {
	wanted := append(strings.Split(names, ","), bare)
	for _, name := range wanted {
		if !slices.ContainsFunc(c.variants, func(v variant) bool { return v.name == name }) {
			return fmt.Errorf("there is no variant %s", name)
		}
	}
	var kept []variant
	for _, v := range c.variants {
		if slices.Contains(wanted, v.name) {
			kept = append(kept, v)
		}
	}
	c.variants = kept
	return nil
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// clone is the folder with go.mod, as it was when this was built.
func clone() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// run measures and prints. Everything that it started has ended when it returns.
func run(ctx context.Context, out io.Writer, c config) (err error) {
	defer func() {
		// What fails when time is up, or on Ctrl-C, fails for that reason.
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	module, err := os.Stat(filepath.Join(c.root, pluginFile))
	if err != nil {
		return fmt.Errorf("looking for the filter, which `make build` makes: %w", err)
	}
	o := outcome{variants: c.variants, moduleBytes: module.Size()}
	dir, err := os.MkdirTemp("", "tgb") // short: a socket's path has at most 107 bytes
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if c.up {
		fmt.Fprintln(out, "Timing `tollgate up`")
		if o.up, err = timeUp(ctx, c.root, filepath.Join(dir, "up")); err != nil {
			return fmt.Errorf("timing `tollgate up`: %w", err)
		}
	}
	if c.grants > 0 {
		fmt.Fprintf(out, "Taking leases from the ledger for %s, %d at once\n", c.grants, takers)
		if o.grants, err = timeGrants(ctx, filepath.Join(dir, "ledger"), c.grants); err != nil {
			return fmt.Errorf("timing the ledger: %w", err)
		}
	}
	fmt.Fprintf(out, "Starting %d Envoys\n", len(c.variants))
	r, err := startRig(ctx, c, dir)
	if err != nil {
		return err
	}
	defer r.stop()
	for _, l := range r.lanes {
		if err := l.warmUp(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	fmt.Fprintf(out, "Measuring: %d rounds of %s for each after %s that do not count, %d connections\n", c.rounds, c.slice, c.lead, c.connections)
	for range c.rounds {
		round := make(round, len(r.lanes))
		for _, l := range r.lanes {
			if round[l.name], err = l.measure(ctx, c); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
		}
		o.rounds = append(o.rounds, round)
	}
	for _, l := range r.lanes {
		if !l.limits || c.pace.time == 0 {
			continue
		}
		fmt.Fprintf(out, "Measuring: %s at %d requests/s for %s\n", l.name, c.pace.perSecond, c.pace.time)
		if o.steady, err = l.keepPace(ctx, c.pace); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return o.print(out)
}

var errEnded = errors.New("a process ended")
