package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// recentChanges is how many audited changes describe shows.
const recentChanges = 5

func describeCommand() *cobra.Command {
	var conn connection
	c := &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Show all there is to know of one thing",
		Long: `Shows one thing with what manages it, its keys and limits, and who changed it last. It is for
people, and may look otherwise tomorrow; scripts take get -o json.

` + kindsHelp,
		Example: `  tollgate describe subscription ada-starter
  tollgate describe operation "AzureML Demo API" "Score"`,
		Args:              takes("KIND", "[NAME...]"),
		ValidArgsFunction: completeTarget(&conn, false),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTarget(c, args)
			if err != nil {
				return err
			}
			if t.kind.name == "organization" {
				t.names = []string{""}
			}
			if len(t.names) != 1 {
				return misuse{seeHelp(c, "name one %s, not %d", t.kind.name, len(t.names))}
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			item, err := fetchOne(c, client, &t, t.names[0])
			if err != nil {
				return err
			}
			return describe(c, client, &t, item)
		},
	}
	conn.register(c.Flags())
	return c
}

// described are the fields that things have, each of which only some do.
type described struct {
	Kind      string          `json:"kind"`
	Name      string          `json:"name"`
	API       string          `json:"api"`
	ID        uint32          `json:"id"`
	Spec      json.RawMessage `json:"spec"`
	State     string          `json:"state"`
	Note      string          `json:"note"`
	Source    *string         `json:"source"`
	Revision  uint64          `json:"revision"`
	Created   time.Time       `json:"created"`
	Updated   time.Time       `json:"updated"`
	KeysShown *bool           `json:"keys_shown"`
	Keys      []admin.Key     `json:"keys"`
	Role      string          `json:"role"`
	Expires   *time.Time      `json:"expires_at"`
	Used      *time.Time      `json:"used"`
}

func describe(c *cobra.Command, client *admin.Client, t *target, item json.RawMessage) error {
	var d described
	if err := json.Unmarshal(item, &d); err != nil {
		return fmt.Errorf("reading the sidecar's answer: %w", err)
	}
	w := c.OutOrStdout()
	if err := describeHead(w, t, &d); err != nil {
		return err
	}
	if len(d.Spec) > 0 {
		text, err := yamlOf(d.Spec)
		if err != nil {
			return fmt.Errorf("reading the sidecar's answer: %w", err)
		}
		fmt.Fprintf(w, "Spec:\n  %s\n", strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n  "))
	}
	if t.kind.name == "subscription" {
		if err := describeSubscription(c, client, &d); err != nil {
			return err
		}
	}
	return describeChanges(c, client, t, &d)
}

func describeHead(w io.Writer, t *target, d *described) error {
	tab := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tab, "%s:\t%s\n", name, shownCell(value))
		}
	}
	line("Kind", t.kind.name)
	line("Name", d.Name)
	line("API", d.API)
	if d.ID != 0 {
		line("Id", fmt.Sprint(d.ID))
	}
	line("State", d.State)
	line("Note", d.Note)
	line("Role", d.Role)
	if d.Source != nil {
		line("Source", manager(*d.Source))
	}
	if d.Revision != 0 {
		line("Revision", fmt.Sprint(d.Revision))
	}
	line("Created", instant(&d.Created))
	line("Updated", instant(&d.Updated))
	line("Expires", instant(d.Expires))
	line("Used", instant(d.Used))
	if d.KeysShown != nil {
		line("Keys shown", answer(*d.KeysShown))
	}
	return tab.Flush()
}

// describeSubscription shows keys, of which nothing can be read, and what is used of limits.
func describeSubscription(c *cobra.Command, client *admin.Client, d *described) error {
	w := c.OutOrStdout()
	var rows [][]string
	for _, k := range d.Keys {
		rows = append(rows, []string{k.Slot, instant(&k.Created), cmp.Or(instant(k.Used), "never"), instant(k.Expires), manager(k.Source)})
	}
	fmt.Fprintln(w, "Keys:")
	if err := indented(w, []string{"SLOT", "CREATED", "USED", "ENDS", "SOURCE"}, rows); err != nil {
		return err
	}
	limits, err := client.Limits(c.Context(), fmt.Sprint(d.ID))
	if err != nil {
		return unlessHidden(err)
	}
	rows = nil
	for _, l := range limits.Counters {
		rows = append(rows, []string{l.Name, l.Key, limitKind(l.Limit), fmt.Sprint(l.Used), fmt.Sprint(l.Left), amount(l), resetsIn(l, limits.Now)})
	}
	fmt.Fprintln(w, "Limits:")
	return indented(w, []string{"LIMIT", "KEY", "KIND", "USED", "LEFT", "AMOUNT", "RESETS-IN"}, rows)
}

// describeChanges shows who changed it last, to those who may read the audit.
func describeChanges(c *cobra.Command, client *admin.Client, t *target, d *described) error {
	of, name := t.kind.name, d.Name
	if of == "operation" {
		of, name = "api", t.api
	}
	query := url.Values{"kind": {of}, "limit": {fmt.Sprint(recentChanges)}}
	if name != "" && of != "organization" {
		query.Set("name", name)
	}
	found, _, err := admin.Call[admin.List[admin.AuditEntry]](c.Context(), client, admin.Request{Path: admin.Path("audit"), Query: query})
	if err != nil {
		return unlessHidden(err)
	}
	if len(found.Items) == 0 {
		return nil
	}
	var rows [][]string
	for _, e := range found.Items {
		rows = append(rows, []string{instant(&e.Time), e.Actor, e.Action})
	}
	fmt.Fprintln(c.OutOrStdout(), "Changes:")
	return indented(c.OutOrStdout(), []string{"TIME", "ACTOR", "ACTION"}, rows)
}

// unlessHidden is no error where the caller's role is not enough for a part, or nothing is
// counted.
func unlessHidden(err error) error {
	var p *admin.Problem
	if errors.As(err, &p) && (p.Status == http.StatusForbidden || p.Status == http.StatusNotFound) {
		return nil
	}
	return err
}

// indented is a table below a heading; "none" where it has no rows.
func indented(w io.Writer, columns []string, rows [][]string) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "  none")
		return err
	}
	var b bytes.Buffer
	if err := table(&b, columns, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\n", "\n  "))
	return err
}
