package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/secret"
)

// applyTimeout bounds applying a catalog, which may have a million subscriptions.
const applyTimeout = 2*time.Minute + adminTimeout

// What happens to what something else manages, and the file has otherwise.
const (
	conflictsRefuse   = "refuse"
	conflictsKeep     = "keep"
	conflictsTakeOver = "take-over"
)

var conflictWords = []string{conflictsRefuse, conflictsKeep, conflictsTakeOver}

// application is a catalog file on its way to the sidecar.
type application struct {
	conn              connection
	out               output
	source, conflicts string
	prune             bool
	dryRun, verbose   bool

	file     string
	root     *yaml.Node       // the file as it is, for lines
	declared *catalog.Catalog // as it was read
}

const applyHelp = `The file may be a part of a catalog, without an organization and APIs. A subscription's key is
read here, from the environment variable or the file that the catalog names, and only its
digest is sent. A backend's key stays a reference, which the sidecar resolves.`

func applyCommand() *cobra.Command {
	var a application
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make the gateway what a catalog file says",
		Long: `Creates and updates what the file (-: standard input) declares. The rest stays as it is; what
the file declared before and does no longer is named, and deleted with --prune alone. Applied
twice, the second time changes nothing.

What is applied is marked with the file's name, and belongs to it: a change from elsewhere is
refused. --conflicts says what happens where the file wants to change what something else
manages: refuse all, keep those as they are and do the rest, or take them over.

` + applyHelp,
		Example: `  tollgate apply tollgate.yaml
  tollgate export | tollgate apply - --source tollgate.yaml --server https://other:9443`,
		Args: takes("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.out.check(); err != nil {
				return err
			}
			plan, err := a.apply(c, args[0])
			if err != nil {
				return err
			}
			if done, err := a.out.encode(c.OutOrStdout(), plan); done {
				return err
			}
			return a.print(c.OutOrStdout(), plan)
		},
	}
	a.register(c)
	f := c.Flags()
	f.BoolVar(&a.dryRun, "dry-run", false, "change nothing, and say what would be changed")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "name what is unchanged as well")
	a.out.register(c, formatTable, formatJSON, formatYAML)
	return c
}

func diffCommand() *cobra.Command {
	var a application
	c := &cobra.Command{
		Use:   "diff FILE",
		Short: "Show what applying a catalog file would change",
		Long: `Shows what applying the file (-: standard input) would change, field by field, and changes
nothing. It ends with 0 where nothing would change, with 1 where something would, and with 2
after every error.

` + applyHelp,
		Example: "  tollgate diff tollgate.yaml",
		Args:    takes("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			a.dryRun = true
			plan, err := a.apply(c, args[0])
			if err != nil {
				return exit{exitUsage, err}
			}
			if err := a.printDifferences(c.OutOrStdout(), plan); err != nil {
				return exit{exitUsage, err}
			}
			if len(plan.Changes) > 0 {
				return exit{exitFailed, errReported}
			}
			return nil
		},
	}
	a.register(c)
	return c
}

func (a *application) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.source, "source", "", "the name of the file by which its objects are marked (default: the file's own, without its folder; standard input has none)")
	f.BoolVar(&a.prune, "prune", false, "delete what the file declared when it was applied before, and does no longer")
	f.StringVar(&a.conflicts, "conflicts", conflictsRefuse, "where something else manages what the file changes: "+alternatives(conflictWords))
	complete(c, "conflicts", conflictWords...)
	a.conn.register(f)
}

// apply reads the file, checks it, and sends it.
func (a *application) apply(c *cobra.Command, file string) (plan admin.Plan, err error) {
	a.file = file
	if !slices.Contains(conflictWords, a.conflicts) {
		return plan, misusef("--conflicts is %s, not %q", alternatives(conflictWords), a.conflicts)
	}
	if file == "-" && a.source == "" {
		return plan, misusef("standard input has no name by which its objects could be marked: give it one with --source NAME")
	}
	text, err := a.read(c)
	if err != nil {
		return plan, err
	}
	client, err := a.conn.client(applyTimeout)
	if err != nil {
		return plan, err
	}
	query := url.Values{"source": {a.marked()}, "conflicts": {strings.ReplaceAll(a.conflicts, "-", "_")}}
	for name, set := range map[string]bool{"dry_run": a.dryRun, "prune": a.prune} {
		if set {
			query.Set(name, "true")
		}
	}
	plan, _, err = admin.Call[admin.Plan](c.Context(), client, admin.Request{
		Method: http.MethodPost, Path: admin.Path("catalog", "apply"), Query: query, Body: text, ContentType: "application/json",
	})
	var p *admin.Problem
	if errors.As(err, &p) && len(p.Errors) > 0 {
		a.place(c.ErrOrStderr(), p)
		return plan, exit{exitStatus(err), errReported}
	}
	return plan, err
}

// marked is the name by which what the file declares is marked.
func (a *application) marked() string {
	return cmp.Or(a.source, filepath.Base(a.file))
}

// read returns the file as JSON, with the digests of subscription keys in place of where
// these are. Mistakes are printed, with where they are.
func (a *application) read(c *cobra.Command) ([]byte, error) {
	data, err := readInput(c, a.file)
	if err != nil {
		return nil, err
	}
	var mistakes []catalog.Mistake
	a.declared, mistakes = catalog.Parse(shownFile(a.file), data, localOptions(data))
	if len(mistakes) > 0 {
		for _, m := range mistakes {
			fmt.Fprintln(c.ErrOrStderr(), m)
		}
		return nil, exit{exitFailed, errReported}
	}
	nodes, err := documents(data)
	if err != nil {
		return nil, err
	}
	a.root = nodes[0] // Parse has seen that there is one
	if !a.digest(c.ErrOrStderr()) {
		return nil, exit{exitFailed, errReported}
	}
	return jsonOf(a.root)
}

