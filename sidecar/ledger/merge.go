package ledger

import (
	"context"
	"math"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// mergeAbove is from how many rows in its window on a counter's are merged, and
	// mergeParts into how many parts of the window.
	mergeAbove = 512
	mergeParts = 256
	// mergeList is how many rows one transaction reads.
	mergeList = 4 * mergeAbove
	// mergeAfter is how long after its end a charge may be merged, in ms. A message that is
	// doubled and comes later than that may be granted what nobody will spend.
	mergeAfter = 15_000
)

// merge makes one row of the closed charges in each part of a rate's window, with the latest
// slot of that part. Only parts that are over are merged.
func (l *Ledger) merge(ctx context.Context, id int64) error {
	after := int64(math.MinInt64)
	for range cleanChunks {
		next := after
		err := l.storage.Transact(ctx, func(rows Rows) (err error) {
			next, err = l.mergeSome(rows, id, after)
			return err
		})
		if err != nil || next == after {
			return err
		}
		after = next
	}
	return nil
}

// mergeSome merges some charges of a counter with a slot after the one given. It returns after
// which slot to go on; the same: there are no more.
func (l *Ledger) mergeSome(rows Rows, id, after int64) (next int64, err error) {
	locked, err := rows.Lock([]int64{id})
	if err != nil || len(locked) == 0 || locked[0].Kind != wire.KindRate {
		return after, err
	}
	_, t, err := l.look(rows)
	if err != nil {
		return after, err
	}
	charges, err := rows.Oldest(id, after, mergeList)
	if err != nil {
		return after, err
	}
	next = after
	if last := len(charges) - 1; last == mergeList-1 && charges[last].Slot <= t-mergeAfter {
		// More may have that slot: it comes again.
		next = max(after, charges[last].Slot-1)
	}
	from, into := merged(&locked[0], charges, t)
	if len(from) <= len(into) {
		return next, nil
	}
	if err := rows.DropCharges(from, Forever); err != nil {
		return after, err
	}
	return next, addCharges(rows, into)
}

// merged is which charges are to be merged, and into which.
func merged(row *Row, charges []Charge, t int64) (from, into []Charge) {
	part := max(row.WindowMillis/mergeParts, 1)
	for _, c := range charges {
		end := (floorDiv(c.Slot-1, part) + 1) * part
		if c.Open || end > t-mergeAfter {
			continue
		}
		if n := len(into); n > 0 && into[n-1].Slot == end {
			into[n-1].Units = add(into[n-1].Units, c.Units)
		} else {
			// No worker is called "", so the name is free.
			m := Charge{Call: Call{Take: uint64(end)}, Counter: row.ID, Slot: end, Units: c.Units, Granted: c.Granted}
			m.Until = until(row, &m)
			into = append(into, m)
		}
		from = append(from, c)
	}
	return from, into
}

// addCharges writes merged charges, and adds to those that are there: a part may be merged
// in several goes.
func addCharges(rows Rows, into []Charge) error {
	calls := make([]Call, len(into))
	for i := range into {
		calls[i] = into[i].Call
	}
	there, err := rows.Of(unique(calls))
	if err != nil {
		return err
	}
	units := map[chargeKey]int64{}
	for _, c := range there {
		units[chargeKey{c.Call, c.Counter}] = c.Units
	}
	for i := range into {
		c := &into[i]
		c.Units = add(c.Units, units[chargeKey{c.Call, c.Counter}])
	}
	return rows.PutCharges(into)
}
