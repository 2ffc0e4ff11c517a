package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

func exportCommand() *cobra.Command {
	var conn connection
	var out output
	c := &cobra.Command{
		Use:   "export",
		Short: "Print everything the gateway hands out, as a catalog file",
		Long: `Prints everything that there is, of whatever source, as a catalog file. Subscription keys stand
there as digests, backend keys as references. Applied to an empty store, it makes the same.`,
		Example: `  tollgate export > tollgate.yaml
  tollgate export openapi "AzureML Demo API" > demo.yaml`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			client, err := conn.client(applyTimeout)
			if err != nil {
				return err
			}
			text, _, err := admin.Call[json.RawMessage](c.Context(), client, admin.Request{Path: admin.Path("catalog")})
			if err != nil {
				return err
			}
			_, err = out.encode(c.OutOrStdout(), text)
			return err
		},
	}
	out.register(c, formatYAML, formatJSON)
	conn.register(c.Flags())
	c.AddCommand(exportOpenAPICommand())
	return c
}
