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
		if wanted := c.wanted(&limits[i]); wanted > 0 {
			t.Wanted = append(t.Wanted, wire.Demand{Name: limits[i].Name, Key: limits[i].Key, Units: wanted})
		}
	}
	return t
}

func (b *Book) begin(now time.Time) *wire.Take {
	b.lastTake++
	b.takes[b.lastTake] = now
	return &wire.Take{ID: b.lastTake}
}

// wanted is how many units to ask for beyond the next one.
func (c *counter) wanted(l *wire.Limit) int64 {
	if permit(l) {
		return 0
	}
	ahead := horizon
	if c.life > 0 {
		ahead = min(ahead, c.life)
	}
	return max(int64(c.rate*ahead.Seconds()), ramp*c.spent) - c.holds()
}

// Granted takes the leases of a reply, while it is awaited and only once. limits are those
// of the reply: the leases were granted under them. It is false when nobody awaits them any
// more: they were abandoned.
func (b *Book) Granted(id uint64, limits []wire.Limit, leases []wire.Lease, now time.Time) bool {
	dispatched, ok := b.takes[id]
	if !ok {
		return false
	}
	delete(b.takes, id)
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
			dispatched: dispatched, deadline: dispatched.Add(life), life: life, last: dispatched,
		}
		c.leases = append(c.leases, granted)
		if permit(l) {
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
	delete(b.takes, id)
	if e.Limit < 0 || e.Limit >= len(limits) {
		return
	}
	l := &limits[e.Limit]
	if l.Kind == wire.KindConcurrency {
		return // a slot is free whenever a request ends
	}
	c := b.counterOf(l)
	c.used = now
	c.denied = denial{limit: *l, until: forever, decision: decision}
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
		if until != forever {
			r.RetryMillis = int64((until.Sub(now) + time.Millisecond - 1) / time.Millisecond)
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
	if _, ok := b.takes[id]; ok {
		delete(b.takes, id)
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
