package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/sidecar/admin"
)

const documentsHelp = `FILE, or - for standard input, has YAML or JSON documents, each like

  kind: product
  spec: {name: Starter, apis: [AzureML Demo API]}

where spec is as in a catalog file; an operation has as well api: the name of its API. What
get -o yaml prints is such a document.`

func createCommand() *cobra.Command {
	return documentCommand(&cobra.Command{
		Use:   "create -f FILE",
		Short: "Create single objects: APIs, operations, products, groups, developers, subscriptions",
		Long: `Creates what the documents of a file describe, one after the other, and stops at the first
that is refused. A whole catalog is rather applied.

` + documentsHelp,
		Example: "  echo '{kind: group, spec: {name: Partners}}' | tollgate create -f -",
	}, nil, createDocument)
}

func replaceCommand() *cobra.Command {
	var takeOver bool
	c := &cobra.Command{
		Use:   "replace -f FILE",
		Short: "Replace single objects",
		Long: `Replaces what the documents of a file describe, one after the other, and stops at the first
that is refused. A document with a revision is refused where that is not the object's any more:
somebody else changed it meanwhile. Subscriptions are changed with tollgate subscription.

` + documentsHelp,
		Example: `  tollgate get product Starter -o yaml > starter.yaml
  tollgate replace -f starter.yaml`,
	}
	takeOverFlag(c, &takeOver)
	return documentCommand(c, &takeOver, replaceDocument)
}

// document is a document of create and replace.
type document struct {
	Kind     string          `json:"kind"`
	API      string          `json:"api"`
	Spec     json.RawMessage `json:"spec"`
	Revision uint64          `json:"revision"`

	line     int
	takeOver bool
}

func documentCommand(c *cobra.Command, takeOver *bool, do func(*cobra.Command, *admin.Client, *document) error) *cobra.Command {
	var conn connection
	var file string
	c.Args = takes()
	c.RunE = func(c *cobra.Command, _ []string) error {
		if file == "" {
			return misuse{seeHelp(c, "%s needs --filename FILE", c.CommandPath())}
		}
		list, err := readDocuments(c, file)
		if err != nil {
			return err
		}
		client, err := conn.client(adminTimeout)
		if err != nil {
			return err
		}
		for i := range list {
			list[i].takeOver = takeOver != nil && *takeOver
			if err := do(c, client, &list[i]); err != nil {
				return fmt.Errorf("%s:%d: %w", shownFile(file), list[i].line, err)
			}
		}
		return nil
	}
	c.Flags().StringVarP(&file, "filename", "f", "", "the file; -: standard input")
	conn.register(c.Flags())
	return c
}

// takeOverFlag adds --take-over.
func takeOverFlag(c *cobra.Command, takeOver *bool) {
	c.Flags().BoolVar(takeOver, "take-over", false, "change also what a catalog file manages, which then does no longer")
}

func takeOverQuery(takeOver bool) url.Values {
	if !takeOver {
		return nil
	}
	return url.Values{"take_over": {"true"}}
}

// readInput reads a file, or standard input for "-".
func readInput(c *cobra.Command, file string) ([]byte, error) {
	if file == "-" {
		text, err := io.ReadAll(c.InOrStdin())
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return text, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the file: %w", err)
	}
	return text, nil
}

// shownFile is a file in messages.
func shownFile(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

// readDocuments reads the documents of a file; a list as get -o yaml prints it is several.
func readDocuments(c *cobra.Command, file string) ([]document, error) {
	text, err := readInput(c, file)
	if err != nil {
		return nil, err
	}
	nodes, err := documents(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shownFile(file), err)
	}
	var list []document
	for _, n := range nodes {
		parts := []*yaml.Node{n}
		if items := within(n, "items"); items != nil && items.Kind == yaml.SequenceNode {
			parts = items.Content
		}
		for _, part := range parts {
			d, err := readDocument(part)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", shownFile(file), part.Line, err)
			}
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no document", shownFile(file))
	}
	return list, nil
}

func readDocument(n *yaml.Node) (document, error) {
	d := document{line: n.Line}
	text, err := jsonOf(n)
	if err != nil {
		return d, err
	}
	if n.Kind != yaml.MappingNode || json.Unmarshal(text, &d) != nil {
		return d, errors.New("this is no document with the fields kind and spec")
	}
	switch {
	case d.Kind == "":
		return d, errors.New("kind is missing; write kind: product, or another kind")
	case len(d.Spec) == 0:
		return d, errors.New("spec is missing; it is what stands in a catalog file")
	}
	return d, nil
}

// target is what a document describes, and its name.
func (d *document) target() (t target, name string, err error) {
	k, err := findKind(d.Kind)
	if err != nil {
		return t, "", err
	}
	t = target{kind: k, api: d.API}
	switch {
	case k.name == "token":
		return t, "", misusef("tokens are made with tollgate token create")
	case k.name == "operation" && d.API == "":
		return t, "", misusef("api is missing; an operation is one of an API")
	}
	var spec struct{ Name, Email string }
	_ = json.Unmarshal(d.Spec, &spec) // the sidecar says what is wrong with it
	if name = spec.Name; k.name == "developer" {
		name = spec.Email
	}
	return t, name, nil
}

func createDocument(c *cobra.Command, client *admin.Client, d *document) error {
	t, _, err := d.target()
	if err != nil {
		return err
	}
	r := admin.Request{Path: t.list(), Body: []byte(d.Spec)}
	if t.kind.name == "organization" {
		r.Method, r.CreateOnly = http.MethodPut, true
	}
	return t.changed(c, client, r, "created")
}

func replaceDocument(c *cobra.Command, client *admin.Client, d *document) error {
	t, name, err := d.target()
	switch {
	case err != nil:
		return err
	case t.kind.name == "subscription":
		return misusef("a subscription is changed with tollgate subscription, its keys with tollgate key")
	case name == "" && t.kind.name != "organization":
		return errors.New("spec has no name")
	}
	err = t.changed(c, client, admin.Request{Method: http.MethodPut, Path: t.one(name), Body: []byte(d.Spec), Match: d.Revision,
		Query: takeOverQuery(d.takeOver)}, "replaced")
	return t.moved(name, d.Revision, err)
}

// moved says in the words of the command line that an object has another revision than was
// asked for.
func (t *target) moved(name string, revision uint64, err error) error {
	var p *admin.Problem
	if !errors.As(err, &p) || p.Status != http.StatusPreconditionFailed {
		return err
	}
	return &admin.Problem{Status: p.Status, Code: p.Code,
		Detail: fmt.Sprintf("%s was changed after its revision %d: get it again, and decide anew", t.reference(name), revision)}
}

// changed asks for a change, and prints what it did to which object.
func (t *target) changed(c *cobra.Command, client *admin.Client, r admin.Request, did string) error {
	item, _, err := admin.Call[json.RawMessage](c.Context(), client, r)
	if err != nil {
		return err
	}
	name, err := nameOf(item)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s %s\n", t.reference(name), did)
	return err
}
