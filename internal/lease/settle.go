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
	return wire.Settlement{Take: lease.take, Counter: lease.id, Spent: max(0, lease.spent), AgeMillis: age(lease.last.Sub(lease.dispatched))}
}

// age is in milliseconds, rounded up.
func age(d time.Duration) int64 {
	return int64((max(0, d) + time.Millisecond - 1) / time.Millisecond)
}

// Message is what a worker has to say to the ledger, with the next message of any kind. Its
// ID is for Settled or Unsettled; 0: there is nothing.
type Message struct {
	ID          uint64
	Settlements []wire.Settlement
	Abandoned   []uint64
}

// Message takes what is to be said.
func (b *Book) Message(now time.Time) Message {
	if len(b.settlements) == 0 && len(b.abandoned) == 0 {
		return Message{}
	}
	b.lastBatch++
	sent := batch{at: now}
	sent.settlements, b.settlements = cut(b.settlements)
	sent.abandoned, b.abandoned = cut(b.abandoned)
	b.sent[b.lastBatch] = sent
	return Message{b.lastBatch, sent.settlements, sent.abandoned}
}

func cut[T any](list []T) (now, later []T) {
	n := min(len(list), batchMax)
	return slices.Clip(list[:n]), slices.Clone(list[n:])
}

// Urgent is what is to be said without waiting for an answer. It is said again.
func (b *Book) Urgent() Message {
	return Message{Settlements: slices.Clone(b.settlements[:min(len(b.settlements), batchMax)])}
}

// Settled notes that a message is on the ledger.
func (b *Book) Settled(id uint64) { delete(b.sent, id) }

// Unsettled has a message said again. That it was taken all the same does no harm.
func (b *Book) Unsettled(id uint64) {
	sent, ok := b.sent[id]
	if !ok {
		return
	}
	delete(b.sent, id)
	b.settlements = append(b.settlements, slices.DeleteFunc(sent.settlements, func(s wire.Settlement) bool { return s.Extend })...)
	b.abandoned = append(b.abandoned, sent.abandoned...)
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
		c.asked = now
		t := takes[c.ask]
		if t == nil {
			t = b.begin(now)
			takes[c.ask] = t
			ask := *c.ask
			ask.Take = t
			asks = append(asks, ask)
		}
		t.Wanted = append(t.Wanted, wire.Demand{Name: c.name.limit, Key: c.name.key, Units: c.ahead()})
	}
	b.drop(func(c *counter) bool {
		return len(c.leases) == 0 && !now.Before(c.denied.until) && now.Sub(c.used) > 2*takeTime
	})
	return asks
}

// overdue gives up on answers that do not come any more.
func (b *Book) overdue(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(b.takes)) {
		if now.Sub(b.takes[id]) > takeTime {
			b.Lost(id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.sent)) {
		if now.Sub(b.sent[id].at) > resendTime {
			b.Unsettled(id)
		}
	}
}

// retire closes leases that are over, or that nothing was spent from for a while.
func (c *counter) retire(b *Book, now time.Time) {
	for _, lease := range slices.Clone(c.leases) {
		if lease.open == 0 && (!lease.alive(now) || now.Sub(lease.last) > idleTime) {
			b.close(lease)
		} else if !lease.alive(now) {
			lease.closed = true
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

// dry says whether what is held will not last: too little of it, or not long enough.
func (c *counter) dry(now time.Time) bool {
	if c.ask == nil || c.rate == 0 || len(c.leases) == 0 || now.Before(c.denied.until) {
		return false
	}
	limit := &c.leases[len(c.leases)-1].limit
	soon := min(reserve, c.life/4)
	if permit(limit) || limit.ReportOnly || now.Sub(c.asked) < soon {
		return false
	}
	var lasting int64
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

// extend holds on to the slots of requests that are still in flight, several times in each
// life of a lease: a message may be lost.
func (c *counter) extend(b *Book, now time.Time) {
	for _, lease := range c.leases {
		if lease.limit.Kind == wire.KindConcurrency && lease.open > 0 && now.Sub(lease.extended) >= lease.life/6 {
			lease.extended = now
			b.settlements = append(b.settlements, wire.Settlement{Take: lease.take, Counter: lease.id, Extend: true})
		}
	}
}
