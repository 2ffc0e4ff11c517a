package lease

import (
	"maps"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// batch is what one message has settled.
type batch struct {
	settlements []wire.Settlement
	abandoned   []uint64
	at          time.Time
}

// close ends spending from a lease, and settles it as soon as all that was spent from it is
// known.
func (b *Book) close(lease *lease) {
	lease.closed = true
	if lease.open > 0 {
		return
	}
	c := lease.counter
	i := slices.Index(c.leases, lease)
	if i < 0 {
		return // settled before
	}
	c.leases = slices.Delete(c.leases, i, i+1)
	b.settlements = append(b.settlements, lease.settlement())
}

func (lease *lease) settlement() wire.Settlement {
	return wire.Settlement{Take: lease.take, Counter: lease.id, Spent: max(0, lease.spent), AgeMillis: millis(lease.last.Sub(lease.dispatched))}
}

// millis is rounded up; at least 0.
func millis(d time.Duration) int64 {
	return int64((max(0, d) + time.Millisecond - 1) / time.Millisecond)
}

// Message is what a worker has to say to the ledger, with the next message of any kind. Its
// ID is for Settled or Unsettled; 0: there is nothing.
type Message struct {
	ID          uint64
	Settlements []wire.Settlement
	Abandoned   []uint64
}

// Message takes all that is to be said.
func (b *Book) Message(now time.Time) Message {
	return b.message(append(b.again, b.settlements...), batchMax, now)
}

// Fresh takes what was not said before, for the ask of a request: what a worker has to
// repeat, and what it abandons, it says with its ticks.
func (b *Book) Fresh(now time.Time) Message {
	again, abandoned := b.again, b.abandoned
	b.again, b.abandoned = nil, nil
	m := b.message(b.settlements, freshMax, now)
	b.again, b.abandoned = append(again, b.again...), abandoned
	return m
}

// message says the first of the settlements; the others are left to be said again.
func (b *Book) message(settlements []wire.Settlement, most int, now time.Time) Message {
	if len(settlements) == 0 && len(b.abandoned) == 0 {
		return Message{}
	}
	b.lastBatch++
	sent := batch{at: now}
	sent.settlements, b.again = cut(settlements, most)
	sent.abandoned, b.abandoned = cut(b.abandoned, most)
	b.settlements = nil
	b.sent[b.lastBatch] = sent
	return Message{b.lastBatch, sent.settlements, sent.abandoned}
}

func cut[T any](list []T, most int) (now, later []T) {
	n := min(len(list), most)
	return slices.Clip(list[:n]), slices.Clone(list[n:])
}

// Urgent is what is to be said without waiting for an answer. It is said again.
func (b *Book) Urgent() Message {
	return Message{Settlements: slices.Clone(b.settlements[:min(len(b.settlements), freshMax)])}
}

// Settled notes that a message is on the ledger.
func (b *Book) Settled(id uint64) { delete(b.sent, id) }

// Unsettled has a message said again, with the next tick. That it was taken all the same
// does no harm.
func (b *Book) Unsettled(id uint64) {
	sent, ok := b.sent[id]
	if !ok {
		return
	}
	delete(b.sent, id)
	b.abandoned = append(b.abandoned, sent.abandoned...)
	for _, s := range sent.settlements {
		if s.Extend {
			b.overdueExtensions()
		} else {
			b.again = append(b.again, s)
		}
	}
}

// overdueExtensions has the next tick hold on to everything: one that was lost is not
// repeated as it was, for the request may be over.
func (b *Book) overdueExtensions() {
	for _, c := range b.list {
		for _, lease := range c.leases {
			lease.extended = time.Time{}
		}
	}
}

// Tick does what time brings: leases that are over or unused go back, slots that are in use
// are held on to, and what is about to run dry is asked for. elapsed is the time since the
// last tick. The asks, for the next message, each carry a Take.
func (b *Book) Tick(now time.Time, elapsed time.Duration) []wire.Ask {
	b.overdue(now)
	var asks []wire.Ask
	takes := make(map[*wire.Ask]*wire.Take)
	for _, c := range b.list {
		c.retire(b, now)
		c.extend(b, now)
		c.smooth(elapsed)
		if !c.dry(now) {
			continue
		}
		t := takes[c.ask]
		if t == nil && len(asks) == asksMax {
			continue
		}
		c.asked = now
		if t == nil {
			t = b.begin(now)
			takes[c.ask] = t
			ask := *c.ask
			ask.Take = t
			asks = append(asks, ask)
		}
		b.want(t, c, c.ahead())
	}
	b.drop(func(c *counter) bool {
		return c.idle() && !now.Before(c.denied.until) && now.Sub(c.used) > 2*takeTime
	})
	return asks
}

// overdue gives up on answers that do not come any more.
func (b *Book) overdue(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(b.takes)) {
		if now.Sub(b.takes[id].dispatched) > takeTime {
			b.Lost(id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.sent)) {
		if now.Sub(b.sent[id].at) > resendTime {
			b.Unsettled(id)
		}
	}
}

// retire closes leases that are over, or that nothing was spent from for a while. Where an
// outcome is awaited, what was not spent goes back before it is known.
func (c *counter) retire(b *Book, now time.Time) {
	for _, lease := range slices.Clone(c.leases) {
		if lease.alive(now) && (now.Sub(lease.last) <= idleTime || lease.limit.Kind == wire.KindConcurrency && lease.open > 0) {
			continue
		}
		if lease.open == 0 {
			b.close(lease)
		} else if !lease.closed {
			lease.closed, lease.extended = true, time.Time{}
		}
	}
}

// smooth moves the rate towards what was seen since the last tick: half way up, but only an
// eighth of the way down, so that who comes in bursts is not a stranger at the next one.
func (c *counter) smooth(elapsed time.Duration) {
	if elapsed > 0 {
		seen := float64(c.spent) / elapsed.Seconds()
		if seen > c.rate {
			c.rate = (c.rate + seen) / 2
		} else {
			c.rate += (seen - c.rate) / 8
		}
	}
	if c.rate < 0.01 {
		c.rate = 0
	}
	c.spent = 0
}

// dry says whether what is held will not last: too little of it, or not long enough; or
// whether something is to be charged for which there was no lease.
func (c *counter) dry(now time.Time) bool {
	soon := min(reserve, c.life/4)
	switch {
	case c.ask == nil || now.Before(c.denied.until) || now.Sub(c.asked) < soon:
		return false
	case c.owed > 0:
		return now.Sub(c.asked) >= reserve
	case c.rate == 0 || len(c.leases) == 0:
		return false
	}
	if limit := &c.leases[len(c.leases)-1].limit; limit.Permit() || limit.ReportOnly {
		return false
	}
	lasting := c.asking
	for _, lease := range c.leases {
		if !lease.closed && lease.alive(now.Add(soon)) {
			lasting += max(0, lease.units-lease.spent)
		}
	}
	return float64(lasting) < c.rate*soon.Seconds()
}

// ahead is how many units a renewal asks for.
func (c *counter) ahead() int64 {
	return max(1, int64(c.rate*min(horizon, c.life).Seconds()))
}

// extend holds on to what requests that are still in flight have of a lease: a slot, or what
// they may yet be charged with once nothing more is spent from it. It does so several times
// in each life of a lease: a message may be lost.
func (c *counter) extend(b *Book, now time.Time) {
	for _, lease := range c.leases {
		if lease.open == 0 || !lease.closed && lease.limit.Kind != wire.KindConcurrency || now.Sub(lease.extended) < lease.life/6 {
			continue
		}
		lease.extended = now
		s := wire.Settlement{Take: lease.take, Counter: lease.id, Extend: true}
		if lease.limit.Kind != wire.KindConcurrency {
			s.Spent = max(0, lease.spent)
		}
		b.settlements = append(b.settlements, s)
	}
}
