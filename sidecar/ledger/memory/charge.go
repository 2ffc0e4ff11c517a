package memory

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// Find implements ledger.Charges.
func (r rows) Find(wanted []ledger.Row) ([]int64, error) {
	ids := make([]int64, len(wanted))
	for i, row := range wanted {
		id, ok := r.names[row.Name]
		if !ok {
			id = r.id()
			row.ID = id
			put(r.Storage, r.names, row.Name, id)
			put(r.Storage, r.counters, id, &counter{row: row})
		}
		ids[i] = id
	}
	return ids, nil
}

// Lock implements ledger.Charges. A transaction is alone anyway.
func (r rows) Lock(ids []int64) (found []ledger.Row, err error) {
	for _, id := range ids {
		if c := r.counters[id]; c != nil {
			found = append(found, c.row)
		}
	}
	return found, nil
}

// PutCounters implements ledger.Charges.
func (r rows) PutCounters(list []ledger.Row) error {
	for _, row := range list {
		if c := r.counters[row.ID]; c != nil {
			before(r.Storage, &c.row)
			row.Name = c.row.Name
			c.row = row
		}
	}
	return nil
}

// Of implements ledger.Charges.
func (r rows) Of(calls []ledger.Call) (found []ledger.Charge, err error) {
	for _, call := range calls {
		for _, c := range r.calls[call] {
			found = append(found, *c)
		}
	}
	return found, nil
}

// PutCharges implements ledger.Charges.
func (r rows) PutCharges(charges []ledger.Charge) error {
	for _, c := range charges {
		if old := r.charge(c.Call, c.Counter); old != nil {
			before(r.Storage, old)
			*old = c
			continue
		}
		p := &c
		put(r.Storage, r.calls, c.Call, append(slices.Clip(r.calls[c.Call]), p))
		if of := r.counters[c.Counter]; of != nil {
			before(r.Storage, &of.charges)
			of.charges = append(of.charges, p)
		}
	}
	return nil
}

func (r rows) charge(call ledger.Call, counter int64) *ledger.Charge {
	for _, c := range r.calls[call] {
		if c.Counter == counter {
			return c
		}
	}
	return nil
}

// counted is the charges of a counter that have units and a slot after the one given.
func (r rows) counted(id, after int64) func(func(*ledger.Charge) bool) {
	return func(yield func(*ledger.Charge) bool) {
		of := r.counters[id]
		if of == nil {
			return
		}
		for _, c := range of.charges {
			if c.Units > 0 && c.Slot > after && !yield(c) {
				return
			}
		}
	}
}

// Usage implements ledger.Charges.
func (r rows) Usage(windows []ledger.Window) ([]ledger.Usage, error) {
	usage := make([]ledger.Usage, len(windows))
	for i, w := range windows {
		u := &usage[i]
		for c := range r.counted(w.Counter, w.After) {
			u.Units += c.Units
			if c.Open {
				u.OpenUnits += c.Units
			}
			if c.Open && c.Slot > w.Live {
				u.Live++
				u.LiveUnits += c.Units
			}
			if u.Rows == 0 || c.Slot < u.Oldest {
				u.Oldest = c.Slot
			}
			u.Rows++
		}
	}
	return usage, nil
}

// Oldest implements ledger.Charges.
func (r rows) Oldest(id, after int64, most int) (found []ledger.Charge, err error) {
	for c := range r.counted(id, after) {
		found = append(found, *c)
	}
	slices.SortFunc(found, func(a, b ledger.Charge) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Take, b.Take))
	})
	return found[:min(len(found), most)], nil
}

// Forget implements ledger.Charges.
func (r rows) Forget(id int64) error {
	if of := r.counters[id]; of != nil {
		for _, c := range of.charges {
			if !c.Open {
				before(r.Storage, c)
				c.Units = 0
			}
		}
	}
	return nil
}

