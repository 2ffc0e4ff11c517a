package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/cmd/process"
)

// upOptions is what `tollgate up` was asked for.
type upOptions struct {
	root    string // the clone
	dir     string // where everything that a run writes goes
	catalog string
	empty   bool // hand out nothing at first
	plugin  string
	// policies is a folder that is added to the built-in ones; empty: none.
	policies string
	envoy    string // $ENVOY
	port     int
	// The ports of the emulators; 0: a free one.
	backendPort, storagePort int
}

func upCommand() *cobra.Command {
	o := upOptions{envoy: os.Getenv("ENVOY")}
	command := &cobra.Command{
		Use:   "up",
		Short: "Run the demo: an emulated AzureML service behind a real Envoy",
		Long: `Runs everything that the demo needs on this machine: an emulated AzureML service, blob
storage for its batch jobs (Azurite), the sidecar, and Envoy with the filter. Ctrl-C stops it all.

What a run needs and writes is in one folder, .tollgate: keys, logs, the store, the
sockets, Envoy's configuration. Delete it to start afresh.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			// A second Ctrl-C ends us at once, and the kernel our children with us.
			context.AfterFunc(ctx, stop)
			return up(ctx, cmd.OutOrStdout(), o)
		},
	}
	f := command.Flags()
	f.StringVar(&o.root, "root", "", "the clone of tollgate (default: found from here)")
	f.StringVar(&o.dir, "dir", "", "the folder for what a run writes (default .tollgate in the clone)")
	f.StringVar(&o.catalog, "catalog", "", "the catalog (default: the demo's)")
	f.BoolVar(&o.empty, "empty", false, "begin without a catalog, in .tollgate/empty: for docs/manage.md")
	f.StringVar(&o.policies, "policies", "", "folder of policies, added to the built-in ones")
	f.StringVar(&o.plugin, "plugin", "", "the compiled filter (default: tollgate.wasm beside this program, else bin/tollgate.wasm)")
	f.IntVar(&o.port, "port", 10000, "port of the gateway on 127.0.0.1; 0: a free one")
	f.IntVar(&o.backendPort, "backend-port", 0, "port of the emulated AzureML service; 0: a free one")
	f.IntVar(&o.storagePort, "storage-port", 0, "port of the blob storage; 0: a free one")
	command.MarkFlagsMutuallyExclusive("catalog", "empty")
	return command
}

// up runs the demo until ctx ends, which is no error, or a part of it does.
func up(ctx context.Context, out io.Writer, o upOptions) error {
	began := time.Now()
	d, err := newDemo(ctx, out, o)
	if err != nil {
		return err
	}
	defer d.unlock()
	defer d.stop()
	err = d.start(ctx)
	if err == nil {
		if err = d.writeEnv(); err == nil {
			d.greet(time.Since(began))
			err = d.watch(ctx)
		}
	}
	if ctx.Err() != nil {
		fmt.Fprintln(out, "\nStopping.")
		return nil
	}
	return err
}

// newDemo finds what the demo is made of, before anything is started.
func newDemo(ctx context.Context, out io.Writer, o upOptions) (*demo, error) {
	root, err := findRoot(o.root)
	if err != nil {
		return nil, err
	}
	d := &demo{upOptions: o, out: out, died: make(chan error, 1)}
	d.root = root
	if o.empty && o.dir == "" {
		o.dir = filepath.Join(root, ".tollgate", "empty")
	}
	d.layout = newLayout(root, o.dir)
	if d.catalog == "" && !o.empty {
		d.catalog = filepath.Join(root, demoCatalog)
	}
	if d.envoy, err = d.findEnvoy(ctx); err != nil {
		return nil, err
	}
	if d.plugin, err = findPlugin(root, o.plugin); err != nil {
		return nil, err
	}
	for _, dir := range []string{d.layout.dir, d.layout.xds, d.layout.blobs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("preparing the demo: %w", err)
		}
	}
	d.unlock, err = process.Lock(d.layout.lock)
	if errors.Is(err, process.ErrLocked) {
		return nil, fmt.Errorf("the demo runs already in %s: stop it, or choose another folder with --dir", d.layout.dir)
	} else if err != nil {
		return nil, fmt.Errorf("preparing the demo: %w", err)
	}
	if err := d.prepare(); err != nil {
		d.unlock()
		return nil, err
	}
	return d, nil
}

// prepare needs the lock: it reads and writes the run's folder and takes its ports.
func (d *demo) prepare() (err error) {
	if d.keys, err = loadDemoKeys(d.layout.keys); err != nil {
		return fmt.Errorf("preparing the demo's keys: %w", err)
	}
	if d.port, err = choosePort("the gateway", "--port", d.port); err != nil {
		return err
	}
	if d.backendPort, err = choosePort("the emulated AzureML service", "--backend-port", d.backendPort); err != nil {
		return err
	}
	return d.layout.clear()
}

// choosePort says what to do about a port that is taken.
func choosePort(what, flag string, port int) (int, error) {
	chosen, err := process.Port(loopback, port)
	if errors.Is(err, syscall.EADDRINUSE) {
		return 0, fmt.Errorf("port %d, for %s, is in use: stop what uses it, or choose another with %s (0: a free one)", port, what, flag)
	}
	return chosen, err
}
