package ledger

import (
	"context"
	"fmt"
	"math"
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
	// mergeAbove is from how many rows in its window on a counter's are merged, and
	// mergeParts into how many parts of the window.
	mergeAbove = 512
	mergeParts = 256
	// mergeAfter is how long after its end a charge may be merged, in ms. A message that is
	// doubled and comes later than that may be granted what nobody will spend.
	mergeAfter = 15_000
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
	for range cleanChunks {
		n, err := l.cleanCharges(ctx)
		if err != nil {
			return fmt.Errorf("cleaning: %w", err)
		}
		if n < cleanChunk {
			break
		}
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
	if own := l.o.Monotonic(); l.swept == 0 || own-l.swept >= sweepInterval {
		if err := l.cleanCounters(ctx); err != nil {
			return fmt.Errorf("cleaning: %w", err)
		}
		l.swept = own
	}
	return nil
}

// cleanCharges deletes charges that are overdue. Those of a quota that are still open count
// as spent from then on.
func (l *Ledger) cleanCharges(ctx context.Context) (n int, err error) {
	err = l.storage.Transact(ctx, func(rows Rows) error {
		c, t, err := l.look(rows)
		if err != nil {
			return err
		}
		before := t - c.stretch(t, longestWindow)
		charges, err := rows.Overdue(before, cleanChunk)
		if n = len(charges); n == 0 || err != nil {
			return err
		}
		if err := fold(rows, charges); err != nil {
			return err
		}
		return rows.DropCharges(charges, before)
	})
	return n, err
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

// merge makes one row of the closed charges in each part of a rate's window, with the latest
// slot of that part. Only parts that are over are merged.
func (l *Ledger) merge(ctx context.Context, id int64) error {
	return l.storage.Transact(ctx, func(rows Rows) error {
		locked, err := rows.Lock([]int64{id})
		if err != nil || len(locked) == 0 || locked[0].Kind != wire.KindRate {
			return err
		}
		row := &locked[0]
		_, t, err := l.look(rows)
		if err != nil {
			return err
		}
		part := max(row.WindowMillis/mergeParts, 1)
		charges, err := rows.Oldest(id, math.MinInt64, 4*mergeAbove)
		if err != nil {
			return err
		}
		var from, into []Charge
		for _, c := range charges {
			end := (floorDiv(c.Slot-1, part) + 1) * part
			if c.Open || end > t-mergeAfter {
				continue
			}
			if n := len(into); n > 0 && into[n-1].Slot == end {
				into[n-1].Units = add(into[n-1].Units, c.Units)
			} else {
				// No worker is called "", so the name is free.
				m := Charge{Call: Call{Take: uint64(end)}, Counter: id, Slot: end, Units: c.Units, Granted: c.Granted}
				m.Until = until(row, &m)
				into = append(into, m)
			}
			from = append(from, c)
		}
		if len(from) <= len(into) {
			return nil
		}
		if err := rows.DropCharges(from, Forever); err != nil {
			return err
		}
		return rows.PutCharges(into)
	})
}

// cleanCounters deletes counters, tombstones, records and steps of the clock.
func (l *Ledger) cleanCounters(ctx context.Context) error {
	var gone []int64
	err := l.storage.Transact(ctx, func(rows Rows) error {
		c, t, err := l.look(rows)
		if err != nil {
			return err
		}
		past := c.over(t)
		if len(past) > 0 {
			if err := rows.DropSteps(past); err != nil {
				return err
			}
		}
		before := t - c.stretch(t, longestWindow)
		gone, err = rows.DropIdle(Sweep{Tombs: t - keepTombs, Before: before - keepCounter, Records: t - keepRecords, Max: cleanChunk})
		return err
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	for name, id := range l.ids {
		if slices.Contains(gone, id) {
			delete(l.ids, name)
		}
	}
	return nil
}

// utc is a ledger time for people.
func utc(t int64) time.Time { return time.UnixMilli(t).UTC() }