// Bury implements ledger.Charges.
func (r rows) Bury(calls []ledger.Call, now int64) error {
	for _, c := range calls {
		if _, ok := r.tombs[c]; !ok {
			put(r.Storage, r.tombs, c, now)
		}
	}
	return nil
}

// Buried implements ledger.Charges.
func (r rows) Buried(calls []ledger.Call) (found []ledger.Call, err error) {
	for _, c := range calls {
		if _, ok := r.tombs[c]; ok {
			found = append(found, c)
		}
	}
	return found, nil
}

// Overdue implements ledger.Charges.
func (r rows) Overdue(until int64, most int) (found []ledger.Charge, err error) {
	for _, of := range r.counters {
		for _, c := range of.charges {
			if c.Until <= until {
				found = append(found, *c)
			}
		}
	}
	slices.SortFunc(found, func(a, b ledger.Charge) int {
		return cmp.Or(cmp.Compare(a.Until, b.Until), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Take, b.Take), cmp.Compare(a.Counter, b.Counter))
	})
	return found[:min(len(found), most)], nil
}

// DropCharges implements ledger.Charges.
func (r rows) DropCharges(charges []ledger.Charge, until int64) error {
	for _, gone := range charges {
		c := r.charge(gone.Call, gone.Counter)
		if c == nil || c.Until > until {
			continue
		}
		is := func(o *ledger.Charge) bool { return o == c }
		if left := slices.DeleteFunc(slices.Clone(r.calls[c.Call]), is); len(left) > 0 {
			put(r.Storage, r.calls, c.Call, left)
		} else {
			drop(r.Storage, r.calls, c.Call)
		}
		if of := r.counters[c.Counter]; of != nil {
			before(r.Storage, &of.charges)
			of.charges = slices.DeleteFunc(slices.Clone(of.charges), is)
		}
	}
	return nil
}

// DropIdle implements ledger.Charges.
func (r rows) DropIdle(s ledger.Sweep) (done ledger.Swept, err error) {
	r.dropTombs(s, &done)
	old := 0 // events; they are in the order of their times, but after a step of the clock
	before(r.Storage, &r.events)
	r.events = slices.DeleteFunc(slices.Clone(r.events), func(e ledger.Event) bool {
		gone := e.Time.UnixMilli() <= s.Records && old < s.Max
		if gone {
			old++
		}
		return gone
	})
	done.More = done.More || old == s.Max || len(r.events) > ledger.MaxRecords+s.Max || len(r.adjustments) > ledger.MaxRecords+s.Max
	r.events = r.events[max(0, min(s.Max, len(r.events)-ledger.MaxRecords)):]
	before(r.Storage, &r.adjustments)
	r.adjustments = r.adjustments[max(0, min(s.Max, len(r.adjustments)-ledger.MaxRecords)):]
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(r.counters)), func(id int64) bool { return id <= s.After })
	done.Last = s.After
	for _, id := range ids[:min(len(ids), s.Max)] {
		row := &r.counters[id].row
		over := row.T + row.WindowMillis
		if row.Kind == wire.KindQuota {
			over = row.Ends
		}
		if done.Last = id; over <= s.Before && row.T <= s.Before {
			done.Counters = append(done.Counters, id)
		}
	}
	for _, id := range done.Counters {
		drop(r.Storage, r.names, r.counters[id].row.Name)
		drop(r.Storage, r.counters, id)
	}
	return done, nil
}

// dropTombs deletes the oldest tombstones.
func (r rows) dropTombs(s ledger.Sweep, done *ledger.Swept) {
	var calls []ledger.Call
	for call, t := range r.tombs {
		if t <= s.Tombs {
			calls = append(calls, call)
		}
	}
	slices.SortFunc(calls, func(a, b ledger.Call) int {
		return cmp.Or(cmp.Compare(r.tombs[a], r.tombs[b]), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Take, b.Take))
	})
	done.More = len(calls) >= s.Max
	for _, call := range calls[:min(len(calls), s.Max)] {
		drop(r.Storage, r.tombs, call)
	}
}
