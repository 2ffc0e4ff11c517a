package ledger

import (
	"math"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// slotRetry is when to ask again for a slot of a concurrency limit, in ms.
	slotRetry = 1000
	// expiredRetry is when to ask again for a subscription that has expired, in ms: others
	// may use the same counter, and the expiry may be put off.
	expiredRetry = 1000
)

// life is how long a lease of a limit may be spent, in ms: a permit as long as the call that
// waits for it, a slot until it has to be extended, what is leased in advance for a
// twentieth of the window.
func life(l *wire.Limit) int64 {
	switch {
	case l.Kind == wire.KindConcurrency:
		return longestLife
	case l.Deferred():
		return deferredLife
	case l.Amount <= wire.PermitMax:
		return 2_000
	case l.Kind == wire.KindRate:
		return min(max(l.WindowMillis/20, 1_000), 15_000)
	}
	return quotaLife
}

// want is what a take wants of one limit, and what there is.
type want struct {
	index int
	limit *Limit
	row   *Row
	usage *Usage
	life  int64 // cut to the period and the subscription
	free  int64
}

// take answers one take, all or nothing.
func (g *group) take(call Call, t *Take) (Grant, error) {
	if _, ok := g.buried[call]; ok || len(g.charges[call]) > 0 {
		return Grant{}, nil // nobody awaits it, or it has been answered
	}
	wants := g.wants(t)
	if t.Waiting {
		exhausted, err := g.short(wants, t)
		if exhausted != nil || err != nil {
			return Grant{Exhausted: exhausted}, err
		}
	}
	var grant Grant
	for i := range wants {
		if lease, ok := g.lease(call, t, &wants[i]); ok {
			grant.Leases = append(grant.Leases, lease)
		}
	}
	return grant, nil
}

func (g *group) wants(t *Take) []want {
	wants := make([]want, 0, len(t.Limits))
	for i := range t.Limits {
		l := &t.Limits[i]
		if l.Held {
			continue
		}
		name, left := g.name(&l.Limit, g.high)
		row := g.counters[g.names[name]]
		if row.Subscription != 0 && row.Subscription != t.Subscription {
			row.Subscription = 0 // once and for all
			g.dirty[row.ID] = struct{}{}
		}
		w := want{index: i, limit: l, row: row, usage: g.usage[row.ID], life: min(life(&l.Limit), left)}
		if !t.Until.IsZero() {
			w.life = min(w.life, t.Until.UnixMilli()-g.high)
		}
		w.free = l.Amount + row.Raised - row.Used - w.usage.Units
		wants = append(wants, w)
	}
	return wants
}

// short says which limit has no room for the request that waits, if any: the one that will
// take longest to have it.
func (g *group) short(wants []want, t *Take) (*wire.Exhausted, error) {
	var x *wire.Exhausted
	leased := false
	for i := range wants {
		w := &wants[i]
		retry, ok, err := g.retry(w, t)
		if err != nil {
			return nil, err
		}
		if ok {
			continue
		}
		leased = leased || w.free < 1 && w.usage.Live > 0
		if x == nil || x.RetryMillis >= 0 && (retry < 0 || retry > x.RetryMillis) {
			x = &wire.Exhausted{Limit: w.index, RetryMillis: retry}
		}
		if w.free < 1 && !w.limit.ReportOnly {
			g.reached(w)
		}
	}
	if x != nil {
		x.Leased = leased
	}
	return x, nil
}

// retry says whether a limit has room for a request, and if not, when it will: after so many
// ms, -1 for never.
func (g *group) retry(w *want, t *Take) (ms int64, ok bool, err error) {
	switch {
	case !t.Until.IsZero() && t.Until.UnixMilli() <= g.high:
		return expiredRetry, false, nil
	case w.limit.ReportOnly:
		return 0, true, nil
	}
	if w.limit.Kind != wire.KindQuota {
		if lost := g.lost(g.t, w.limit.WindowMillis); lost > 0 {
			return lost, false, nil
		}
	}
	switch {
	case w.free >= 1:
		return 0, true, nil
	case w.limit.Amount+w.row.Raised < 1:
		return -1, false, nil
	case w.limit.Kind == wire.KindConcurrency:
		return slotRetry, false, nil
	case w.limit.Kind == wire.KindQuota:
		_, left := g.name(&w.limit.Limit, g.high)
		if left == Forever {
			return -1, false, nil
		}
		return left, false, nil
	}
	ms, err = g.room(w)
	return ms, false, err
}

