package ledger

import (
	"github.com/tollgate/tollgate/internal/wire"
)

// settle takes all settlements and abandoned calls of the batches. Each changes a charge at
// most once: when it is open. What does not fit is let be: then the charge counts in full.
func (g *group) settle() {
	for i := range g.batches {
		b := &g.batches[i]
		for _, s := range b.Settlements {
			charges := g.charges[Call{b.Worker, s.Take}]
			for j := range charges {
				if charges[j].Counter == s.Counter && g.counters[s.Counter] != nil {
					g.settleOne(&charges[j], s)
				}
			}
		}
		for _, take := range b.Abandoned {
			charges := g.charges[Call{b.Worker, take}]
			for j := range charges {
				if g.counters[charges[j].Counter] != nil {
					g.close(&charges[j], 0, 0)
				}
			}
		}
	}
}

func (g *group) settleOne(c *Charge, s wire.Settlement) {
	slots := g.counters[c.Counter].Kind == wire.KindConcurrency
	switch {
	case slots && s.Extend:
		g.extend(c)
	case slots:
		g.close(c, 0, max(s.AgeMillis, 0))
	case s.Extend || s.Spent < 0 || s.AgeMillis < 0 || s.Spent > c.Units && !c.Overdraft:
	default:
		g.close(c, s.Spent, s.AgeMillis)
	}
}

// extend keeps an open charge of a concurrency limit for another life from now on.
func (g *group) extend(c *Charge) {
	if !c.Open {
		return
	}
	row := g.counters[c.Counter]
	c.Slot = g.now(row) + longestLife
	c.Until = until(row, c)
	g.changed(row)
	g.save(*c)
}

// close charges what was spent, age ms after the grant at the latest.
func (g *group) close(c *Charge, spent, age int64) {
	if !c.Open {
		return
	}
	row := g.counters[c.Counter]
	c.Open, c.Units, c.Slot = false, spent, min(c.Slot, used(c.Granted, age))
	switch row.Kind {
	case wire.KindQuota:
		row.Used, c.Units = add(row.Used, spent), 0
		g.dirty[row.ID] = struct{}{}
	case wire.KindConcurrency:
		g.freed = append(g.freed, row.ID)
	}
	c.Until = until(row, c)
	g.closed[row.ID] = struct{}{}
	g.save(*c)
}

// save has a charge written, once.
func (g *group) save(c Charge) {
	key := chargeKey{c.Call, c.Counter}
	if i, ok := g.saved[key]; ok {
		g.put[i] = c
		return
	}
	g.saved[key] = len(g.put)
	g.put = append(g.put, c)
}

type chargeKey struct {
	Call
	counter int64
}
