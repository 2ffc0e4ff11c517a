package lease

import (
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// Ask begins a take for a request that waits, and that knows its limits if the decision
// was cached. fresh: leases that are held are not counted on, since that did not work out.
func (b *Book) Ask(limits []wire.Limit, fresh bool, now time.Time) *wire.Take {
	t := b.begin(now)
	t.Waiting = true
	for i := range limits {
		c := b.counterOf(&limits[i])
		if !fresh && c.usable(&limits[i], now) != nil {
			t.Held = append(t.Held, wire.Demand{Name: limits[i].Name, Key: limits[i].Key})
			continue
		}
		if units := c.wanted(&limits[i]); units > 0 {
			b.want(t, c, units)
		}
	}
	return t
}

func (b *Book) begin(now time.Time) *wire.Take {
	b.lastTake++
	b.takes[b.lastTake] = take{dispatched: now}
	return &wire.Take{ID: b.lastTake}
}

func (b *Book) want(t *wire.Take, c *counter, units int64) {
	t.Wanted = append(t.Wanted, wire.Demand{Name: c.name.limit, Key: c.name.key, Units: units})
	begun := b.takes[t.ID]
	begun.wanted = append(begun.wanted, wanted{c, units})
	b.takes[t.ID] = begun
	c.asking += units
}

// end takes a take off those that are awaited; false when it is none of them.
func (b *Book) end(id uint64) (take, bool) {
	t, ok := b.takes[id]
	delete(b.takes, id)
	for _, w := range t.wanted {
		w.counter.asking -= w.units
	}
	return t, ok
}

// wanted is how many units to ask for beyond the next one.
func (c *counter) wanted(l *wire.Limit) int64 {
	if l.Permit() {
		return 0
	}
	ahead := horizon
	if c.life > 0 {
		ahead = min(ahead, c.life)
	}
	return max(int64(c.rate*ahead.Seconds()), ramp*c.spent) - c.holds() - c.asking
}

// Granted takes the leases of a reply, while it is awaited and only once. limits are those
// of the reply: the leases were granted under them. It is false when nobody awaits them any
// more: they were abandoned.
func (b *Book) Granted(id uint64, limits []wire.Limit, leases []wire.Lease, now time.Time) bool {
	t, ok := b.end(id)
	if !ok {
		return false
	}
	for _, g := range leases {
		if g.Limit < 0 || g.Limit >= len(limits) || g.Units <= 0 && !limits[g.Limit].ReportOnly {
			continue
		}
		l := &limits[g.Limit]
		c := b.counterOf(l)
		life := time.Duration(g.LifeMillis) * time.Millisecond
		life -= (life + driftParts - 1) / driftParts
		granted := &lease{
			limit: *l, counter: c, id: g.Counter, take: id, units: g.Units,
			dispatched: t.dispatched, deadline: t.dispatched.Add(life), life: life, last: t.dispatched,
		}
		c.leases = append(c.leases, granted)
		if c.owed > 0 && l.ReportOnly {
			granted.spent, granted.last, c.owed = c.owed, now, 0
		}
		if l.Permit() {
			b.permits[id] = append(b.permits[id], granted)
		}
		c.denied = denial{}
		c.life, c.left, c.used = life, g.Left, now
		c.reset = time.Time{}
		if g.ResetMillis >= 0 {
			c.reset = now.Add(time.Duration(g.ResetMillis) * time.Millisecond)
		}
	}
	return true
}

// Denied remembers a reply that said no.
func (b *Book) Denied(id uint64, limits []wire.Limit, e wire.Exhausted, decision string, now time.Time) {
	b.end(id)
	if e.Limit < 0 || e.Limit >= len(limits) {
		return
	}
	l := &limits[e.Limit]
	c := b.counterOf(l)
	c.used = now
	c.denied = denial{limit: *l, until: forever, decision: decision}
	if l.Kind == wire.KindConcurrency { // a slot is free whenever a request ends
		c.denied.until = now.Add(slotMemory)
		return
	}
	if e.RetryMillis >= 0 {
		c.denied.until = now.Add(time.Duration(e.RetryMillis) * time.Millisecond)
	}
	if e.Leased || len(c.leases) > 0 {
		c.denied.again = now.Add(askAgain)
	}
}

// Refusal is a refusal that is remembered.
type Refusal struct {
	Limit       int // index
	RetryMillis int64
	Decision    string
}

// Refused says whether one of the limits is known to leave no room at now; of several, the
// one that takes longest.
func (b *Book) Refused(limits []wire.Limit, now time.Time) (r Refusal, refused bool) {
	var until time.Time
	for i := range limits {
		c := b.counters[nameOf(&limits[i])]
		if c == nil || !c.denied.stands(&limits[i], now) || refused && !c.denied.until.After(until) {
			continue
		}
		until, refused = c.denied.until, true
		r = Refusal{Limit: i, RetryMillis: -1, Decision: c.denied.decision}
		switch {
		case limits[i].Kind == wire.KindConcurrency:
			r.RetryMillis = slotRetryMillis
		case until != forever:
			r.RetryMillis = millis(until.Sub(now))
		}
	}
	return r, refused
}

func (d *denial) stands(l *wire.Limit, now time.Time) bool {
	return now.Before(d.until) && (d.again.IsZero() || now.Before(d.again)) && d.limit == *l
}

// Lost gives a take up whose answer did not come, or came to nobody: whatever it was
// granted was not spent.
func (b *Book) Lost(id uint64) {
	if _, ok := b.end(id); ok {
		b.abandoned = append(b.abandoned, id)
	}
}

// Return gives back what a take was granted for one request and that request did not spend.
func (b *Book) Return(id uint64) {
	leases := b.permits[id]
	delete(b.permits, id)
	for _, lease := range leases {
		if lease.spent == 0 && lease.open == 0 {
			b.close(lease)
		}
	}
}
