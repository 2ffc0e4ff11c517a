package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// What asks the ledger for grants: takers, each with one take under way, over counters that
// they share.
const (
	takers   = 64
	counters = 1024
	wanted   = 64 // units of a lease
)

// timeGrants is how many leases a ledger on SQLite grants per second, in a folder that it
// makes. A grant counts when it was answered, so when it is on the disk. Each message
// settles the lease before, as a worker's does.
func timeGrants(ctx context.Context, dir string, during time.Duration) (perSecond float64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	db, err := database.Open(ctx, database.Config{Source: filepath.Join(dir, "ledger.db"), Busy: 5 * time.Second})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	book, err := ledger.Open(ctx, db, ledger.Options{})
	if err != nil {
		return 0, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- book.Run(running) }()
	defer func() {
		stop()
		if runErr := <-ended; !errors.Is(runErr, context.Canceled) {
			err = errors.Join(err, runErr)
		}
	}()
	if _, _, err := takeFor(ctx, book, 0); err != nil { // one grant for each taker: it runs
		return 0, err
	}
	granted, elapsed, err := takeFor(ctx, book, during)
	if err != nil {
		return 0, err
	}
	return float64(granted) / elapsed.Seconds(), nil
}

// nextTake numbers takes and picks their counters, so that takers meet on none at once.
var nextTake atomic.Uint64

// takeFor keeps all takers busy. Each makes at least one take.
func takeFor(ctx context.Context, book *ledger.Ledger, during time.Duration) (granted int, elapsed time.Duration, err error) {
	began := time.Now()
	counts := make([]int, takers)
	errs := make([]error, takers)
	var running sync.WaitGroup
	for i := range takers {
		running.Go(func() {
			worker := fmt.Sprintf("worker%d", i)
			var last []wire.Settlement
			for {
				if last, errs[i] = take(ctx, book, worker, last); errs[i] != nil {
					return
				}
				counts[i]++
				if time.Since(began) >= during {
					return
				}
			}
		})
	}
	running.Wait()
	elapsed = time.Since(began)
	for _, n := range counts {
		granted += n
	}
	return granted, elapsed, errors.Join(errs...)
}

// take is one message: it settles what the one before was granted, and takes a lease.
func take(ctx context.Context, book *ledger.Ledger, worker string, last []wire.Settlement) ([]wire.Settlement, error) {
	id := nextTake.Add(1)
	grants, err := book.Take(ctx, ledger.Batch{Worker: worker, Settlements: last, Takes: []ledger.Take{{
		ID: id, Waiting: true, Subscription: 1,
		Limits: []ledger.Limit{{Wanted: wanted, Limit: wire.Limit{
			Name: minuteLimit, Key: fmt.Sprintf("bench:%d", id%counters), Kind: wire.KindRate, Unit: wire.UnitCalls,
			Amount: 1_000_000_000, WindowMillis: time.Minute.Milliseconds(),
		}}},
	}}})
	if err != nil {
		return nil, err
	}
	if len(grants) != 1 || len(grants[0].Leases) != 1 {
		return nil, fmt.Errorf("a take of one lease was answered with %+v", grants)
	}
	lease := grants[0].Leases[0]
	return []wire.Settlement{{Take: id, Counter: lease.Counter, Spent: lease.Units, AgeMillis: 1}}, nil
}