// room is when a rate has room for one unit again, if nobody else takes it: when enough of
// the oldest charges have left the window.
func (g *group) room(w *want) (int64, error) {
	window := g.window(w.row, g.t)
	length := g.now(w.row) - window.After
	slot := w.usage.Oldest
	if need := 1 - w.free; need > 1 {
		if err := g.flush(); err != nil {
			return 0, err
		}
		for freed := int64(0); freed < need; {
			charges, err := g.rows.Oldest(w.row.ID, window.After, walk)
			if err != nil {
				return 0, err
			}
			for i := 0; i < len(charges) && freed < need; i++ {
				freed, slot = freed+charges[i].Units, charges[i].Slot
			}
			if len(charges) < walk {
				break
			}
			window.After = charges[len(charges)-1].Slot
		}
	}
	return max(slot+length-g.now(w.row), 1), nil
}

// walk is how many charges are read at once.
const walk = 256

// lease charges one limit and returns its lease; there is none when nothing is left for
// requests to come, or no time.
func (g *group) lease(call Call, t *Take, w *want) (wire.Lease, bool) {
	units := g.units(w, t.Waiting)
	if units < 1 || w.life < 1 {
		return wire.Lease{}, false
	}
	now := g.now(w.row)
	c := Charge{Call: call, Counter: w.row.ID, Slot: now + w.life, Units: units, Granted: now, Open: true, Overdraft: w.limit.Deferred()}
	if w.limit.Kind == wire.KindConcurrency {
		c.Slot = now + longestLife // the call goes on when its subscription expires
	}
	c.Until = until(w.row, &c)
	g.save(c)
	g.charges[call] = append(g.charges[call], c)
	g.changed(w.row)
	w.row.asked(&w.limit.Limit)
	if _, left := g.name(&w.limit.Limit, g.high); left != Forever {
		w.row.Ends = max(w.row.Ends, ends(g.high, left))
	}
	u := w.usage
	if u.Rows == 0 || c.Slot < u.Oldest {
		u.Oldest = c.Slot
	}
	u.Units, u.OpenUnits, u.LiveUnits, u.Live, u.Rows = u.Units+units, u.OpenUnits+units, u.LiveUnits+units, u.Live+1, u.Rows+1
	g.warn(w.row, g.spent(w.row))
	return wire.Lease{Limit: w.index, Counter: w.row.ID, Units: units, LifeMillis: w.life, Left: w.free - units, ResetMillis: g.reset(w)}, true
}

// units is how much of a limit is leased: what waits, and of what is wanted beyond that at
// most half of what each open lease and this one would have in an equal share.
func (g *group) units(w *want, waiting bool) (units int64) {
	if waiting {
		units = 1
	}
	if w.limit.Permit() || w.limit.Wanted < 1 {
		return units
	}
	if !w.limit.ReportOnly && g.lost(g.t, w.limit.WindowMillis) > 0 && w.limit.Kind != wire.KindQuota {
		return 0
	}
	units += max(0, min(w.limit.Wanted, (w.free-units)/(2*(w.usage.Live+1))))
	if w.limit.ReportOnly {
		units = max(units, 1)
	}
	return units
}

// reset is wire.Lease.ResetMillis.
func (g *group) reset(w *want) int64 {
	switch w.limit.Kind {
	case wire.KindRate:
		window := g.window(w.row, g.t)
		return w.usage.Oldest - window.After
	case wire.KindQuota:
		if _, left := g.name(&w.limit.Limit, g.high); left != Forever {
			return left
		}
	}
	return -1
}

// asked keeps a limit as it was last asked for.
func (r *Row) asked(l *wire.Limit) {
	r.Amount, r.SuccessOnly, r.ReportOnly = l.Amount, l.SuccessOnly, l.ReportOnly
}

const (
	// keepClosed is how long, in ms, the row of a charge stays at least, so that a message
	// that is doubled and late finds it.
	keepClosed = 60_000
	// keepOpen is how long an open charge of a quota waits for its settlement, in ms.
	// After that it counts as spent.
	keepOpen = 3_600_000
)

// until is how long the row of a charge is needed.
func until(row *Row, c *Charge) int64 {
	switch {
	case row.Kind != wire.KindQuota:
		return c.Slot + max(row.WindowMillis, keepClosed)
	case c.Open:
		return c.Slot + keepOpen
	}
	return c.Slot + keepClosed
}

// add is a + b for counts, without overflow.
func add(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64/2-b {
		return math.MaxInt64 / 2
	}
	return a + b
}
