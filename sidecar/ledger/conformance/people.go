package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/ledger"
)

func init() {
	for name, test := range map[string]func(w *world){
		"a counter's state is what is true now": func(w *world) {
			g, id := w.take(rate(5, minute))
			w.take(rate(5, minute))
			w.settle(id, g.Leases[0].Counter, 1, 0)
			c := w.state(1, 1, 3)
			want := ledger.Counter{ID: c.ID, Subscription: 7, Limit: rate(5, minute).Limit, Used: 1, Leased: 1, Left: 3,
				Reset: w.clock.Now().Add(60_001 * time.Millisecond)}
			if diff := cmp.Diff(want, c); diff != "" {
				w.t.Errorf("counter (-want +got):\n%s", diff)
			}
			w.clock.Advance(6999 * time.Millisecond)
			w.state(1, 1, 3)
			w.clock.Advance(time.Millisecond) // nobody settles the other any more
			w.state(2, 0, 3)
			w.clock.Advance(54 * time.Second)
			w.state(1, 0, 4)
			w.clock.Advance(time.Second)
			if c := w.state(0, 0, 5); !c.Reset.IsZero() {
				w.t.Errorf("reset %v of an unused counter", c.Reset)
			}
		},
		"counters are listed by subscription, and no more than asked for": func(w *world) {
			w.granted(1, rate(1, minute), w.quota(1, time.Hour))
			w.commit(ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: 99, Waiting: true, Subscription: 8, Limits: []ledger.Limit{slots(1)}}}})
			for n, f := range map[int]ledger.Filter{3: {All: true}, 2: {Subscription: 7}, 1: {Subscription: 7, Max: 1}, 0: {Subscription: 9}} {
				if list, err := w.l.Counters(context.Background(), f); len(list) != n || err != nil {
					w.t.Errorf("%+v: %d counters, %v; want %d", f, len(list), err, n)
				}
			}
			w.clock.Advance(time.Hour)
			if list := w.counters(); len(list) != 2 {
				w.t.Errorf("%d counters when the quota's period is over, want 2", len(list))
			}
		},
		"a counter that two subscriptions use is nobody's, and stays so": func(w *world) {
			one := w.counters
			ask := func(id uint64, subscription uint32, l ledger.Limit) {
				w.commit(ledger.Batch{Worker: "vm2", Takes: []ledger.Take{{ID: id, Waiting: true, Subscription: subscription, Limits: []ledger.Limit{l}}}})
			}
			for i, amount := range []int64{5, 1} { // the second asks in vain
				l := rate(amount, minute)
				l.Key = fmt.Sprint("organization:", i)
				id := uint64(10 * i)
				ask(id+1, 7, l)
				ask(id+2, 7, l)
				if c := one()[i]; c.Subscription != 7 {
					w.t.Errorf("it is %d's, want 7's", c.Subscription)
				}
				ask(id+3, 8, l)
				ask(id+4, 7, l)
				for _, f := range []ledger.Filter{{Subscription: 7}, {Subscription: 8}} {
					if list, err := w.l.Counters(context.Background(), f); len(list) > 0 || err != nil {
						w.t.Errorf("%+v lists %+v, %v", f, list, err)
					}
				}
				if list := one(); len(list) != i+1 || list[i].Subscription != 0 {
					w.t.Errorf("all: %+v", list)
				}
			}
		},
		"events come again after a reset, and after a raise those that are no longer reached": func(w *world) {
			l, q := rate(20, minute), w.quota(20, week)
			w.percents([]int{80}, func() { w.spends(16, l) })
			w.reset()
			w.percents([]int{}, func() { w.spends(15, l) })
			w.percents([]int{80}, func() { w.spend(l) })
			w.percents([]int{80, 95, 100}, func() { w.granted(20, q) })
			raise := func(units int64) {
				if _, err := w.l.Raise(context.Background(), "uid 0", w.counters()[1].ID, units); err != nil {
					w.t.Fatal(err)
				}
			}
			raise(1)
			w.percents([]int{100}, func() { w.granted(1, q) })
			raise(9)
			w.percents([]int{}, func() { w.spends(2, q) })
			w.percents([]int{80}, func() { w.spends(1, q) })
		},
		"a reset forgets what was spent, not what is out": func(w *world) {
			for _, limit := range []ledger.Limit{rate(5, minute), w.quota(5, week)} {
				g, _ := w.take(limit)
				w.granted(4, limit)
				if _, err := w.l.Reset(context.Background(), "root", []int64{g.Leases[0].Counter}); err != nil {
					w.t.Fatal(err)
				}
				w.granted(4, limit)
			}
		},
		"a reset is audited, moves Resets and is told": func(w *world) {
			w.granted(2, rate(5, minute), rate(2, time.Hour))
			list := w.counters()
			before := w.l.Resets()
			done, err := w.l.Reset(context.Background(), "uid 0", []int64{list[1].ID, list[0].ID})
			if err != nil {
				w.t.Fatal(err)
			}
			want := ledger.Adjustment{Time: w.clock.Now(), Actor: "uid 0", Action: "limit.reset", Counter: list[0].ID, Subscription: 7,
				Before: `{"limit":"minute","key":"subscription:7","period":0,"amount":5,"raised":0,"used":2,"leased":0,"left":3}`,
				After:  `{"limit":"minute","key":"subscription:7","period":0,"amount":5,"raised":0,"used":0,"leased":0,"left":5}`}
			if diff := cmp.Diff(want, done[0]); diff != "" || len(done) != 2 {
				w.t.Errorf("%d adjustments (-want +got):\n%s", len(done), diff)
			}
			audited, err := w.l.Adjustments(context.Background(), ledger.Filter{Subscription: 7})
			if diff := cmp.Diff([]ledger.Adjustment{done[1], done[0]}, audited); diff != "" || err != nil {
				w.t.Errorf("audited (-want +got): %v\n%s", err, diff)
			}
			if w.l.Resets() == before || w.resets != 1 {
				w.t.Errorf("resets %d after %d, told %d times", w.l.Resets(), before, w.resets)
			}
			if _, err := w.l.Reset(context.Background(), "uid 0", []int64{list[0].ID, 12345}); !errors.Is(err, ledger.ErrInvalid) {
				w.t.Errorf("an unknown counter: %v", err)
			}
		},
		"a raise is for quotas, for this period, and audited": func(w *world) {
			w.granted(1, w.quota(1, time.Hour))
			w.granted(1, rate(1, minute))
			list := w.counters()
			quota, other := list[0].ID, list[1].ID
			a, err := w.l.Raise(context.Background(), "uid 0", quota, 2)
			if err != nil {
				w.t.Fatal(err)
			}
			want := ledger.Adjustment{Time: w.clock.Now(), Actor: "uid 0", Action: "limit.raise", Counter: quota, Subscription: 7, Units: 2,
				Before: `{"limit":"week","key":"subscription:7","period":0,"amount":1,"raised":0,"used":1,"leased":0,"left":0}`,
				After:  `{"limit":"week","key":"subscription:7","period":0,"amount":1,"raised":2,"used":1,"leased":0,"left":2}`}
			if diff := cmp.Diff(want, a); diff != "" {
				w.t.Errorf("adjustment (-want +got):\n%s", diff)
			}
			w.granted(2, w.quota(1, time.Hour))
			for name, bad := range map[string][2]int64{"a rate": {other, 1}, "nothing": {quota, 0}, "less": {quota, -1}, "unknown": {999, 1}} {
				if _, err := w.l.Raise(context.Background(), "uid 0", bad[0], bad[1]); !errors.Is(err, ledger.ErrInvalid) {
					w.t.Errorf("raising %s: %v", name, err)
				}
			}
			w.clock.Advance(time.Hour)
			if _, err := w.l.Raise(context.Background(), "uid 0", quota, 1); !errors.Is(err, ledger.ErrInvalid) {
				w.t.Errorf("raising a period that is over: %v", err)
			}
			w.granted(1, w.quota(1, time.Hour))
		},
		"a limit that reaches 80, 95 and 100 % makes one event each, once a window": func(w *world) {
			l := rate(20, minute)
			w.percents([]int{}, func() { w.spends(15, l) })
			w.percents([]int{80}, func() { w.spend(l) })
			w.percents([]int{95}, func() { w.spends(3, l) })
			w.percents([]int{100}, func() { w.spend(l) })
			w.percents([]int{}, func() { w.spend(l) })
			want := ledger.Event{Time: w.clock.Now(), Counter: w.events[0].Counter, Subscription: 7, Limit: l.Limit, Percent: 80, Used: 16}
			if diff := cmp.Diff(want, w.events[0]); diff != "" {
				w.t.Errorf("event (-want +got):\n%s", diff)
			}
			stored, err := w.l.Events(context.Background(), ledger.Filter{Subscription: 7})
			if diff := cmp.Diff([]ledger.Event{w.events[2], w.events[1], w.events[0]}, stored); diff != "" || err != nil {
				w.t.Errorf("stored (-want +got): %v\n%s", err, diff)
			}
			w.clock.Advance(2 * minute)
			w.percents([]int{80}, func() { w.spends(16, l) })
		},
		"a quota's event comes once in its period, from what is known to be spent": func(w *world) {
			q := w.quota(1000, time.Hour)
			var g ledger.Grant
			var id uint64
			w.percents([]int{}, func() { g, id = w.take(wanted(900, q)) }) // 500 are leased
			w.percents([]int{}, func() { w.spends(299, q); w.settle(id, g.Leases[0].Counter, 500, 0) })
			w.percents([]int{80}, func() { w.spends(1, q) })
			w.percents([]int{95, 100}, func() { w.granted(200, q) })
			w.percents([]int{}, func() { w.take(q) })
			w.clock.Advance(time.Hour)
			w.percents([]int{80, 95, 100}, func() { w.granted(1000, q) })
		},
		"a refusal is an event of 100 %, for slots at most one a minute": func(w *world) {
			w.percents([]int{}, func() { w.take(slots(1)) })
			w.percents([]int{100}, func() { w.take(slots(1)); w.take(slots(1)) })
			w.clock.Advance(25 * time.Second)
			w.percents([]int{}, func() { w.take(slots(1)) })
			w.clock.Advance(35 * time.Second)
			w.take(slots(1))
			w.percents([]int{100}, func() { w.take(slots(1)) })
			w.percents([]int{100}, func() { w.take(rate(0, minute)); w.take(rate(0, minute)) })
		},
		"cleaning changes no answer, and leaves nothing": func(w *world) {
			big := rate(300, minute)
			for range 10 {
				w.spends(30, big)
				w.clock.Advance(5 * time.Second)
				w.clean()
			}
			w.state(300, 0, 0)
			w.clock.Advance(11 * time.Second)
			w.clean()
			w.state(270, 0, 30)
			w.abandon(5000)
			w.clock.Advance(3 * 24 * time.Hour)
			w.clean()
			if list := w.counters(); len(list) != 0 {
				w.t.Errorf("left: %+v", list)
			}
			w.granted(300, big)
		},
		"cleaning keeps a charge that a late settlement may still need": func(w *world) {
			q := w.quota(1000, week)
			g, id := w.take(wanted(99, q))
			for range 50 {
				w.clock.Advance(minute)
				w.clean()
			}
			w.settle(id, g.Leases[0].Counter, 10, 0)
			w.state(10, 0, 990)
			g, id = w.take(wanted(99, q))
			w.clock.Advance(2 * time.Hour)
			w.clean()
			w.state(110, 0, 890)
			w.settle(id, g.Leases[0].Counter, 10, 0)
			w.state(110, 0, 890)
		},
		"merged charges count longer, never shorter": func(w *world) {
			l := rate(5000, 10*minute)
			for range 150 {
				w.spends(10, l)
				w.clock.Advance(time.Second)
			}
			w.clean()
			w.state(1500, 0, 3500)
			w.clean()
			w.state(1500, 0, 3500)
			w.clock.Advance(10*minute - 150*time.Second)
			if c := w.counters()[0]; c.Used != 1500 {
				w.t.Errorf("used %d before the first has left the window, want 1500", c.Used)
			}
			w.clock.Advance(75 * time.Second)
			// 750 are still within; of the others those in the same 256th of the window.
			if c := w.counters()[0]; c.Used < 750 || c.Used > 750+25 {
				w.t.Errorf("used %d in the middle, want 750 to 775", c.Used)
			}
			w.clock.Advance(78 * time.Second)
			w.state(0, 0, 5000)
		},
	} {
		tests[name] = test
	}
}

// percents fails unless f makes events of these percentages.
func (w *world) percents(want []int, f func()) {
	w.t.Helper()
	n := len(w.events)
	f()
	got := []int{}
	for _, e := range w.events[n:] {
		got = append(got, e.Percent)
	}
	slices.Sort(got) // a refusal may come before the rest is known to be spent
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("events (-want +got):\n%s", diff)
	}
}
