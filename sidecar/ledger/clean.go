package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// cleanChunk is how many rows of a kind one transaction deletes, cleanChunks how many
	// such transactions follow each other: others get their turn between them.
	cleanChunk  = 1000
	cleanChunks = 32
	// sweepInterval is how often counters, tombstones and records are looked through.
	sweepInterval = time.Minute
	// keepCounter is how long an idle counter stays, keepTombs a tombstone and keepRecords
	// an event, in ms.
	keepCounter = 24 * 3_600_000
	keepTombs   = 600_000
	keepRecords = 30 * 24 * 3_600_000
)

// Clean deletes what nobody needs any more, a bounded number of rows, and merges what busy
// counters have. It changes no answer of Commit, but that a merged charge counts up to a
// 256th of its window longer.
func (l *Ledger) Clean(ctx context.Context) error {
	before, all, err := l.cleanCharges(ctx)
	if err != nil {
		return fmt.Errorf("cleaning: %w", err)
	}
	l.turn.Lock()
	busy := l.busy
	l.busy = map[int64]struct{}{}
	l.turn.Unlock()
	for id := range busy {
		if err := l.merge(ctx, id); err != nil {
			return fmt.Errorf("merging charges: %w", err)
		}
	}
	own := l.o.Monotonic()
	// A counter is deleted after its charges: not while some of those that are overdue stay.
	if !all || l.swept != 0 && own-l.swept < sweepInterval {
		return nil
	}
	done, err := l.cleanCounters(ctx, before)
	if err != nil {
		return fmt.Errorf("cleaning: %w", err)
	}
	if l.swept = own; !done {
		l.swept = 0 // it goes on the next time
	}
	return nil
}

// cleanCharges deletes charges that are overdue, and says whether all are deleted whose Until
// is at most before.
func (l *Ledger) cleanCharges(ctx context.Context) (before int64, all bool, err error) {
	for range cleanChunks {
		var n int
		if n, before, err = l.cleanSome(ctx); err != nil || n < cleanChunk {
			return before, err == nil, err
		}
	}
	return before, false, nil
}

// cleanSome deletes some charges that are overdue. Those of a quota that are still open count
// as spent from then on.
func (l *Ledger) cleanSome(ctx context.Context) (n int, before int64, err error) {
	err = l.storage.Transact(ctx, func(rows Rows) error {
		c, t, err := l.look(rows)
		if err != nil {
			return err
		}
		before = t - c.stretch(t, longestWindow)
		charges, err := rows.Overdue(before, cleanChunk)
		if n = len(charges); n == 0 || err != nil {
			return err
		}
		if err := fold(rows, charges); err != nil {
			return err
		}
		return rows.DropCharges(charges, before)
	})
	return n, before, err
}

// look reads the clock and the steps on record, for what decides on no grant. The turn is
// not needed: a transaction must not wait for it.
func (l *Ledger) look(rows Rows) (c clock, t int64, err error) {
	if published := l.published.Load(); published != nil {
		c = *published
	}
	if c.steps, err = rows.Steps(); err != nil {
		return c, 0, err
	}
	r, err := read(rows, l.o.Monotonic)
	if err != nil {
		return c, 0, err
	}
	if c.stepped(r) {
		return c, 0, fmt.Errorf("%w: %w", ErrUnavailable, errStepped)
	}
	return c, c.accept(r), nil
}

// fold moves the units of open charges of quotas into their counters. A charge that is
// settled by another transaction meanwhile is closed once, here or there: the counter is
// locked first, and then the charge is read again.
func fold(rows Rows, charges []Charge) error {
	var ids []int64
	var calls []Call
	for _, c := range charges {
		if c.Open {
			ids, calls = append(ids, c.Counter), append(calls, c.Call)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	locked, err := rows.Lock(slices.Compact(ids))
	if err != nil {
		return err
	}
	quotas := map[int64]*Row{}
	for i := range locked {
		if locked[i].Kind == wire.KindQuota {
			quotas[locked[i].ID] = &locked[i]
		}
	}
	overdue := map[chargeKey]bool{}
	for _, c := range charges {
		overdue[chargeKey{c.Call, c.Counter}] = true
	}
	now, err := rows.Of(unique(calls))
	if err != nil {
		return err
	}
	var closed []Charge
	for _, c := range now {
		if row := quotas[c.Counter]; row != nil && c.Open && overdue[chargeKey{c.Call, c.Counter}] {
			row.Used = add(row.Used, c.Units)
			c.Open, c.Units = false, 0
			closed = append(closed, c)
		}
	}
	if len(closed) == 0 {
		return nil
	}
	if err := rows.PutCharges(closed); err != nil {
		return err
	}
	changed := make([]Row, 0, len(quotas))
	for i := range locked {
		if quotas[locked[i].ID] != nil {
			changed = append(changed, locked[i])
		}
	}
	return rows.PutCounters(changed)
}

// cleanCounters deletes counters, tombstones, records and steps of the clock. No charge is
// left whose Until is at most before. It says whether that was all.
func (l *Ledger) cleanCounters(ctx context.Context, before int64) (done bool, err error) {
	gone := map[int64]struct{}{}
	for range cleanChunks {
		var s Swept
		if s, err = l.cleanIdle(ctx, before); err != nil {
			break
		}
		for _, id := range s.Counters {
			gone[id] = struct{}{}
		}
		if done = s.Last == l.sweep && !s.More; done {
			l.sweep = 0
			break
		}
		l.sweep = s.Last
	}
	if len(gone) == 0 {
		return done, err
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	for name, id := range l.ids {
		if _, ok := gone[id]; ok {
			delete(l.ids, name)
		}
	}
	return done, err
}

// cleanIdle is one transaction of cleanCounters.
func (l *Ledger) cleanIdle(ctx context.Context, before int64) (s Swept, err error) {
	err = l.storage.Transact(ctx, func(rows Rows) error {
		c, t, err := l.look(rows)
		if err != nil {
			return err
		}
		if past := c.over(t); len(past) > 0 {
			if err := rows.DropSteps(past); err != nil {
				return err
			}
		}
		// The last charge of a counter is overdue within a day of what Sweep says of it:
		// an open one of a quota is kept an hour, a merged one a 256th of the window.
		before := min(before, t-c.stretch(t, longestWindow))
		s, err = rows.DropIdle(Sweep{Tombs: t - keepTombs, Before: before - keepCounter, Records: t - keepRecords, After: l.sweep, Max: cleanChunk})
		return err
	})
	return s, err
}

// utc is a ledger time for people.
func utc(t int64) time.Time { return time.UnixMilli(t).UTC() }
