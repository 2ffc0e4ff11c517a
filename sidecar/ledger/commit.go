package ledger

import (
	"context"
	"errors"
	"fmt"
)

// Result is the answer to a Batch: a Grant for each of its takes, or an error; then nothing
// was granted and nothing settled.
type Result struct {
	Grants []Grant
	Err    error
	// freed is for the takes that found no slot free.
	freed []*wait
}

// Reasons to run a transaction again.
var (
	errStepped = errors.New("the clock stepped")
	errPeriod  = errors.New("a period ended meanwhile")
	errStale   = errors.New("a counter was deleted meanwhile")
)

// tries is how often a transaction is run for these reasons.
const tries = 4

// Commit answers batches in one transaction: first everything is settled, then the takes are
// answered in their order. Each batch stands for itself: one that fails does not change what
// the others get. What it returns is durable.
func (l *Ledger) Commit(ctx context.Context, batches []Batch) []Result {
	results := make([]Result, len(batches))
	var good []int
	for i := range batches {
		if err := batches[i].check(); err != nil {
			results[i].Err = err
		} else {
			good = append(good, i)
		}
	}
	l.turn.Lock()
	g, err := l.commit(ctx, pick(batches, good))
	if err != nil && len(good) > 1 && !errors.Is(err, ErrUnavailable) {
		for _, i := range good { // one of them is bad in a way that check does not know
			one, err := l.commit(ctx, batches[i:i+1])
			results[i] = l.result(one, 0, err)
		}
		good = nil
	}
	for n, i := range good {
		results[i] = l.result(g, n, err)
	}
	l.turn.Unlock()
	return results
}

func pick(batches []Batch, which []int) []Batch {
	if len(which) == len(batches) {
		return batches
	}
	some := make([]Batch, len(which))
	for n, i := range which {
		some[n] = batches[i]
	}
	return some
}

func (l *Ledger) result(g *group, n int, err error) Result {
	if err != nil {
		return Result{Err: err}
	}
	return g.results[n]
}

// commit runs a group until it is on record, and then draws the conclusions.
func (l *Ledger) commit(ctx context.Context, batches []Batch) (*group, error) {
	if len(batches) == 0 {
		return nil, nil
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	var g *group
	var err error
	for range tries {
		err = l.storage.Transact(ctx, func(rows Rows) error {
			g = newGroup(l, rows, batches)
			return g.run()
		})
		if g != nil && g.read { // a look at the clock counts, whatever became of the rest
			l.learn(g.clock)
		}
		switch {
		case err == nil:
			l.conclude(g)
			return g, nil
		case errors.Is(err, errStepped):
			if _, err := l.beat(ctx); err != nil {
				return nil, unavailable(err)
			}
		case errors.Is(err, errStale):
			clear(l.ids)
		case !errors.Is(err, errPeriod):
			return nil, fmt.Errorf("granting: %w", err)
		}
	}
	return nil, fmt.Errorf("granting: %w: %w", ErrUnavailable, err)
}

// ready sees to it that the clock is known and trusted.
func (l *Ledger) ready(ctx context.Context) error {
	if l.known && l.seen.until == 0 {
		return nil
	}
	if _, err := l.beat(ctx); err != nil {
		return unavailable(err)
	}
	if l.seen.until > 0 {
		return fmt.Errorf("granting: %w: waiting for another sidecar's look at the clock", ErrUnavailable)
	}
	return nil
}

// conclude takes over what a group that is on record has learnt.
func (l *Ledger) conclude(g *group) {
	if len(l.ids)+len(g.found) > maxIDs {
		clear(l.ids)
	}
	for name, id := range g.found {
		l.ids[name] = id
	}
	for id, u := range g.usage {
		if u.Rows > mergeAbove {
			l.busy[id] = struct{}{}
		}
	}
	l.release(g)
	if l.o.OnEvent != nil {
		for _, e := range g.events {
			l.o.OnEvent(e)
		}
	}
}

// maxIDs is how many counters' ids are kept in memory.
const maxIDs = 100_000
