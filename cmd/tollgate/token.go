package main

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

var roles = []string{"administrator", "publisher", "auditor", "reader"}

func tokenCommand() *cobra.Command {
	return family("token", "Make, list and revoke tokens of the admin API",
		`A token lets programs use the admin API, and this command line with --token-file. It has a
role: an administrator may do all; a publisher all but tokens, backups and the audit; an auditor
reads all, with the audit; a reader all but the audit and tokens.`,
		tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
}

func tokenCreateCommand() *cobra.Command {
	var conn connection
	var out output
	var asked admin.NewToken
	var expires string
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a token, and print it: this once",
		Example: "  tollgate token create ci --role publisher --expires 90d > ci.token",
		Args:    takes("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			asked.Name = args[0]
			if !slices.Contains(roles, asked.Role) {
				return misusef("--role is %s, not %q", alternatives(roles), asked.Role)
			}
			if err := out.check(); err != nil {
				return err
			}
			if expires != "" {
				var err error
				if asked.Expires, err = moment("--expires", expires); err != nil {
					return err
				}
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			token, _, err := admin.Call[admin.IssuedToken](c.Context(), client, admin.Request{Path: admin.Path("tokens"), Body: asked})
			if err != nil {
				return err
			}
			if done, err := out.encode(c.OutOrStdout(), token); done {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), token.Clear)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&asked.Role, "role", "", "what it may do: "+alternatives(roles))
	f.StringVar(&expires, "expires", "", "when it stops working: "+momentHelp+"; never unless given")
	complete(c, "role", roles...)
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(f)
	return c
}

func tokenListCommand() *cobra.Command {
	var conn connection
	var out output
	c := &cobra.Command{
		Use:   "list",
		Short: "List the tokens that work, of which nothing can be read",
		Args:  takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			t, err := parseTarget(c, []string{"tokens"})
			if err != nil {
				return err
			}
			items, _, err := fetch(c, client, &t, nil, 0)
			if err != nil {
				return err
			}
			return printItems(c.OutOrStdout(), &out, &t, items, false)
		},
	}
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(c.Flags())
	return c
}

func tokenRevokeCommand() *cobra.Command {
	var conn connection
	c := &cobra.Command{
		Use:               "revoke NAME...",
		Short:             "End tokens, at once",
		Example:           "  tollgate token revoke ci",
		Args:              takes("NAME", "[NAME...]"),
		ValidArgsFunction: completeArgument(&conn, "token", true),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, _, err := admin.Call[struct{}](c.Context(), client, admin.Request{Method: http.MethodDelete, Path: admin.Path("tokens", name)}); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "token/%s revoked\n", name)
			}
			return nil
		},
	}
	conn.register(c.Flags())
	return c
}
