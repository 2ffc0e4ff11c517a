package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// sample is what one variant did in one round.
type sample struct {
	perSecond float64 // requests
	p50, p99  time.Duration
	cpu       float64 // microseconds per request, of all of the variant's processes
	calls     float64 // to the sidecar, per 1,000 requests; watches, which no request causes, not counted
}

// warmUp has caches filled and connections opened.
func (l *lane) warmUp(ctx context.Context, c config) error {
	_, _, err := l.load(ctx, limit{requests: c.warmup, time: 5 * time.Second})
	return err
}

// measure gives load to the variant for one slice.
func (l *lane) measure(ctx context.Context, c config) (sample, error) {
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
	if l.fresh && callsAfter-calls < n {
		return sample{}, fmt.Errorf("%v requests made only %v calls: decisions were not new", n, callsAfter-calls)
	}
	slices.Sort(took)
	return sample{
		perSecond: n / elapsed.Seconds(), p50: took[len(took)/2], p99: took[len(took)*99/100],
		cpu: float64((cpuAfter - cpu).Nanoseconds()) / 1000 / n, calls: (callsAfter - calls) / n * 1000,
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

// calls is how often the sidecar was called so far; 0 without one.
func (l *lane) calls(ctx context.Context) (total float64, err error) {
	if l.metrics == "" {
		return 0, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the sidecar's metrics: %w", err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	found := false
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), "tollgate_filter_calls_total{")
		if !ok {
			continue
		}
		found = true
		labels, value, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the sidecar's metrics: %w", err)
		}
		if !strings.Contains(labels, strconv.Quote(wire.PathWatch)) {
			total += n
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("reading the sidecar's metrics: %w", err)
	}
	if !found {
		return 0, fmt.Errorf("the sidecar's metrics count no calls")
	}
	return total, nil
}
