package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/store"
)

// defaultStore is where serve keeps its store and explain looks for it.
const defaultStore = ".tollgate/tollgate.db"

func explainCommand() *cobra.Command {
	var conn connection
	var path, output string
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "Say why a request was denied",
		Long: `Says why a request was denied. ID is the response's x-request-id, or a decision's id from
Envoy's access log. Denials are kept for seven days, at most 100,000 of them; a filter
reports its own within a second or so. Where a limit denied, and the sidecar answers, it also
says what the limit's counter holds now.`,
		Example: "  tollgate explain 0b6e7d5e-3a0c-4f0e-9d3b-2f7c5c8b1a11",
		Args:    file("the id of a request or a decision"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return misusef("--output is text or json, not %q", output)
			}
			client, err := conn.client(time.Second)
			if err != nil {
				return err
			}
			log, err := store.OpenLog(c.Context(), path)
			if err != nil {
				return err
			}
			defer log.Close()
			found, err := log.Explain(c.Context(), args[0])
			if errors.Is(err, store.ErrUnknown) {
				return exit{exitNotFound, fmt.Errorf("%s: %w in %s", args[0], err, log)}
			}
			if err != nil {
				return err
			}
			return printExplanations(c.OutOrStdout(), withCounters(c.Context(), client, found), output)
		},
	}
	c.Flags().StringVar(&path, "store", defaultStore, "the sidecar's store: a SQLite file or a postgres:// URL")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	complete(c, "output", "text", "json")
	conn.registerAdmin(c.Flags())
	return c
}

// explanation is why a request was denied, with what the counters of the limit that did it
// hold now.
type explanation struct {
	store.Explanation
	Now      *time.Time      `json:"now,omitempty"` // when the counters were read
	Counters []admin.Counter `json:"counters,omitempty"`
}

// withCounters asks for counters where a limit denied. A sidecar that does not answer is no
// error: what is on record is explained without it.
func withCounters(ctx context.Context, client *admin.Client, found []store.Explanation) []explanation {
	limits := map[uint32]admin.Limits{} // by subscription, each asked for once
	list := make([]explanation, len(found))
	for i, e := range found {
		list[i].Explanation = e
		if !slices.ContainsFunc(e.Reasons, isLimit) {
			continue
		}
		held, asked := limits[e.Subscription]
		if !asked {
			held, _ = client.Limits(ctx, fmt.Sprint(e.Subscription))
			limits[e.Subscription] = held
		}
		for _, c := range held.Counters {
			if e.Limit == "" || c.Name == e.Limit {
				list[i].Now, list[i].Counters = &held.Now, append(list[i].Counters, c)
			}
		}
	}
	return list
}

// isLimit says whether a reason is that of a limit.
func isLimit(reason string) bool {
	return slices.ContainsFunc([]wire.LimitKind{wire.KindRate, wire.KindQuota, wire.KindConcurrency}, func(k wire.LimitKind) bool {
		_, of := k.Refusal()
		return of == reason
	})
}

func printExplanations(w io.Writer, found []explanation, output string) error {
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

func printExplanation(w io.Writer, e explanation) error {
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
	row("limit", e.Limit)
	row("decision", e.Decision)
	row("policy", e.Policy)
	for _, r := range e.Rules {
		row("rule", fmt.Sprintf("%s:%d  %s  %s", r.File, r.Line, r.Path, cmp.Or(r.Title, r.Reason)))
	}
	if e.Decision != "" && e.Policy == "" {
		row("detail", "the decision itself is not on record")
	}
	row("detail", e.Detail)
	for _, c := range e.Counters {
		row("counter now", holds(c, *e.Now))
	}
	return t.Flush()
}

// holds says in words what a counter holds.
func holds(c admin.Counter, now time.Time) string {
	text := fmt.Sprintf("%s of %s: %d of %s used, %d leased, %d left", c.Name, c.Key, c.Used, amount(c), c.Leased, c.Left)
	if c.Reset != nil {
		text += ", more in " + resetsIn(c, now)
	}
	return text
}
