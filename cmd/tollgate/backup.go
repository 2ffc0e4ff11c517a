package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/backup"
)

func backupCommand() *cobra.Command {
	var conn connection
	var force bool
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the whole store of a running sidecar into a file",
		Long: `Copies the whole store, as it is at one moment, while the sidecar works on. FILE (-: standard
output) appears when it is whole, and can be read by its owner alone: it holds everything, with
the digests of keys.`,
		Example: "  tollgate backup tollgate-$(date +%F).backup",
		Args:    takes("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			file := args[0]
			if file != "-" && !force {
				if _, err := os.Lstat(file); err == nil {
					return fmt.Errorf("%s exists already: name another file, or say --force", file)
				}
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM) // the part that is there is removed
			defer stop()
			body, _, err := client.Stream(ctx, admin.Request{Method: http.MethodPost, Path: admin.Path("backup"), Accept: "application/octet-stream"})
			if err != nil {
				return err
			}
			defer body.Close()
			if file == "-" {
				_, err := io.Copy(c.OutOrStdout(), body)
				return backingUp(err)
			}
			n, err := keep(file, body)
			if err != nil {
				return backingUp(err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %d bytes\n", file, n)
			return err
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace a file that exists")
	conn.register(c.Flags())
	return c
}

func backingUp(err error) error {
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	return nil
}

// keep writes all of r to a file, which is there whole or not at all. It returns its size.
func keep(file string, r io.Reader) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // of mode 0600
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	n, err = io.Copy(f, r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return n, os.Rename(f.Name(), file)
}

func restoreCommand() *cobra.Command {
	var store string
	var out output
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a new store of a backup",
		Long: `Makes a new store of a backup (-: standard input), on this machine and without a sidecar: start
one on it afterwards. A store that holds something already is refused.`,
		Example: "  tollgate restore tollgate-2027-01-31.backup --store /var/lib/tollgate/new.db",
		Args:    takes("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if store == "" {
				return misuse{seeHelp(c, "--store says where the new store is to be")}
			}
			if err := out.check(); err != nil {
				return err
			}
			in := c.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("reading the backup: %w", err)
				}
				defer f.Close()
				in = f
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			done, err := backup.Restore(ctx, in, store)
			if err != nil {
				return err
			}
			return printRestored(c.OutOrStdout(), &out, done)
		},
	}
	c.Flags().StringVar(&store, "store", "", "the new store: a SQLite file that does not exist, or the postgres:// URL of a database without tables")
	out.register(c, formatTable, formatJSON, formatYAML)
	return c
}

func printRestored(w io.Writer, out *output, s backup.Summary) error {
	if done, err := out.encode(w, s); done {
		return err
	}
	rows := int64(0)
	for _, n := range s.Rows {
		rows += n
	}
	fmt.Fprintf(w, "restored store %s, backed up %s, into %s: %d rows\n", s.Store, s.Taken.UTC().Format(time.RFC3339), s.Target, rows)
	for _, note := range s.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	return nil
}
