package ledger

import (
	"github.com/tollgate/tollgate/internal/wire"
)

// settle takes all settlements and abandoned calls of the batches. They change charges that
// are open, and each closes one at most once. What does not fit is let be: then the charge
// counts in full.
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
	case !c.Open:
	case slots && s.Extend:
		g.extend(c, longestLife)
	case slots:
		g.close(c, 0, max(s.AgeMillis, 0))
	case s.Extend && c.Overdraft:
		c.Units = min(c.Units, max(s.Spent, 0))
		g.extend(c, deferredLife)
	case s.Spent < 0 || s.Spent > c.Units && !c.Overdraft:
	case s.Extend:
		g.shrink(c, s.Spent)
	case s.AgeMillis < 0:
	default:
		g.close(c, s.Spent, s.AgeMillis)
	}
}

// shrink leaves an open charge as many units as were spent of it: no more will be. That of a
// quota goes on to wait for its settlement.
func (g *group) shrink(c *Charge, spent int64) {
	row := g.counters[c.Counter]
	waits := c.Until
	if now := g.now(row); row.Kind == wire.KindQuota && c.Until < now+keepOpen/2 {
		waits = now + keepOpen
	}
	if c.Units != spent || c.Until != waits {
		c.Units, c.Until = spent, waits
		g.save(*c)
	}
}

// extend keeps an open charge for another life from now on.
func (g *group) extend(c *Charge, life int64) {
	row := g.counters[c.Counter]
	c.Slot = max(c.Slot, g.now(row)+life)
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
	last := used(c.Granted, age)
	if c.Overdraft {
		// It was spent from until its last extension, whatever the clock did since the
		// grant, and may have been until now.
		last = max(last, c.Slot-deferredLife)
		if now := g.now(row); last > c.Slot && now > c.Slot {
			c.Slot = now
			g.changed(row)
		}
	}
	c.Open, c.Units, c.Slot = false, spent, min(c.Slot, last)
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
