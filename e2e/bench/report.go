package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// round is one sample of each variant, by name.
type round map[string]sample

// outcome is all that was measured.
type outcome struct {
	variants    []variant
	rounds      []round
	up          time.Duration // 0: not timed
	moduleBytes int64
	steady      steady  // of the variant limits; no requests: not measured
	grants      float64 // per second; 0: not timed
}

// median is that of one figure of each round; the mean of the two in the middle of an even
// number.
func (o outcome) median(figure func(round) float64) float64 {
	all := o.all(figure)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// all are the sorted figures.
func (o outcome) all(figure func(round) float64) []float64 {
	var figures []float64
	for _, r := range o.rounds {
		figures = append(figures, figure(r))
	}
	slices.Sort(figures)
	return figures
}

// added is the CPU time per request that a variant needs beyond bare Envoy, in the same
// round.
func (r round) added(name string) float64 { return r[name].cpu - r[bare].cpu }

func (o outcome) print(w io.Writer) error {
	fmt.Fprintln(w, "\nMedians over rounds. CPU is that of all of a variant's processes, per request; added is what it is beyond bare.")
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "variant\trequests/s\tp50 ms\tp99 ms\tCPU us\tlowest\thighest\tadded us\tadded/bare\tcalls/1000\t")
	for _, v := range o.variants {
		of := func(figure func(sample) float64) float64 {
			return o.median(func(r round) float64 { return figure(r[v.name]) })
		}
		cpu := o.all(func(r round) float64 { return r[v.name].cpu })
		calls := "-"
		if v.filtered || v.server != nil {
			calls = fmt.Sprintf("%.2f", o.callsPer1000(v.name))
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%s\t\n", v.name,
			of(func(s sample) float64 { return s.perSecond }),
			of(func(s sample) float64 { return s.p50.Seconds() * 1000 }),
			of(func(s sample) float64 { return s.p99.Seconds() * 1000 }),
			of(func(s sample) float64 { return s.cpu }), cpu[0], cpu[len(cpu)-1],
			o.median(func(r round) float64 { return r.added(v.name) }),
			o.median(func(r round) float64 { return r.added(v.name) / r[bare].cpu }), calls)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, v := range o.variants {
		fmt.Fprintf(w, "%-9s  %s\n", v.name, v.about)
	}
	fmt.Fprintln(w, "Calls are those to the sidecar, or to the variant's server.")
	if _, ok := o.rounds[0][limits]; ok {
		fmt.Fprintf(w, "When load came back after a pause, %s made %.0f sidecar calls before the measured time.\n", limits,
			o.median(func(r round) float64 { return r[limits].leadCalls }))
	}
	if s := o.steady; s.requests > 0 {
		fmt.Fprintf(w, "At a steady pace, %.0f requests/s, %s made %.2f sidecar calls per 1,000 requests.\n", s.perSecond, limits, s.calls)
	}
	fmt.Fprintln(w)
	for _, line := range o.lines() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// callsPer1000 is a mean: what happens every 30 seconds is in few rounds.
func (o outcome) callsPer1000(name string) float64 {
	sum := 0.0
	for _, r := range o.rounds {
		sum += r[name].calls
	}
	return sum / float64(len(o.rounds))
}

// lines are for programs: name=value. Ratios are of CPU time per request, paired within a
// round. There are none where one of our variants was left out.
func (o outcome) lines() []string {
	for _, v := range variants {
		if _, ok := o.rounds[0][v.name]; !ok {
			return nil
		}
	}
	ratio := func(name string, of func(round) float64) string { return fmt.Sprintf("%s=%.3f", name, o.median(of)) }
	lines := []string{
		ratio("warm_added_over_bare", func(r round) float64 { return r.added(warm) / r[bare].cpu }),
		ratio("extauthz_added_over_warm_added", func(r round) float64 { return r.added(extAuthz) / r.added(warm) }),
		ratio("cold_added_over_extauthz_added", func(r round) float64 { return r.added(cold) / r.added(extAuthz) }),
		fmt.Sprintf("calls_per_1000=%.3f", o.callsPer1000(warm)),
		fmt.Sprintf("module_bytes=%d", o.moduleBytes),
	}
	if o.up > 0 {
		lines = append(lines, fmt.Sprintf("up_seconds=%.2f", o.up.Seconds()))
	}
	lines = append(lines, ratio("ratelimit_added_over_limits_added", func(r round) float64 { return r.added(ratelimit) / r.added(limits) }))
	if o.steady.requests > 0 {
		lines = append(lines, fmt.Sprintf("limits_calls_per_1000=%.3f", o.steady.calls))
	}
	lines = append(lines, ratio("limits_added_over_warm_added", func(r round) float64 { return r.added(limits) / r.added(warm) }))
	if o.grants > 0 {
		lines = append(lines, fmt.Sprintf("grants_per_s=%.0f", o.grants))
	}
	return lines
}
