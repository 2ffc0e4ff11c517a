package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/usage"
)

// usageQuery asks what was called.
type usageQuery struct {
	by           []string
	since, until string
	per          string
	limit        int
	filters      map[string]*string
}

var grains = []string{string(usage.Minute), string(usage.Hour), string(usage.Day)}

func usageCommand() *cobra.Command {
	var conn connection
	var out output
	q := usageQuery{filters: map[string]*string{}}
	c := &cobra.Command{
		Use:   "usage",
		Short: "Show what was called, by whom, with what outcome and how fast",
		Long: `Adds up calls, as filters have reported them a second or so ago. An outcome is success,
blocked (401, 403, 429), failed (400 and 5xx) or other. Times are of the whole call, and of the
backend. -o csv has all the numbers, in microseconds and bytes.`,
		Example: `  tollgate usage --by subscription,api --since 24h
  tollgate usage --by operation --per hour --api "AzureML Demo API" -o csv > usage.csv`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			query, err := q.values()
			if err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			report, _, err := admin.Call[usage.Report](c.Context(), client, admin.Request{Path: admin.Path("usage"), Query: query})
			if err != nil {
				return err
			}
			if err := printUsage(c.OutOrStdout(), &out, report); err != nil {
				return err
			}
			if report.More {
				fmt.Fprintf(c.ErrOrStderr(), "There are more than %d rows: raise --limit, or choose fewer.\n", len(report.Rows))
			}
			return nil
		},
	}
	q.register(c, &conn)
	out.register(c, formatTable, formatCSV, formatJSON, formatYAML)
	conn.register(c.Flags())
	return c
}

func (q *usageQuery) register(c *cobra.Command, conn *connection) {
	f := c.Flags()
	f.StringSliceVar(&q.by, "by", nil, "what has rows of its own, with commas: "+alternatives(dimensionNames()))
	f.StringVar(&q.since, "since", "", "from then on: "+pastHelp+" (default: all that is kept)")
	f.StringVar(&q.until, "until", "", "until then (default: now)")
	f.StringVar(&q.per, "per", "", "a row per "+alternatives(grains)+" (default: one for the whole span)")
	f.IntVar(&q.limit, "limit", 0, fmt.Sprintf("show at most this many rows (default %d)", usage.DefaultLimit))
	for _, d := range usage.Dimensions {
		text := "only calls of this " + string(d)
		if d == usage.ByAPI {
			text = "only calls of this API"
		}
		q.filters[string(d)] = f.String(string(d), "", text)
	}
	complete(c, "by", dimensionNames()...)
	complete(c, "per", grains...)
	complete(c, "outcome", outcomes...)
	complete(c, "operation")
	for _, name := range []string{"subscription", "developer", "product", "api"} {
		completeNames(c, conn, name, name)
	}
}

var outcomes = []string{string(wire.CallSuccess), string(wire.CallBlocked), string(wire.CallFailed), string(wire.CallOther)}

func dimensionNames() []string {
	names := make([]string, len(usage.Dimensions))
	for i, d := range usage.Dimensions {
		names[i] = string(d)
	}
	return names
}

// values checks what is asked for, and writes it as the admin API wants it.
func (q *usageQuery) values() (url.Values, error) {
	query := url.Values{}
	for _, d := range q.by {
		if !slices.Contains(dimensionNames(), d) {
			return nil, misusef("--by is of %s, not %q", alternatives(dimensionNames()), d)
		}
	}
	switch outcome := *q.filters["outcome"]; {
	case q.per != "" && !slices.Contains(grains, q.per):
		return nil, misusef("--per is %s, not %q", alternatives(grains), q.per)
	case outcome != "" && !slices.Contains(outcomes, outcome):
		return nil, misusef("--outcome is %s, not %q", alternatives(outcomes), outcome)
	case q.limit < 0 || q.limit > usage.LimitMax:
		return nil, misusef("--limit is from 1 to %d, not %d", usage.LimitMax, q.limit)
	}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("by", strings.Join(q.by, ","))
	set("per", q.per)
	for name, value := range q.filters {
		set(name, *value)
	}
	if q.limit > 0 {
		query.Set("limit", strconv.Itoa(q.limit))
	}
	return query, addSpan(query, q.since, q.until)
}

func printUsage(w io.Writer, out *output, r usage.Report) error {
	if out.format == formatCSV {
		return r.WriteCSV(w)
	}
	if done, err := out.encode(w, r); done {
		return err
	}
	var columns []string
	if r.Per != "" {
		columns = append(columns, "TIME")
	}
	for _, d := range r.By {
		columns = append(columns, strings.ToUpper(string(d)))
	}
	columns = append(columns, "CALLS", "SUCCESS", "BLOCKED", "FAILED", "OTHER", "IN", "OUT", "AVERAGE", "P95", "BACKEND-AVERAGE", "BACKEND-P95")
	rows := make([][]string, len(r.Rows))
	for i := range r.Rows {
		rows[i] = usageCells(&r, &r.Rows[i])
	}
	return table(w, columns, rows)
}

func usageCells(r *usage.Report, row *usage.Row) []string {
	var cells []string
	if r.Per != "" {
		cells = append(cells, instant(&row.Time))
	}
	of := map[usage.Dimension]string{usage.BySubscription: row.Subscription, usage.ByDeveloper: row.Developer, usage.ByProduct: row.Product,
		usage.ByAPI: row.API, usage.ByOperation: row.Operation, usage.ByOutcome: string(row.Outcome)}
	for _, d := range r.By {
		cells = append(cells, of[d])
	}
	for _, n := range []int64{row.Calls, row.Success, row.Blocked, row.Failed, row.Other} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	return append(cells, size(row.RequestBytes), size(row.ResponseBytes),
		micros(row.Total, row.Total.AverageMicros), micros(row.Total, row.Total.P95Micros),
		micros(row.Backend, row.Backend.AverageMicros), micros(row.Backend, row.Backend.P95Micros))
}

// micros is a time for people, to three digits or so; empty where nothing was measured.
func micros(t usage.Times, n int64) string {
	if t.Calls == 0 {
		return ""
	}
	d := time.Duration(n) * time.Microsecond
	switch {
	case d >= 10*time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		d = d.Round(100 * time.Microsecond)
	}
	return d.String()
}

// size is a number of bytes for people: "512B", "1.5KiB".
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	value, unit := float64(n), 0
	for value >= 1023.95 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit]
}
