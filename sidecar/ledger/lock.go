package ledger

import (
	"math"
	"slices"

	"github.com/tollgate/tollgate/internal/wire"
)

// lock finds and locks every counter of the batches, in the order of their ids, and then
// reads the clock.
func (g *group) lock() error {
	ids, err := g.find()
	if err != nil {
		return err
	}
	var abandoned []Call
	for i := range g.batches {
		b := &g.batches[i]
		for _, s := range b.Settlements {
			ids = append(ids, s.Counter)
		}
		for _, take := range b.Abandoned {
			abandoned = append(abandoned, Call{b.Worker, take})
		}
	}
	if abandoned = unique(abandoned); len(abandoned) > 0 {
		if err := g.rows.Bury(abandoned, g.estimate(g.l.o.Monotonic().Milliseconds())); err != nil {
			return err
		}
		charges, err := g.rows.Of(abandoned)
		if err != nil {
			return err
		}
		for _, c := range charges {
			ids = append(ids, c.Counter)
		}
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 0 {
		rows, err := g.rows.Lock(ids)
		if err != nil {
			return err
		}
		for i := range rows {
			g.counters[rows[i].ID] = &rows[i]
		}
	}
	r, err := read(g.rows, g.l.o.Monotonic)
	if err != nil {
		return err
	}
	if g.stepped(r) || g.fell(r) {
		return errStepped
	}
	g.t, g.read = g.accept(r), true
	return g.confirm()
}

// find is the ids of all counters that the takes need, making those that are missing.
func (g *group) find() (ids []int64, err error) {
	t := g.estimate(g.l.o.Monotonic().Milliseconds())
	var missing []Row
	for i := range g.batches {
		for j := range g.batches[i].Takes {
			take := &g.batches[i].Takes[j]
			for k := range take.Limits {
				limit := &take.Limits[k]
				if limit.Held {
					continue
				}
				name, left := g.name(&limit.Limit, t)
				if _, ok := g.names[name]; ok {
					continue
				}
				id, ok := g.l.ids[name]
				if g.names[name] = id; ok {
					ids = append(ids, id)
					continue
				}
				row := Row{Name: name, T: t, Ends: ends(t, left), Subscription: take.Subscription}
				row.asked(&limit.Limit)
				missing = append(missing, row)
			}
		}
	}
	if len(missing) == 0 {
		return ids, nil
	}
	slices.SortFunc(missing, func(a, b Row) int { return a.compare(b.Name) })
	found, err := g.rows.Find(missing)
	if err != nil {
		return nil, err
	}
	for i, id := range found {
		g.names[missing[i].Name], g.found[missing[i].Name] = id, id
	}
	return append(ids, found...), nil
}

// confirm sees whether the counters that were locked are the right ones at this time.
func (g *group) confirm() error {
	for _, id := range g.names {
		if g.counters[id] == nil {
			return errStale
		}
	}
	for i := range g.batches {
		for j := range g.batches[i].Takes {
			for k := range g.batches[i].Takes[j].Limits {
				limit := &g.batches[i].Takes[j].Limits[k]
				if limit.Held || limit.Kind != wire.KindQuota {
					continue
				}
				name, _ := g.name(&limit.Limit, g.high)
				if _, ok := g.names[name]; !ok {
					return errPeriod
				}
			}
		}
	}
	return nil
}

// name is the counter of a limit at time t, and how long it is this one.
func (g *group) name(l *wire.Limit, t int64) (n Name, left int64) {
	n = Name{Name: l.Name, Key: l.Key, Kind: l.Kind, Unit: l.Unit}
	left = Forever
	switch l.Kind {
	case wire.KindQuota:
		n.WindowMillis, n.StartMillis = l.WindowMillis, l.StartMillis
		n.Period, left = g.period(l, t)
	case wire.KindRate:
		n.WindowMillis = l.WindowMillis
	}
	return n, left
}

// ends is t + left.
func ends(t, left int64) int64 {
	if left > math.MaxInt64-t {
		return Forever
	}
	return t + left
}
