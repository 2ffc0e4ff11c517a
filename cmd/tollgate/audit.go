package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// defaultEntries is how many entries audit shows unless it is told.
const defaultEntries = 100

// auditFilter chooses entries of the audit.
type auditFilter struct {
	kind, name, actor, action string
	since, until              string
	limit                     int
}

func auditCommand() *cobra.Command {
	var conn connection
	var out output
	var filter auditFilter
	c := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what, when and from where",
		Long: `Shows who changed what, when and from where, newest first. -o json has as well what it was
before and after; secrets are never in it.`,
		Example: `  tollgate audit --kind subscription --since 7d
  tollgate audit verify --head 812:5f0c...`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			query, err := filter.query()
			if err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			entries, err := pages[admin.AuditEntry](c.Context(), client, admin.Path("audit"), query, filter.limit)
			if err != nil {
				return err
			}
			if done, err := out.encode(c.OutOrStdout(), admin.List[admin.AuditEntry]{Items: entries}); done {
				return err
			}
			rows := make([][]string, len(entries))
			for i, e := range entries {
				rows[i] = []string{fmt.Sprint(e.ID), instant(&e.Time), e.Actor, e.Origin, e.Action, e.Name}
			}
			return table(c.OutOrStdout(), []string{"ID", "TIME", "ACTOR", "ORIGIN", "ACTION", "NAME"}, rows)
		},
	}
	f := c.Flags()
	f.StringVar(&filter.kind, "kind", "", "only changes of this kind of thing, like subscription")
	f.StringVar(&filter.name, "name", "", "only changes of the thing with this name")
	f.StringVar(&filter.actor, "actor", "", "only changes by this one, like token:ci")
	f.StringVar(&filter.action, "action", "", "only this action, like subscription.approve")
	f.StringVar(&filter.since, "since", "", "only changes from then on: "+pastHelp)
	f.StringVar(&filter.until, "until", "", "only changes before: "+pastHelp)
	f.IntVar(&filter.limit, "limit", defaultEntries, "show at most this many; 0: all")
	out.register(c, formatTable, formatJSON, formatYAML)
	conn.register(f)
	c.AddCommand(auditVerifyCommand())
	return c
}

func (f *auditFilter) query() (url.Values, error) {
	if f.limit < 0 {
		return nil, misusef("--limit is at least 0, not %d", f.limit)
	}
	query := url.Values{}
	for name, value := range map[string]string{"kind": f.kind, "name": f.name, "actor": f.actor, "action": f.action} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query, addSpan(query, f.since, f.until)
}

// addSpan adds since and until to a query, where they are given.
func addSpan(query url.Values, since, until string) error {
	for name, text := range map[string]string{"since": since, "until": until} {
		if text == "" {
			continue
		}
		t, err := past("--"+name, text)
		if err != nil {
			return err
		}
		query.Set(name, t.Format(time.RFC3339Nano))
	}
	return nil
}

var headForm = regexp.MustCompile(`^[0-9]+:[0-9a-f]{64}$`)

func auditVerifyCommand() *cobra.Command {
	var conn connection
	var out output
	var head string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check that no entry of the audit was changed, removed or put in between",
		Long: `Checks the chain of hashes over all entries, and prints its head, ID:HASH. Note the head
somewhere else: with --head it is checked that the entry is there still, with this hash. Only
so is it seen when the last entries were cut off. It ends with 1 where the audit is broken.`,
		Example: "  tollgate audit verify --head \"$(cat audit.head)\"",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			query := url.Values{}
			if head != "" {
				if !headForm.MatchString(head) {
					return misusef("--head is ID:HASH, as `tollgate audit verify` prints it, not %q", head)
				}
				query.Set("expect", head)
			}
			client, err := conn.client(applyTimeout)
			if err != nil {
				return err
			}
			report, _, err := admin.Call[admin.AuditReport](c.Context(), client, admin.Request{Method: http.MethodGet, Path: admin.Path("audit", "verify"), Query: query})
			if err != nil {
				return err
			}
			if done, err := out.encode(c.OutOrStdout(), report); err != nil {
				return err
			} else if !done && report.Broken == nil {
				fmt.Fprintf(c.OutOrStdout(), "%s\n", report.Head)
				fmt.Fprintf(c.ErrOrStderr(), "The audit is whole: %s. Note the head, which is on standard output, somewhere else.\n", entries(report.Rows))
			}
			if report.Broken != nil {
				return brokenAudit(report)
			}
			return nil
		},
	}
	c.Flags().StringVar(&head, "head", "", "ID:HASH of a head that was noted: it must be there still")
	out.register(c, formatTable, formatJSON, formatYAML)
	conn.register(c.Flags())
	return c
}

func brokenAudit(r admin.AuditReport) error {
	return errors.New("the audit is broken at entry " + fmt.Sprint(r.Broken.ID) + ": " + r.Broken.Why)
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
