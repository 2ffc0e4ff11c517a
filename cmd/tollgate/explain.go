package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/store"
)

// defaultStore is where serve keeps its store and explain looks for it.
const defaultStore = ".tollgate/tollgate.db"

func explainCommand() *cobra.Command {
	var path, output string
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "Say why a request was denied",
		Long: `Says why a request was denied. ID is the response's x-request-id, or a decision's id from
Envoy's access log. Denials are kept for seven days, at most 100,000 of them; a filter
reports its own within a second or so.`,
		Example: "  tollgate explain 0b6e7d5e-3a0c-4f0e-9d3b-2f7c5c8b1a11",
		Args:    file("the id of a request or a decision"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output is text or json, not %q", output)
			}
			log, err := store.OpenLog(path)
			if err != nil {
				return err
			}
			defer log.Close()
			found, err := log.Explain(c.Context(), args[0])
			if errors.Is(err, store.ErrUnknown) {
				return fmt.Errorf("%s: %w in %s", args[0], err, path)
			}
			if err != nil {
				return err
			}
			return printExplanations(c.OutOrStdout(), found, output)
		},
	}
	c.Flags().StringVar(&path, "store", defaultStore, "the sidecar's store")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func printExplanations(w io.Writer, found []store.Explanation, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(found)
	}
	for i, e := range found {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printExplanation(w, e); err != nil {
			return err
		}
	}
	return nil
}

func printExplanation(w io.Writer, e store.Explanation) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("request", e.Request)
	row("time", e.Time.Format(time.RFC3339Nano))
	row("API", e.API)
	row("operation", e.Operation)
	if e.Subscription != 0 {
		row("subscription", strings.TrimSpace(fmt.Sprintf("%s (%d)", e.SubscriptionName, e.Subscription)))
	}
	row("status", fmt.Sprint(e.Status))
	for _, reason := range e.Reasons {
		row("reason", reason)
		row("", sentence(reason))
	}
	row("decision", e.Decision)
	row("policy", e.Policy)
	for _, r := range e.Rules {
		row("rule", fmt.Sprintf("%s:%d  %s  %s", r.File, r.Line, r.Path, cmp.Or(r.Title, r.Reason)))
	}
	if e.Decision != "" && e.Policy == "" {
		row("detail", "the decision itself is not on record")
	}
	row("detail", e.Detail)
	return t.Flush()
}
