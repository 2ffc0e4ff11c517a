package conformance

import (
	"fmt"
	"math"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

func init() {
	for name, test := range map[string]func(w *world){
		"merging far beyond what is read at once loses no unit and adds none": func(w *world) {
			l, other := rate(20_000, 24*time.Hour), named("other", rate(20_000, 24*time.Hour))
			for range 20 { // in one part of the window, and many at once
				w.spends(256, l, other)
				w.clock.Advance(time.Millisecond)
			}
			w.spends(4500, other)
			w.clock.Advance(10 * minute)
			for range 6 {
				w.spends(1, l, other) // so that they are merged again
				w.clean()
				w.clock.Advance(7 * minute)
			}
			for i, want := range []int64{20*256 + 6, 20*256 + 4500 + 6} {
				if c := w.counters()[i]; c.Used != want {
					w.t.Errorf("used %d of %s, want %d", c.Used, c.Limit.Name, want)
				}
			}
		},
		"a merged row that is forgotten begins anew": func(w *world) {
			l := rate(10_000, 24*time.Hour)
			w.spends(600, l)
			w.clock.Advance(10 * minute)
			w.spends(1, l)
			w.clean()
			w.reset()
			w.state(0, 0, 10_000)
			w.spends(600, l)
			w.clock.Advance(10 * minute)
			w.spends(1, l)
			w.clean()
			w.state(601, 0, 9399)
		},
		"a response that lasts longer than the window counts when it ends": func(w *world) {
			for _, length := range []time.Duration{20 * time.Second, 80 * time.Second, 3 * minute} {
				l := in(wire.UnitBytes, named(length.String(), rate(1000, minute)))
				g, id := w.take(l)
				began := w.clock.Monotonic()
				w.lasts(id, g.Leases[0].Counter, length, 2500*time.Millisecond)
				w.settle(id, g.Leases[0].Counter, 5000, (w.clock.Monotonic() - began).Milliseconds())
				w.clock.Advance(50 * time.Second)
				w.clean()
				if g, _ := w.take(l); g.Exhausted == nil {
					w.t.Errorf("after 5000 bytes of 1000 in %v: %+v", length, g.Leases)
				}
				w.clock.Advance(11 * time.Second)
				w.granted(1000, l)
			}
		},
		"a stream of hours counts against its quota when it ends": func(w *world) {
			l := in(wire.UnitBytes, w.quota(1000, week))
			g, id := w.take(l)
			w.lasts(id, g.Leases[0].Counter, 3*time.Hour, 5*minute)
			w.state(0, 1, 999)
			w.settle(id, g.Leases[0].Counter, 5000, (3 * time.Hour).Milliseconds())
			w.state(5000, 0, -4000)
		},
		"a call of hours is not charged to its quota before it is over": func(w *world) {
			q := w.quota(1000, week)
			g, id := w.take(q)
			w.lasts(id, g.Leases[0].Counter, 3*time.Hour, 5*minute)
			w.state(1, 0, 999)
			w.settle(id, g.Leases[0].Counter, 0, 0)
			w.state(0, 0, 1000)
		},
		"a step of the clock makes no bytes older than they are": func(w *world) {
			l := in(wire.UnitBytes, rate(1000, minute))
			g, id := w.take(l)
			c := g.Leases[0].Counter
			w.lasts(id, c, minute, 2500*time.Millisecond)
			w.clock.Step(10 * minute)
			w.lasts(id, c, 3*minute, 2500*time.Millisecond)
			w.settle(id, c, 5000, (4 * minute).Milliseconds())
			w.clock.Advance(55 * time.Second)
			w.granted(0, l)
			w.clock.Advance(6 * time.Second)
			w.granted(1000, l)
		},
		"bytes count from when the last of them came": func(w *world) {
			l := in(wire.UnitBytes, rate(1000, minute))
			g, id := w.take(l)
			w.lasts(id, g.Leases[0].Counter, 20*time.Second, 2500*time.Millisecond)
			w.clock.Advance(10 * time.Second)
			w.settle(id, g.Leases[0].Counter, 5000, 25_000)
			w.refused(wire.Exhausted{RetryMillis: 55_026}, l)
			w.clock.Advance(2 * minute)
			g, id = w.take(l)
			w.clock.Advance(40 * time.Second) // the ledger hears nothing
			w.settle(id, g.Leases[0].Counter, 5000, 39_000)
			w.refused(wire.Exhausted{RetryMillis: 59_040}, l)
			w.clock.Advance(2 * minute)
			g, id = w.take(l)
			w.clock.Advance(40 * time.Second)
			w.settle(id, g.Leases[0].Counter, 5000, math.MaxInt64) // no later than now
			w.refused(wire.Exhausted{RetryMillis: 60_000}, l)
		},
		"what is not over holds what it spent, and no more": func(w *world) {
			for name, c := range map[string]struct {
				limit      ledger.Limit
				spent, age int64 // when settled
				used       int64
			}{
				"calls of a rate":   {rate(1000, minute), 2, 0, 2},
				"calls of a quota":  {w.quota(1000, week), 2, 0, 2},
				"none of a rate":    {named("none", rate(1000, minute)), 0, 0, 0},
				"too many":          {named("many", rate(1000, minute)), 4, 0, 3},
				"bytes of a rate":   {in(wire.UnitBytes, rate(1000, minute)), 50, 0, 50},
				"rows of a quota":   {in(wire.UnitRows, w.quota(1000, week)), 50, 0, 50},
				"calls as reported": {reported(named("reported", rate(1000, minute))), 50, 0, 50},
			} {
				g, id := w.take(wanted(99, c.limit))
				counter := g.Leases[0].Counter
				for _, spent := range []int64{3, 4, 200} { // no message makes it more
					w.extend(id, counter, spent)
					if got := w.counter(counter); got.Leased != 3 || got.Used != 0 {
						w.t.Errorf("%s: leased %d, used %d; want 3 and 0", name, got.Leased, got.Used)
					}
				}
				w.settle(id, counter, c.spent, c.age)
				w.extend(id, counter, 3)
				if got := w.counter(counter); got.Used+got.Leased != c.used {
					w.t.Errorf("%s: leased %d, used %d; want %d", name, got.Leased, got.Used, c.used)
				}
			}
		},
		"calls that are not over are no younger than their lease": func(w *world) {
			l := rate(1000, minute)
			g, id := w.take(l)
			w.clock.Advance(10 * time.Second)
			w.extend(id, g.Leases[0].Counter, 1)
			w.clock.Advance(53 * time.Second)
			w.state(0, 0, 1000)
		},
		"a slot is held as long as its call, whenever its subscription expires": func(w *world) {
			b := ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: 101, Waiting: true, Until: w.clock.Now().Add(time.Second), Limits: []ledger.Limit{slots(1)}}}}
			g := w.commit(b)[0]
			w.leases(g, wire.Lease{Units: 1, LifeMillis: 1000, ResetMillis: -1})
			w.clock.Advance(29 * time.Second)
			w.refused(wire.Exhausted{RetryMillis: 1000, Leased: true}, slots(1))
			w.extend(101, g.Leases[0].Counter, 0)
			w.clock.Advance(29 * time.Second)
			w.refused(wire.Exhausted{RetryMillis: 1000, Leased: true}, slots(1))
			w.clock.Advance(time.Second)
			w.granted(1, slots(1))
		},
		"what is idle is deleted, however much it is": func(w *world) {
			w.idle(3000)
			w.clock.Advance(26 * time.Hour)
			w.clean()
			if n, err := w.l.Count(w.t.Context()); n != 0 || err != nil {
				w.t.Errorf("%d counters are left, %v", n, err)
			}
			w.idle(1)
		},
		"only what is idle is deleted": func(w *world) {
			w.spends(1, rate(5, 48*time.Hour), w.quota(5, 48*time.Hour), named("life", w.quota(5, 0)), named("idle", rate(5, minute)))
			w.clock.Advance(26 * time.Hour)
			w.spends(1, named("new", rate(5, minute)))
			w.clean()
			var names []string
			for _, c := range w.counters() {
				names = append(names, c.Limit.Name)
			}
			if diff := cmp.Diff([]string{"life", "minute", "week", "new"}, names); diff != "" {
				w.t.Errorf("left (-want +got):\n%s", diff)
			}
		},
	} {
		tests[name] = test
	}
}

