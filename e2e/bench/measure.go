package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// sample is what one variant did in one round.
type sample struct {
	perSecond float64 // requests
	p50, p99  time.Duration
	cpu       float64 // microseconds per request, of all of the variant's processes
	calls     float64 // see lane.calls, per 1,000 requests
	leadCalls float64 // all that were made before, in the lead
}

// warmUp has caches filled and connections opened.
func (l *lane) warmUp(ctx context.Context, c config) error {
	_, _, err := l.load(ctx, limit{requests: c.warmup, time: 5 * time.Second})
	return err
}

// measure gives load to the variant for one slice. It does so for a moment before: what
// was idle while the others had their turn has given its leases back.
func (l *lane) measure(ctx context.Context, c config) (sample, error) {
	idleCalls, err := l.calls(ctx)
	if err != nil {
		return sample{}, err
	}
	if _, _, err := l.load(ctx, limit{requests: c.requests, time: c.lead}); err != nil {
		return sample{}, err
	}
	calls, err := l.calls(ctx)
	if err != nil {
		return sample{}, err
	}
	cpu, err := l.cpu()
	if err != nil {
		return sample{}, err
	}
	took, elapsed, err := l.load(ctx, limit{requests: c.requests, time: c.slice})
	if err != nil {
		return sample{}, err
	}
	cpuAfter, err := l.cpu()
	if err != nil {
		return sample{}, err
	}
	callsAfter, err := l.calls(ctx)
	if err != nil {
		return sample{}, err
	}
	n := float64(len(took))
	if n == 0 {
		return sample{}, fmt.Errorf("no request was answered within %s", c.slice)
	}
	if l.asks && callsAfter-calls < n {
		return sample{}, fmt.Errorf("%v requests made only %v calls, want one each", n, callsAfter-calls)
	}
	slices.Sort(took)
	return sample{
		perSecond: n / elapsed.Seconds(), p50: took[len(took)/2], p99: took[len(took)*99/100],
		cpu: float64((cpuAfter - cpu).Nanoseconds()) / 1000 / n, calls: (callsAfter - calls) / n * 1000, leadCalls: calls - idleCalls,
	}, nil
}

// cpu is the time that the variant's processes have used so far.
func (l *lane) cpu() (total time.Duration, err error) {
	for _, p := range l.processes {
		used, err := cpuTime(p.PID())
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of %s: %w", p.Name, err)
		}
		total += used
	}
	return total, nil
}
