package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/openapi"
)

func importCommand() *cobra.Command {
	return family("import", "Make APIs of what other tools describe", "Makes APIs of what other tools describe.", importOpenAPICommand())
}

// importing is an OpenAPI document that becomes an API.
type importing struct {
	conn             connection
	out              output
	options          openapi.Options
	dryRun, replace  bool
	takeOver, strict bool
}

func importOpenAPICommand() *cobra.Command {
	var i importing
	c := &cobra.Command{
		Use:   "openapi FILE",
		Short: "Make an API of an OpenAPI document: 2.0, 3.0 or 3.1",
		Long: `Makes an API of an OpenAPI document (-: standard input), JSON or YAML. What the gateway cannot do as
the document says is printed on standard error, one a line: where it stands, why, and whether
it is lost, changed, or kept for people and their tools without effect.`,
		Example: `  tollgate import openapi petstore.yaml --suffix pets --backend https://pets.example.org --dry-run
  tollgate import openapi petstore.yaml --replace`,
		Args: takes("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := i.out.check(); err != nil {
				return err
			}
			text, err := readInput(c, args[0])
			if err != nil {
				return err
			}
			api, gaps, err := openapi.Import(text, i.options)
			if err != nil {
				return fmt.Errorf("%s: %w", shownFile(args[0]), err)
			}
			lost := printGaps(c.ErrOrStderr(), shownFile(args[0]), gaps)
			if i.strict && lost {
				return errors.New("nothing is imported: with --strict nothing of the document may be lost")
			}
			if i.dryRun {
				return i.print(c.OutOrStdout(), api)
			}
			return i.send(c, api)
		},
	}
	f := c.Flags()
	f.StringVar(&i.options.Name, "name", "", "the API's name (default: the document's info.title)")
	f.StringVar(&i.options.Suffix, "suffix", "", "the API's first path segment (default: made of its name)")
	f.StringVar(&i.options.Backend, "backend", "", "URL to which the requests go (default: the document's first absolute server)")
	f.BoolVar(&i.replace, "replace", false, "replace the API of that name, if there is one")
	f.BoolVar(&i.dryRun, "dry-run", false, "change nothing, and print the object that would be created, as create -f takes it")
	f.BoolVar(&i.strict, "strict", false, "import nothing where something of the document is lost")
	takeOverFlag(c, &i.takeOver)
	i.out.register(c, formatYAML, formatJSON)
	i.conn.register(f)
	return c
}

// printGaps prints what an API of the gateway does not do, and says whether any of it is
// lost.
func printGaps(w io.Writer, file string, gaps []openapi.Gap) (lost bool) {
	for _, g := range gaps {
		fmt.Fprintf(w, "%s: %s\n", file, g)
		lost = lost || g.Severity == openapi.Lost
	}
	return lost
}

// print prints the API as create -f takes it.
func (i *importing) print(w io.Writer, api catalog.API) error {
	_, err := i.out.encode(w, struct {
		Kind string      `json:"kind"`
		Spec catalog.API `json:"spec"`
	}{"api", api})
	return err
}

// send creates the API, or replaces the one of its name.
func (i *importing) send(c *cobra.Command, api catalog.API) error {
	client, err := i.conn.client(adminTimeout)
	if err != nil {
		return err
	}
	t := target{kind: &kinds[1]}
	create := admin.Request{Path: t.list(), Body: api}
	if !i.replace {
		return t.changed(c, client, create, "created")
	}
	_, err = fetchOne(c, client, &t, api.Name)
	switch {
	case exitStatus(err) == exitNotFound:
		return t.changed(c, client, create, "created")
	case err != nil:
		return err
	}
	return t.changed(c, client, admin.Request{Method: http.MethodPut, Path: t.one(api.Name), Body: api, Query: takeOverQuery(i.takeOver)}, "replaced")
}

func exportOpenAPICommand() *cobra.Command {
	var conn connection
	var out output
	var gateway string
	c := &cobra.Command{
		Use:               "openapi API",
		Short:             "Print an OpenAPI 3.1 document of an API, as clients of the gateway see it",
		Example:           `  tollgate export openapi "AzureML Demo API" --gateway https://gateway.example.org > demo.yaml`,
		Args:              takes("API"),
		ValidArgsFunction: completeArgument(&conn, "api", false),
		RunE: func(c *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			t := target{kind: &kinds[1]}
			item, err := fetchOne(c, client, &t, args[0])
			if err != nil {
				return err
			}
			var found struct{ Spec catalog.API }
			if err := json.Unmarshal(item, &found); err != nil {
				return fmt.Errorf("reading the sidecar's answer: %w", err)
			}
			text, err := openapi.Export(found.Spec, openapi.ExportOptions{Gateway: gateway, Format: openapi.Format(out.format)})
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringVar(&gateway, "gateway", "", "URL by which clients reach the gateway, without the API's suffix")
	out.register(c, formatYAML, formatJSON)
	conn.register(c.Flags())
	return c
}
