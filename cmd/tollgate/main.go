// Command tollgate is the sidecar, the demo and the tools around them. It is the only place
// that wires packages together.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status: 0, or 1 after one line per error on standard error.
func run(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(os.Stderr, "tollgate:", err)
	}
	return 1
}

// errReported ends a command whose findings are printed already.
var errReported = errors.New("reported")

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tollgate",
		Short: "API management inside Envoy",
		Long: `tollgate hands out web services through Envoy: products, subscriptions, keys and
policies in Rego, enforced where the request passes.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
	})
	root.AddCommand(upCommand(), serveCommand(), checkCommand(), schemaCommand(), limitsCommand(), explainCommand(), emulateCommand(), versionCommand())
	return root
}

// file is a command's only argument.
func file(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes one argument, %s (see %s --help)", c.CommandPath(), what, c.CommandPath())
		}
		return nil
	}
}
