package lease

import (
	"math"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/dialect"
	"github.com/tollgate/tollgate/internal/wire"
)

// Spending is what one request has spent, until Finish.
type Spending struct {
	limits []wire.Limit
	parts  []part
	// Nearest is the limit that will be exhausted first, as an index, of those that clients
	// are told of; -1: there is none.
	Nearest int
	// Remaining is what is left of it, as far as this worker knows, at least 0.
	Remaining int64
	// ResetSeconds is when more will be left, at least 1; -1: not known, or never.
	ResetSeconds int64
}

type part struct {
	counter *counter
	lease   *lease // nil: of what is only reported, there was none
	open    bool   // its outcome is awaited
}

// Open says whether Finish has anything to do.
func (s *Spending) Open() bool {
	return slices.ContainsFunc(s.parts, func(p part) bool { return p.open })
}

// Result is what became of a request.
type Result struct {
	Status int   // of the response; 0: there was none
	Bytes  int64 // of request and response
	Rows   int64 // scored
}

// Covers says whether a request could be spent at now.
func (b *Book) Covers(limits []wire.Limit, now time.Time) bool {
	for i := range limits {
		if limits[i].ReportOnly {
			continue
		}
		c := b.counters[nameOf(&limits[i])]
		if c == nil || c.usable(&limits[i], now) == nil {
			return false
		}
	}
	return true
}

// Spend takes what one request costs from a lease of each limit, or nothing at all where
// one of them has none. What is only reported needs none: it is charged later. The request
// must go on before anything else happens. ask is the question that more leases are asked
// for with; nil: none.
func (b *Book) Spend(limits []wire.Limit, ask *wire.Ask, now time.Time) (Spending, bool) {
	s := Spending{limits: limits, parts: make([]part, len(limits))}
	covered := true
	for i := range limits {
		c := b.counterOf(&limits[i])
		c.spent++
		c.ask, c.used = ask, now
		lease := c.usable(&limits[i], now)
		s.parts[i] = part{counter: c, lease: lease}
		covered = covered && (lease != nil || limits[i].ReportOnly)
	}
	if !covered {
		return Spending{}, false
	}
	for i := range s.parts {
		b.spend(&s.parts[i], &limits[i], now)
	}
	s.nearest(now)
	return s, true
}

// spend takes one unit, or for what is charged after the fact the right to be.
func (b *Book) spend(p *part, l *wire.Limit, now time.Time) {
	lease := p.lease
	p.open = l.SuccessOnly || l.Unit != wire.UnitCalls || l.Kind == wire.KindConcurrency
	if lease == nil {
		if l.Unit == wire.UnitCalls {
			p.counter.owed++
		}
		return
	}
	lease.last = now
	if l.Unit == wire.UnitCalls {
		lease.spent++
	}
	if p.open {
		lease.open++
	}
	lease.extended = now
	if !lease.room() && !p.open {
		b.close(lease)
	}
}

// nearest picks the limit that a client should know of.
func (s *Spending) nearest(now time.Time) {
	limits := s.limits
	s.Nearest, s.ResetSeconds = -1, -1
	least := math.Inf(1)
	for i := range limits {
		if !dialect.Advertised(limits[i]) {
			continue
		}
		c := s.parts[i].counter
		remaining := max(0, c.left+c.holds())
		if part := float64(remaining) / float64(max(1, limits[i].Amount)); part < least {
			least = part
			s.Nearest, s.Remaining, s.ResetSeconds = i, remaining, c.resetSeconds(&limits[i], now)
		}
	}
}

// holds is how many units the worker's own leases still have.
func (c *counter) holds() (units int64) {
	for _, lease := range c.leases {
		if !lease.closed {
			units += max(0, lease.units-lease.spent)
		}
	}
	return units
}

// resetSeconds is at most the window of a rate: that the ledger counts a permit for longer
// until it is settled is over in a moment.
func (c *counter) resetSeconds(l *wire.Limit, now time.Time) int64 {
	if c.reset.IsZero() {
		return -1
	}
	wait := c.reset.Sub(now)
	if l.Kind == wire.KindRate {
		wait = min(wait, time.Duration(l.WindowMillis)*time.Millisecond)
	}
	return max(1, int64((wait+time.Second-1)/time.Second))
}

// Finish charges what is known only now, gives back what the result does not count, and
// frees slots. It says whether one was freed, which others may be waiting for.
func (b *Book) Finish(s Spending, r Result, now time.Time) (freed bool) {
	for i, p := range s.parts {
		if !p.open {
			continue
		}
		l := &s.limits[i]
		if p.lease == nil {
			p.counter.owed += r.late(l)
			continue
		}
		p.lease.open--
		if l.Kind == wire.KindConcurrency {
			p.lease.spent = 0
			p.counter.denied = denial{}
			b.close(p.lease)
			freed = true
			continue
		}
		charged := p.lease
		if late := r.late(l); l.Unit == wire.UnitCalls {
			p.lease.spent += late
		} else {
			charged = p.lease.heir(now)
			charged.spent, charged.last = charged.spent+late, now
			p.counter.spent += late
		}
		if p.lease.closed || !p.lease.room() || l.Unit == wire.UnitCalls && l.Permit() && p.lease.spent == 0 {
			b.close(p.lease)
		}
		if charged != p.lease && !charged.room() {
			b.close(charged)
		}
	}
	return freed
}

// late is what a result adds to what was charged before the request passed.
func (r *Result) late(l *wire.Limit) int64 {
	switch {
	case l.Unit == wire.UnitBytes:
		return r.Bytes
	case l.Unit == wire.UnitRows:
		return r.Rows
	case l.SuccessOnly && r.Status >= 400:
		return -1
	}
	return 0
}

// heir is the newest lease of the same limit that is alive, else the lease itself, under
// which the request was let pass.
func (lease *lease) heir(now time.Time) *lease {
	leases := lease.counter.leases
	for i := len(leases) - 1; i >= 0; i-- {
		if other := leases[i]; !other.closed && other.limit == lease.limit && other.alive(now) {
			return other
		}
	}
	return lease
}
