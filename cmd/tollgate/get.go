package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// states are those of a subscription.
var states = []string{"submitted", "active", "suspended", "rejected", "cancelled", "expired"}

func getCommand() *cobra.Command {
	var conn connection
	var out output
	var limit int
	filters := map[string]*string{}
	c := &cobra.Command{
		Use:   "get KIND [NAME...]",
		Short: "List what there is, or show some of it",
		Long: `Lists all of a kind, or those that are named.

` + kindsHelp,
		Example: `  tollgate get subscriptions --product Starter --state submitted
  tollgate get operations "AzureML Demo API" -o yaml
  tollgate get product/Starter -o json`,
		Args:              takes("KIND", "[NAME...]"),
		ValidArgsFunction: completeTarget(&conn, true),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTarget(c, args)
			if err != nil {
				return err
			}
			query := url.Values{}
			for name, value := range filters {
				if *value != "" {
					query.Set(name, *value)
				}
			}
			switch {
			case len(query) > 0 && (t.kind.name != "subscription" || len(t.names) > 0):
				return misusef("--developer, --product, --api and --state choose from a list of subscriptions")
			case query.Has("state") && !slices.Contains(states, query.Get("state")):
				return misusef("--state is %s, not %q", alternatives(states), query.Get("state"))
			case limit < 0:
				return misusef("--limit is at least 0, not %d", limit)
			}
			if err := out.check(); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			items, single, err := fetch(c, client, &t, query, limit)
			if err != nil {
				return err
			}
			return printItems(c.OutOrStdout(), &out, &t, items, single)
		},
	}
	for name, help := range map[string]string{"developer": "only subscriptions of this developer (an e-mail address)", "product": "only subscriptions to this product",
		"api": "only subscriptions to this API", "state": "only subscriptions in this state: " + alternatives(states)} {
		filters[name] = c.Flags().String(name, "", help)
	}
	c.Flags().IntVar(&limit, "limit", 0, "list at most this many; 0: all")
	complete(c, "state", states...)
	completeNames(c, &conn, "developer", "developer")
	completeNames(c, &conn, "product", "product")
	completeNames(c, &conn, "api", "api")
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(c.Flags())
	return c
}

// fetch asks for what t names. single says that it is one thing, and no list of one.
func fetch(c *cobra.Command, client *admin.Client, t *target, query url.Values, limit int) (items []json.RawMessage, single bool, err error) {
	names := t.names
	if t.kind.name == "organization" {
		names = []string{""}
	}
	if len(names) == 0 {
		items, err = pages[json.RawMessage](c.Context(), client, t.list(), query, limit)
		return items, false, err
	}
	for _, name := range names {
		item, err := fetchOne(c, client, t, name)
		if err != nil {
			return nil, false, err
		}
		items = append(items, item)
	}
	return items, len(names) == 1, nil
}

func fetchOne(c *cobra.Command, client *admin.Client, t *target, name string) (json.RawMessage, error) {
	if t.kind.name != "token" { // of which there is only the list
		item, _, err := admin.Call[json.RawMessage](c.Context(), client, admin.Request{Path: t.one(name)})
		return item, err
	}
	items, err := pages[json.RawMessage](c.Context(), client, t.list(), nil, 0)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if found, err := nameOf(item); err != nil || found == name {
			return item, err
		}
	}
	return nil, &admin.Problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no token %q", name)}
}

// list is what -o json prints of several.
type list struct {
	Items []json.RawMessage `json:"items"`
}

func printItems(w io.Writer, out *output, t *target, items []json.RawMessage, single bool) error {
	var whole any = list{items}
	if single {
		whole = items[0]
	}
	if done, err := out.encode(w, whole); done {
		return err
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		if out.format == formatName {
			name, err := nameOf(item)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(w, t.reference(name)); err != nil {
				return err
			}
			continue
		}
		var err error
		if rows[i], err = t.kind.row(item); err != nil {
			return err
		}
	}
	if out.format == formatName {
		return nil
	}
	return table(w, t.kind.columns, rows)
}
