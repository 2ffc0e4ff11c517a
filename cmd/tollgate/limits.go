package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
)

// recent is how many adjustments are shown below the counters.
const recent = 10

// limitsOptions is what `tollgate limits` was asked for.
type limitsOptions struct {
	conn         connection
	out          output
	subscription string // empty: all
	reset        bool
	raise        int64 // 0: no raise
	limit, key   string
}

func limitsCommand() *cobra.Command {
	var o limitsOptions
	c := &cobra.Command{
		Use:   "limits [SUBSCRIPTION]",
		Short: "Show what is used of every limit; reset and raise them",
		Long: `Shows what is used of every limit, what workers hold of it (leased), what is left, and when
there will be more. SUBSCRIPTION is a name or an id; without one, all are shown.

--reset forgets what was used. --raise adds to a quota, for its current period only. Both
are on record, with who did it. The user that runs the sidecar may do this, and root.`,
		Example: `  tollgate limits alice
  tollgate limits alice --reset --limit minute
  tollgate limits alice --raise 50 --limit week`,
		Args:              takes("[SUBSCRIPTION]"),
		ValidArgsFunction: completeArgument(&o.conn, "subscription", false),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.subscription = args[0]
			}
			if err := o.check(c.Flags().Changed("raise")); err != nil {
				return err
			}
			return o.run(c.Context(), c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.BoolVar(&o.reset, "reset", false, "forget what was used: of --limit, or of all limits of the subscription")
	f.Int64Var(&o.raise, "raise", 0, "add this many units to the quota --limit, for its current period")
	f.StringVar(&o.limit, "limit", "", "the name of a limit")
	f.StringVar(&o.key, "key", "", "the key of a limit, where several have its name")
	o.out.register(c, formatTable, formatJSON, formatYAML)
	o.conn.registerAdmin(f)
	return c
}

func (o *limitsOptions) check(raises bool) error {
	if err := o.out.check(); err != nil {
		return err
	}
	switch {
	case o.reset && raises:
		return misusef("--reset and --raise are two changes: do one after the other")
	case (o.reset || raises) && o.subscription == "":
		return misusef("--reset and --raise are for one subscription: name it")
	case raises && o.raise < 1:
		return misusef("--raise is at least 1, not %d", o.raise)
	case raises && o.limit == "":
		return misusef("--raise needs the name of a quota: --limit NAME")
	case !o.reset && !raises && (o.limit != "" || o.key != ""):
		return misusef("--limit and --key go with --reset or --raise")
	}
	return nil
}

// run changes what is to be changed, and shows what there is then.
func (o *limitsOptions) run(ctx context.Context, w io.Writer) error {
	client, err := o.conn.client(adminTimeout)
	if err != nil {
		return err
	}
	if err := o.change(ctx, client); err != nil {
		return err
	}
	limits, err := client.Limits(ctx, o.subscription)
	if err != nil {
		return err
	}
	adjustments, err := client.Adjustments(ctx, o.subscription)
	if err != nil {
		return err
	}
	if done, err := o.out.encode(w, struct {
		admin.Limits
		Adjustments []admin.Adjustment `json:"adjustments"`
	}{limits, adjustments.Adjustments}); done {
		return err
	}
	if err := printCounters(w, limits, o.subscription == ""); err != nil {
		return err
	}
	return printAdjustments(w, adjustments.Adjustments)
}

func (o *limitsOptions) change(ctx context.Context, client *admin.Client) (err error) {
	switch {
	case o.reset:
		_, err = client.Reset(ctx, admin.Reset{Subscription: o.subscription, Limit: o.limit, Key: o.key})
	case o.raise != 0:
		_, err = client.Raise(ctx, admin.Raise{Subscription: o.subscription, Limit: o.limit, Key: o.key, Units: o.raise})
	}
	return err
}

func printCounters(w io.Writer, limits admin.Limits, all bool) error {
	if len(limits.Counters) == 0 {
		_, err := fmt.Fprintln(w, "Nothing is counted yet.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if all {
		fmt.Fprint(t, "SUBSCRIPTION\t")
	}
	fmt.Fprintln(t, "LIMIT\tKEY\tKIND\tUSED\tLEASED\tLEFT\tAMOUNT\tRESETS-IN")
	for _, c := range limits.Counters {
		if all {
			fmt.Fprintf(t, "%s\t", owner(c))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", c.Name, c.Key, limitKind(c.Limit), c.Used, c.Leased, c.Left, amount(c), resetsIn(c, limits.Now))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if limits.Cut {
		_, err := fmt.Fprintln(w, "There are more, which are not shown: name a subscription.")
		return err
	}
	return nil
}

// owner is whose counter it is.
func owner(c admin.Counter) string {
	if c.Subscription == 0 {
		return "-"
	}
	return cmp.Or(c.SubscriptionName, strconv.FormatUint(uint64(c.Subscription), 10))
}

// limitKind says as well that a limit refuses nothing.
func limitKind(l wire.Limit) string {
	if l.ReportOnly {
		return string(l.Kind) + " (reports only)"
	}
	return string(l.Kind)
}

// amount is "100", "100+20" of a quota that was raised, "1000 bytes" of another unit than calls.
func amount(c admin.Counter) string {
	text := strconv.FormatInt(c.Amount, 10)
	if c.Raised != 0 {
		text += fmt.Sprintf("%+d", c.Raised)
	}
	if c.Unit != wire.UnitCalls {
		text += " " + string(c.Unit)
	}
	return text
}

func resetsIn(c admin.Counter, now time.Time) string {
	if c.Reset == nil {
		return "-"
	}
	return span(c.Reset.Sub(now))
}

// span is a time in its two largest units: "57s", "1m30s", "6d23h".
func span(d time.Duration) string {
	seconds := int64((max(0, d) + time.Second - 1) / time.Second)
	text, shown := "", 0
	for _, u := range []struct {
		name   string
		length int64
	}{{"d", 24 * 60 * 60}, {"h", 60 * 60}, {"m", 60}, {"s", 1}} {
		n := seconds / u.length
		seconds -= n * u.length
		if n == 0 && shown == 0 && u.length > 1 {
			continue
		}
		if shown++; n > 0 || text == "" {
			text += strconv.FormatInt(n, 10) + u.name
		}
		if shown == 2 {
			break
		}
	}
	return text
}

func printAdjustments(w io.Writer, list []admin.Adjustment) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ADJUSTED\tBY\tACTION\tLIMIT\tKEY\tUNITS")
	for _, a := range list[:min(len(list), recent)] {
		units := "-"
		if a.Units != 0 {
			units = fmt.Sprintf("%+d", a.Units)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Time.Format(time.RFC3339), a.Actor, a.Action, cmp.Or(a.Before.Limit, "-"), cmp.Or(a.Before.Key, "-"), units)
	}
	return t.Flush()
}
