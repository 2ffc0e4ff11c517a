// Command tollgate is the sidecar, the demo and the tools around them. It is the only place
// that wires packages together.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status, after one line per error on standard error.
func run(args []string) int {
	root := rootCommand()
	started := false
	mark(root, &started)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err != nil && !started {
		err = misuse{plain(root, err)}
	}
	return report(os.Stderr, err)
}

// plain is an error of how the program was called, on one line: cobra's own about an unknown
// command has several.
func plain(root *cobra.Command, err error) error {
	var name string
	if _, other := fmt.Sscanf(err.Error(), `unknown command %q for "tollgate"`, &name); other == nil {
		return unknownCommand(root, name)
	}
	return err
}

// mark has started set when a command runs. What fails before is a mistake in how it was
// called: an unknown command or flag, a missing argument.
func mark(c *cobra.Command, started *bool) {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*started = true
			return do(c, args)
		}
	}
	for _, below := range c.Commands() {
		mark(below, started)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tollgate",
		Short: "API management inside Envoy",
		Long: `tollgate hands out web services through Envoy: products, subscriptions, keys and
policies in Rego, enforced where the request passes.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return seeHelp(c, "%v", err) })
	root.AddGroup(
		&cobra.Group{ID: runs, Title: "Run the gateway:"},
		&cobra.Group{ID: manages, Title: "Manage what it hands out, through a running sidecar:"},
		&cobra.Group{ID: watches, Title: "See what happens:"},
		&cobra.Group{ID: files, Title: "Work on files:"})
	add(root, runs, upCommand(), serveCommand(), backupCommand(), restoreCommand())
	add(root, manages, applyCommand(), diffCommand(), exportCommand(), importCommand(), getCommand(), describeCommand(), createCommand(),
		replaceCommand(), deleteCommand(), subscriptionCommand(), keyCommand(), tokenCommand())
	add(root, watches, limitsCommand(), usageCommand(), auditCommand(), explainCommand())
	add(root, files, checkCommand(), schemaCommand(), emulateCommand())
	root.AddCommand(versionCommand(), exitCodesTopic(), environmentTopic())
	root.SetHelpCommand(helpCommand())
	return root
}

// The groups of commands in the help.
const (
	runs    = "run"
	manages = "manage"
	watches = "watch"
	files   = "files"
)

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
	}
	root.AddCommand(commands...)
}

// family is a command that only has commands below it.
func family(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse{seeHelp(c, "%s needs a command after it", c.CommandPath())}
			}
			return misuse{unknownCommand(c, args[0])}
		},
	}
	c.AddCommand(commands...)
	return c
}

func unknownCommand(c *cobra.Command, name string) error {
	hint := ""
	if near := c.SuggestionsFor(name); len(near) > 0 {
		hint = `; did you mean "` + near[0] + `"?`
	}
	return seeHelp(c, "unknown command %q for %q%s", name, c.CommandPath(), hint)
}

// helpCommand is cobra's, but that a topic that there is not is a mistake.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Help about any command or topic",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			about, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, below := range about.Commands() {
				if below.IsAvailableCommand() || below.IsAdditionalHelpTopicCommand() {
					names = append(names, below.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			switch {
			case err != nil:
				return misuse{unknownCommand(c.Root(), args[0])}
			case len(rest) > 0:
				return misuse{unknownCommand(about, rest[0])}
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
