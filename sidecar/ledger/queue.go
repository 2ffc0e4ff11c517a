package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	maxGroup  = 256  // batches in one transaction
	maxWeight = 4096 // of their settlements and limits
	maxYields = 4    // how often others are let run first, so that they can join
	// cleanInterval is how often what nobody needs is deleted.
	cleanInterval = 2 * time.Second
	// slotWait is how long a call waits for a slot that is just being released.
	slotWait = 25 * time.Millisecond
)

// pending is a batch that waits for its transaction.
type pending struct {
	ctx    context.Context
	batch  Batch
	result chan Result
}

// Run answers Take, several batches in one transaction: those that came while the last one
// was written. It looks at the clock and cleans up. It returns when the context ends, and
// the ledger is closed then.
func (l *Ledger) Run(ctx context.Context) error {
	defer close(l.done)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.answer(ctx) })
	group.Go(func() error { return l.every(ctx, beatInterval, "reading the ledger's clock", l.Beat) })
	group.Go(func() error { return l.every(ctx, cleanInterval, "cleaning the ledger", l.Clean) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// every calls f at intervals. What fails is tried again the next time, and logged once.
func (l *Ledger) every(ctx context.Context, interval time.Duration, doing string, f func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		err := f(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			l.o.Log.Error(doing+" fails", "error", err)
		}
		if failing && err == nil {
			l.o.Log.Info(doing + " works again")
		}
		failing = err != nil
	}
}

// answer commits what waits, again and again.
func (l *Ledger) answer(ctx context.Context) error {
	if err := l.warmUp(ctx); err != nil {
		return err
	}
	for {
		waiting, err := l.collect(ctx)
		if err != nil {
			return err
		}
		batches := make([]Batch, len(waiting))
		for i, p := range waiting {
			batches[i] = p.batch
		}
		for i, result := range l.Commit(ctx, batches) {
			waiting[i].result <- result
		}
	}
}

// warmUp waits until another sidecar's look at the clock need not be awaited any more.
func (l *Ledger) warmUp(ctx context.Context) error {
	ticker := time.NewTicker(beatInterval / 10)
	defer ticker.Stop()
	for {
		l.turn.Lock()
		awaiting := l.known && l.seen.until > 0
		l.turn.Unlock()
		if !awaiting {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if l.Beat(ctx) != nil {
			return nil // Commit will say so to those who ask
		}
	}
}

// collect waits for a batch and takes all others that wait, but those that nobody awaits any
// more.
func (l *Ledger) collect(ctx context.Context) (waiting []*pending, err error) {
	weight, yields := 0, 0
	for len(waiting) < maxGroup && weight < maxWeight {
		var p *pending
		select {
		case p = <-l.queue:
		default:
			if len(waiting) > 0 && yields == maxYields {
				return waiting, nil
			}
			if len(waiting) > 0 {
				yields++ // those whom the last transaction answered may be about to ask again
				runtime.Gosched()
				continue
			}
			select {
			case p = <-l.queue:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if p.ctx.Err() != nil {
			continue
		}
		waiting = append(waiting, p)
		weight += p.batch.weight()
	}
	return waiting, nil
}

func (b *Batch) weight() int {
	n := len(b.Settlements) + len(b.Abandoned)
	for i := range b.Takes {
		n += len(b.Takes[i].Limits)
	}
	return n
}

// Take settles and grants what a batch asks for: one Grant for each of its takes, or an
// error; then nothing was granted, and nothing settled as far as the worker should know. It
// wraps ErrUnavailable, ErrInvalid, ErrClosed or the context's error. A take that finds no
// slot of a concurrency limit free waits up to 25 ms for one.
func (l *Ledger) Take(ctx context.Context, b Batch) ([]Grant, error) {
	r := l.submit(ctx, b)
	if r.Err != nil || r.freed == nil {
		return r.Grants, r.Err
	}
	l.await(ctx, r.freed)
	again := Batch{Worker: b.Worker}
	var which []int
	for i, x := range r.Grants {
		if x.Exhausted != nil && b.Takes[i].Limits[x.Exhausted.Limit].Kind == wire.KindConcurrency {
			again.Takes = append(again.Takes, b.Takes[i])
			which = append(which, i)
		}
	}
	second := l.submit(ctx, again)
	if second.Err != nil {
		return nil, second.Err // it may be on record all the same
	}
	l.leave(second.freed)
	for n, i := range which {
		r.Grants[i] = second.Grants[n]
	}
	return r.Grants, nil
}

// submit has a batch answered by Run.
func (l *Ledger) submit(ctx context.Context, b Batch) Result {
	p := &pending{ctx: ctx, batch: b, result: make(chan Result, 1)}
	select {
	case l.queue <- p:
	case <-ctx.Done():
		return Result{Err: fmt.Errorf("waiting for the ledger: %w", ctx.Err())}
	case <-l.done:
		return Result{Err: fmt.Errorf("taking: %w", ErrClosed)}
	}
	select {
	case r := <-p.result:
		return r
	case <-ctx.Done():
		return Result{Err: fmt.Errorf("waiting for the ledger: %w", ctx.Err())}
	case <-l.done:
	}
	select { // it may have been the last one
	case r := <-p.result:
		return r
	default:
		return Result{Err: fmt.Errorf("taking: %w", ErrClosed)}
	}
}
