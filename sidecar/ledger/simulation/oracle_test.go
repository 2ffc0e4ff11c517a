package simulation_test

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// oracle knows the true time of every admission and says whether there were too many. What
// it knows of the ledger is only when a quota's period began and which slots are renewed.
type oracle struct {
	*world
	tallies  map[ledger.Name]*tally // with Period 0
	admitted int
}

// tally is what was admitted on one counter.
type tally struct {
	window time.Duration
	list   []*admission // in the window, in the period, or in flight
	count  int          // of these that count
	period int64
	slots  map[chargeKey]time.Duration // until when they are held
}

// admission is one unit.
type admission struct {
	at     time.Duration
	amount int64 // of the limit under which it was admitted
	vm     string
	tally  *tally
	gone   bool // it does not count any more
}

// longestLife is longer than any lease of a kind lives, in true time.
func longestLife(l *wire.Limit) time.Duration {
	switch l.Kind {
	case wire.KindConcurrency:
		return 30 * second
	case wire.KindQuota:
		return 15 * second
	}
	return max(2*second, min(time.Duration(l.WindowMillis)*time.Millisecond/20, 15*second))
}

func newOracle(w *world) *oracle { return &oracle{world: w, tallies: map[ledger.Name]*tally{}} }

func (o *oracle) tally(n ledger.Name) *tally {
	n.Period = 0
	t := o.tallies[n]
	if t == nil {
		t = &tally{window: time.Duration(n.WindowMillis) * time.Millisecond, slots: map[chargeKey]time.Duration{}}
		o.tallies[n] = t
	}
	return t
}

func nameOf(l *wire.Limit) ledger.Name {
	n := ledger.Name{Name: l.Name, Key: l.Key, Kind: l.Kind, Unit: l.Unit, WindowMillis: l.WindowMillis}
	if l.Kind == wire.KindQuota {
		n.StartMillis = l.StartMillis
	}
	return n
}

// admit takes an admission on each limit of a request, and checks them.
func (o *oracle) admit(x *request) {
	o.admitted++
	for i := range x.limits {
		l := &x.limits[i]
		if l.Unit != wire.UnitCalls || l.ReportOnly {
			continue
		}
		t := o.tally(nameOf(l))
		a := &admission{at: o.now, amount: l.Amount, vm: x.vm, tally: t}
		x.parts = append(x.parts, a)
		t.list = append(t.list, a)
		t.count++
		switch l.Kind {
		case wire.KindRate:
			t.slide(o.now)
		case wire.KindConcurrency:
			t.lapse(o)
		}
		if most := t.most(o.now - longestLife(l)); !a.gone && int64(t.count) > most {
			o.fail("%s %s: %d admitted of %d in %v", l.Kind, l.Name, t.count, most, t.window)
		}
	}
}

// most is the largest amount under which any was admitted since a time: the lease that was
// granted last is spent since then, and when it was granted all others were counted.
func (t *tally) most(since time.Duration) (most int64) {
	for _, a := range slices.Backward(t.list) {
		if a.at <= since {
			break
		}
		if !a.gone {
			most = max(most, a.amount)
		}
	}
	return most
}

// slide drops what is out of the window (now-W, now].
func (t *tally) slide(now time.Duration) {
	n := 0
	for n < len(t.list) && t.list[n].at <= now-t.window {
		t.list[n].drop()
		n++
	}
	t.list = t.list[n:]
}

func (a *admission) drop() {
	if !a.gone {
		a.gone = true
		a.tally.count--
	}
}

// finished takes a request off that is over: its slots, and what it does not count as.
func (o *oracle) finished(x *request, status int) {
	for i, j := 0, 0; i < len(x.limits); i++ {
		l := &x.limits[i]
		if l.Unit != wire.UnitCalls || l.ReportOnly {
			continue
		}
		a := x.parts[j]
		j++
		if l.Kind == wire.KindConcurrency || l.SuccessOnly && status >= 400 {
			a.drop()
		}
		if l.Kind == wire.KindConcurrency {
			a.tally.list = slices.DeleteFunc(a.tally.list, func(b *admission) bool { return b == a })
		}
	}
}

// leased notes that a period's counter was leased from: no unit of an earlier period may be
// spent from now on.
func (o *oracle) leased(n ledger.Name, at time.Duration) {
	t := o.tally(n)
	if n.Period <= t.period {
		return
	}
	o.early(n, at)
	t.period = n.Period
	for _, a := range t.list {
		a.drop()
	}
	t.list = nil
}

// early fails when a step of the clock opened a period before its time. The first border
// that was jumped over is the one that counts.
func (o *oracle) early(n ledger.Name, at time.Duration) {
	for _, j := range o.server.jumps {
		const tolerance = 1200 // between two looks at the clock nobody knows when it stepped
		k := (j.before-tolerance-n.StartMillis)/n.WindowMillis + 1
		border := n.StartMillis + k*n.WindowMillis
		if k > n.Period || border > j.after {
			continue
		}
		if missing := time.Duration(border-j.before-tolerance) * time.Millisecond; at-j.at < missing {
			o.fail("quota %s: period %d began %v after a step of the clock, %v too early", n.Name, n.Period, at-j.at, missing-(at-j.at))
		}
	}
}

// lag is by how much a clock may be wrong over the life of a slot.
const lag = 100 * time.Millisecond

// slot notes that a slot is held until another life from its grant or renewal on.
func (o *oracle) slot(n ledger.Name, c ledger.Charge, at time.Duration) {
	t := o.tally(n)
	key := chargeKey{c.Call, c.Counter}
	held, known := t.slots[key]
	switch {
	case !c.Open:
		delete(t.slots, key)
	case !known:
		t.slots[key] = at + time.Duration(c.Slot-c.Granted)*time.Millisecond - lag
	case held > at:
		t.slots[key] = at + 30*second - lag
	}
}

// lapse takes off what a worker has in flight once one of its slots was not renewed in time:
// then nothing is promised.
func (t *tally) lapse(o *oracle) {
	for key, held := range t.slots {
		if held > o.now {
			continue
		}
		delete(t.slots, key)
		for _, a := range t.list {
			if a.vm == key.Worker {
				a.drop()
			}
		}
	}
}

// crashed ends all that a worker had in flight.
func (o *oracle) crashed(vm string) {
	for n, t := range o.tallies {
		if n.Kind != wire.KindConcurrency {
			continue
		}
		for _, a := range t.list {
			if a.vm == vm {
				a.drop()
			}
		}
		t.list = slices.DeleteFunc(t.list, func(a *admission) bool { return a.vm == vm })
		for key := range t.slots {
			if key.Worker == vm {
				delete(t.slots, key)
			}
		}
	}
}