// lasts lets time pass and says again and again that a call goes on, with one unit spent.
func (w *world) lasts(take uint64, counter int64, length, interval time.Duration) {
	w.t.Helper()
	for end := w.clock.Monotonic() + length; w.clock.Monotonic() < end; {
		w.clock.Advance(min(interval, end-w.clock.Monotonic()))
		w.extend(take, counter, 1)
		w.clean()
	}
}

func (w *world) extend(take uint64, counter, spent int64) {
	w.t.Helper()
	w.commit(ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: take, Counter: counter, Spent: spent, Extend: true}}})
}

// counter is the state of one counter.
func (w *world) counter(id int64) ledger.Counter {
	w.t.Helper()
	for _, c := range w.counters() {
		if c.ID == id {
			return c
		}
	}
	w.t.Fatalf("no counter %d", id)
	return ledger.Counter{}
}

// idle makes counters that are never used again.
func (w *world) idle(n int) {
	w.t.Helper()
	for n > 0 {
		b := ledger.Batch{Worker: "vm1"}
		for range min(n, 256) {
			w.last++
			l := rate(5, minute)
			l.Key = fmt.Sprint("ip:", w.last)
			b.Takes = append(b.Takes, ledger.Take{ID: w.last, Waiting: true, Limits: []ledger.Limit{l}})
			b.Abandoned = append(b.Abandoned, w.last)
		}
		abandon := b
		abandon.Takes, b.Abandoned = nil, nil
		w.commit(b)
		w.commit(abandon)
		n -= len(b.Takes)
	}
}

// reset resets all counters.
func (w *world) reset() {
	w.t.Helper()
	var ids []int64
	for _, c := range w.counters() {
		ids = append(ids, c.ID)
	}
	if _, err := w.l.Reset(w.t.Context(), "uid 0", ids); err != nil {
		w.t.Fatal(err)
	}
}
