package main

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

func deleteCommand() *cobra.Command {
	var conn connection
	var takeOver, ignore bool
	var revision string
	c := &cobra.Command{
		Use:   "delete KIND NAME...",
		Short: "Delete what is named",
		Long: `Deletes what is named, one after the other, and stops at the first that is refused. What
others need is not deleted: a product with subscriptions, an API of a product. Deleting a
subscription ends its keys at once; cancelling it keeps it for reports.

` + kindsHelp,
		Example: `  tollgate delete subscription ada-starter
  tollgate delete operation "AzureML Demo API" Status`,
		Args:              takes("KIND", "[NAME...]"),
		ValidArgsFunction: completeTarget(&conn, true),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTarget(c, args)
			if err != nil {
				return err
			}
			if len(t.names) == 0 {
				return misuse{seeHelp(c, "name what to delete: all of a kind is too easily said")}
			}
			r := admin.Request{Method: http.MethodDelete, Query: takeOverQuery(takeOver)}
			if revision != "" {
				if r.Match, err = strconv.ParseUint(revision, 10, 64); err != nil || len(t.names) > 1 {
					return misusef("--revision is the number of one object's revision")
				}
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			for _, name := range t.names {
				r.Path = t.one(name)
				_, _, err := admin.Call[struct{}](c.Context(), client, r)
				err = t.moved(name, r.Match, err)
				switch {
				case err != nil && ignore && exitStatus(err) == exitNotFound:
				case err != nil:
					return err
				default:
					fmt.Fprintf(c.OutOrStdout(), "%s deleted\n", t.reference(name))
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&ignore, "ignore-not-found", false, "what is not there is no error")
	f.StringVar(&revision, "revision", "", "delete only what still has this revision")
	takeOverFlag(c, &takeOver)
	conn.register(f)
	return c
}
