package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/policy"
)

func checkCommand() *cobra.Command {
	var flags catalogFlags
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a catalog, and policies with it",
		Long: `Checks a catalog and prints every mistake, one a line, as file:line:column: field: what is
wrong and what would be right. With --policies or --bundle it checks as well that those
compile and that their tests pass. It reads no secret and resolves no name.`,
		Args: file("a catalog"),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := flags.options()
			if err != nil {
				return misuse{err}
			}
			cat, err := readCatalog(args[0], o)
			var broken *brokenCatalog
			if errors.As(err, &broken) {
				for _, m := range broken.mistakes {
					fmt.Fprintln(c.ErrOrStderr(), m)
				}
				return errReported
			}
			if err != nil {
				return err
			}
			revision, err := checkPolicies(c, flags, cat)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: ok: %d APIs, %d products, %d developers, %d subscriptions, policies %s\n", args[0],
				len(cat.APIs), len(cat.Products), len(cat.Developers), len(cat.Subscriptions), revision)
			return nil
		},
	}
	flags.register(c.Flags())
	return c
}

// checkPolicies compiles the policies, runs their tests and gives them the catalog. It
// prints warnings and returns the revision.
func checkPolicies(c *cobra.Command, flags catalogFlags, cat *catalog.Catalog) (string, error) {
	if flags.policies != "" {
		failed := false
		for _, m := range policy.Check(c.Context(), flags.policies) {
			fmt.Fprintln(c.ErrOrStderr(), m)
			failed = failed || !m.Warning
		}
		if failed {
			return "", errReported
		}
	}
	e, err := policy.Open(c.Context(), policy.Config{
		Dir: flags.policies, Bundle: flags.bundle, Catalog: policy.CatalogData(cat), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", err
	}
	return e.Policy().Revision, nil
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of a catalog, for editors",
		Args:  takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(catalog.Schema)
			return err
		},
	}
}