// localOptions leave to the sidecar what only it knows: which other names there are, and
// which backends it allows.
func localOptions(data []byte) catalog.Options {
	o := catalog.Options{Partial: true, Known: func(string, string) bool { return true }}
	nodes, err := documents(data)
	if err != nil || len(nodes) == 0 {
		return o
	}
	apis := within(nodes[0], "apis")
	if apis == nil || apis.Kind != yaml.SequenceNode {
		return o
	}
	for _, api := range apis.Content {
		if backend := within(within(api, "backend"), "url"); backend != nil {
			if u, err := url.Parse(backend.Value); err == nil && u.Host != "" {
				o.AllowBackends = append(o.AllowBackends, u.Hostname())
			}
		}
	}
	return o
}

// digest puts digests in place of where the keys of subscriptions are. It prints which of
// them cannot be read.
func (a *application) digest(w io.Writer) bool {
	dir := "."
	if a.file != "-" {
		dir = filepath.Dir(a.file)
	}
	keys := secret.Reader{Dir: dir}
	ok := true
	for i, s := range a.declared.Subscriptions {
		for name, k := range map[string]*catalog.Secret{"primary_key": s.PrimaryKey, "secondary_key": s.SecondaryKey} {
			if k == nil || k.SHA256 != "" {
				continue
			}
			field := fmt.Sprintf("subscriptions[%d].%s", i, name)
			clear, err := keys.Read(*k)
			if err != nil {
				ok = false
				a.say(w, field, fmt.Sprintf("subscription %q: %v", s.Name, err))
				continue
			}
			sum := sha256.Sum256([]byte(clear))
			node := at(a.root, field)
			*node = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: node.Line, Column: node.Column, Content: []*yaml.Node{
				{Kind: yaml.ScalarNode, Tag: "!!str", Value: "sha256"},
				{Kind: yaml.ScalarNode, Tag: "!!str", Value: hex.EncodeToString(sum[:])},
			}}
		}
	}
	return ok
}

// adopt is the action by which only the source of an object changes.
const adopt = "adopt"

// done is what an action is called once it is done.
var done = map[string]string{"create": "created", "update": "updated", "delete": "deleted", adopt: "taken over as it is"}

// print prints what was changed, and a last line with how much.
func (a *application) print(w io.Writer, plan admin.Plan) error {
	counts := map[string]int{}
	touched := map[string]bool{}
	suffix := ""
	if a.dryRun {
		suffix = " (dry run)"
	}
	for _, c := range plan.Changes {
		counts[c.Action]++
		touched[reference(c.Kind, c.Name)] = true
		fmt.Fprintf(w, "%s %s%s\n", reference(c.Kind, c.Name), done[c.Action], suffix)
	}
	for _, k := range plan.Kept {
		touched[reference(k.Kind, k.Name)] = true
		fmt.Fprintf(w, "%s kept as it is: %s\n", reference(k.Kind, k.Name), reasonKept(k))
	}
	printUnpruned(w, "", plan)
	unchanged := slices.DeleteFunc(declarations(a.declared), func(name string) bool { return touched[name] })
	if a.verbose {
		for _, name := range unchanged {
			fmt.Fprintf(w, "%s unchanged\n", name)
		}
	}
	text := fmt.Sprintf("applied: %d created, %d updated, %d deleted, %d unchanged", counts["create"], counts["update"], counts["delete"], len(unchanged))
	if counts[adopt] > 0 {
		text += fmt.Sprintf(", %d taken over", counts[adopt])
	}
	if len(plan.Kept) > 0 {
		text += fmt.Sprintf(", %d kept", len(plan.Kept))
	}
	if len(plan.Unpruned) > 0 {
		text += fmt.Sprintf(", %d not pruned", len(plan.Unpruned))
	}
	_, err := fmt.Fprintln(w, text+suffix)
	return err
}

func (a *application) printDifferences(w io.Writer, plan admin.Plan) error {
	for _, c := range plan.Changes {
		if c.Action == adopt {
			fmt.Fprintf(w, "# %s is taken over as it is\n", reference(c.Kind, c.Name))
			continue
		}
		if err := printDifference(w, c, shownFile(a.file)); err != nil {
			return err
		}
	}
	for _, k := range plan.Kept {
		fmt.Fprintf(w, "# %s stays as it is: %s\n", reference(k.Kind, k.Name), reasonKept(k))
	}
	printUnpruned(w, "# ", plan)
	return nil
}

// reasonKept is why something stays as it is.
func reasonKept(k admin.Kept) string {
	if k.Why != "" {
		return "it " + k.Why
	}
	return "managed by " + manager(k.Source)
}

// printUnpruned names what stays although the file dropped it.
func printUnpruned(w io.Writer, before string, plan admin.Plan) {
	for _, c := range plan.Unpruned {
		fmt.Fprintf(w, "%s%s is not in the file any more: delete it with --prune\n", before, reference(c.Kind, c.Name))
	}
}

// declarations are the references of what a catalog declares.
func declarations(c *catalog.Catalog) []string {
	var names []string
	if c.Organization.Name != "" {
		names = append(names, "organization")
	}
	for _, a := range c.APIs {
		names = append(names, reference("api", a.Name))
	}
	for _, p := range c.Products {
		names = append(names, reference("product", p.Name))
	}
	for _, g := range c.Groups {
		names = append(names, reference("group", g.Name))
	}
	for _, d := range c.Developers {
		names = append(names, reference("developer", d.Email))
	}
	for _, s := range c.Subscriptions {
		names = append(names, reference("subscription", s.Name))
	}
	return names
}
