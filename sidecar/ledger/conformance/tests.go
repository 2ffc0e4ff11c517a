package conformance

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

const (
	minute = time.Minute
	week   = 7 * 24 * time.Hour
)

// tests are all tests, by what must hold.
var tests = map[string]func(w *world){
	"a rate admits no more than its amount at once, and says when there is room": func(w *world) {
		w.granted(5, rate(5, minute))
		// Slots are 1 ms after the grant: settled at once, rounded up.
		w.refused(wire.Exhausted{RetryMillis: 60_001}, rate(5, minute))
		w.clock.Advance(60_000 * time.Millisecond)
		w.refused(wire.Exhausted{RetryMillis: 1}, rate(5, minute))
		w.clock.Advance(time.Millisecond)
		w.granted(5, rate(5, minute))
	},
	"a rate slides: no window has more than the amount, wherever it begins": func(w *world) {
		var passed []time.Time
		for range 500 {
			w.clock.Advance(1700 * time.Millisecond)
			if w.spend(rate(5, minute)) {
				passed = append(passed, w.clock.Now())
			}
		}
		if len(passed) < 67 { // 5 in 61.2 s, since tries come every 1.7 s
			w.t.Errorf("%d of 500 requests pass in 850 s, want about 5 a minute", len(passed))
		}
		for i := 5; i < len(passed); i++ {
			if d := passed[i].Sub(passed[i-5]); d <= minute {
				w.t.Fatalf("six requests within %v", d)
			}
		}
	},
	"a small rate is exact: who calls every 12.1 s is never refused": func(w *world) {
		for i := range 200 {
			if !w.spend(rate(5, minute)) {
				w.t.Fatalf("call %d is refused", i)
			}
			w.clock.Advance(12_100 * time.Millisecond)
		}
	},
	"many at once: exactly the amount passes": func(w *world) {
		var b []ledger.Batch
		for i := range 20 {
			b = append(b, ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: uint64(i + 1), Waiting: true, Limits: []ledger.Limit{rate(5, minute)}}}})
		}
		passed := 0
		for _, r := range w.l.Commit(context.Background(), b) {
			if r.Err != nil {
				w.t.Fatal(r.Err)
			}
			passed += len(r.Grants[0].Leases)
			if x := r.Grants[0].Exhausted; x != nil && *x != (wire.Exhausted{RetryMillis: 62_000, Leased: true}) {
				w.t.Errorf("refusal %+v", *x)
			}
		}
		if passed != 5 {
			w.t.Errorf("%d of 20 pass, want 5", passed)
		}
	},
	"a permit has one unit and the life of its call": func(w *world) {
		g, _ := w.take(wanted(100, rate(5, minute)))
		w.leases(g, wire.Lease{Units: 1, LifeMillis: 2000, Left: 4, ResetMillis: 62_000})
	},
	"an open lease counts until its end has left the window": func(w *world) {
		w.take(rate(1, minute))
		w.refused(wire.Exhausted{RetryMillis: 62_000, Leased: true}, rate(1, minute))
		w.clock.Advance(61_999 * time.Millisecond)
		w.refused(wire.Exhausted{RetryMillis: 1}, rate(1, minute))
		w.clock.Advance(time.Millisecond)
		w.granted(1, rate(1, minute))
	},
	"a settled lease counts from its last spending": func(w *world) {
		g, id := w.take(rate(1, minute))
		w.clock.Advance(3 * time.Second)
		w.settle(id, g.Leases[0].Counter, 1, 500)
		// 500 ms, a thousandth more, and 1 ms.
		w.refused(wire.Exhausted{RetryMillis: 57_502}, rate(1, minute))
	},
	"an age beyond the lease's life moves nothing": func(w *world) {
		g, id := w.take(rate(1, minute))
		w.settle(id, g.Leases[0].Counter, 1, math.MaxInt64)
		w.refused(wire.Exhausted{RetryMillis: 62_000}, rate(1, minute))
	},
	"all or nothing: one short limit takes nothing from the others": func(w *world) {
		w.granted(2, rate(2, minute))
		w.refused(wire.Exhausted{Limit: 1, RetryMillis: 60_001}, w.quota(100, week), rate(2, minute))
		w.granted(100, w.quota(100, week))
	},
	"the limit that takes longest is named, and never beats all": func(w *world) {
		w.granted(1, rate(1, minute))
		w.granted(1, named("hour", rate(1, time.Hour)))
		w.refused(wire.Exhausted{Limit: 1, RetryMillis: 3_600_001}, rate(1, minute), named("hour", rate(1, time.Hour)))
		w.refused(wire.Exhausted{Limit: 0, RetryMillis: -1}, named("none", rate(0, minute)), rate(1, minute), named("hour", rate(1, time.Hour)))
	},
	"an amount of 0 lets nothing pass, ever": func(w *world) {
		w.refused(wire.Exhausted{RetryMillis: -1}, rate(0, minute))
		w.refused(wire.Exhausted{RetryMillis: -1}, w.quota(0, week))
		w.refused(wire.Exhausted{RetryMillis: -1}, slots(0))
	},
	"a limit of which a lease is held is left alone": func(w *world) {
		w.granted(1, rate(1, minute))
		g, _ := w.take(held(rate(1, minute)), w.quota(10, week))
		w.leases(g, wire.Lease{Limit: 1, Units: 1, LifeMillis: 2000, Left: 9, ResetMillis: week.Milliseconds()})
	},
	"a take that is repeated is granted nothing a second time": func(w *world) {
		g, id := w.take(rate(5, minute))
		again := ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: id, Waiting: true, Limits: []ledger.Limit{rate(5, minute)}}}}
		w.leases(w.commit(again)[0])
		w.settle(id, g.Leases[0].Counter, 1, 0)
		w.leases(w.commit(again)[0])
		w.granted(4, rate(5, minute))
	},
	"a take that is doubled in one transaction is granted once": func(w *world) {
		b := ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: 1, Waiting: true, Limits: []ledger.Limit{rate(5, minute)}}}}
		r := w.l.Commit(context.Background(), []ledger.Batch{b, b})
		if a, b := len(r[0].Grants[0].Leases), len(r[1].Grants[0].Leases); a != 1 || b != 0 {
			w.t.Errorf("%d and %d leases, want 1 and 0", a, b)
		}
	},
	"the same id of another worker is another take": func(w *world) {
		w.take(rate(5, minute))
		w.worker, w.last = "vm2", 0
		if g, _ := w.take(rate(5, minute)); len(g.Leases) != 1 {
			w.t.Errorf("granted %+v", g)
		}
	},
	"what is abandoned before it is taken is granted nothing": func(w *world) {
		w.abandon(1)
		g, _ := w.take(rate(1, minute))
		w.leases(g)
		if g.Exhausted != nil {
			w.t.Errorf("refused with %+v", g.Exhausted)
		}
		w.granted(1, rate(1, minute))
	},
	"what is abandoned after it was granted is free again": func(w *world) {
		_, id := w.take(rate(1, minute), w.quota(1, week))
		w.abandon(id)
		w.granted(1, rate(1, minute), w.quota(1, week))
	},
	"what was spent is not given back by abandoning it": func(w *world) {
		g, id := w.take(rate(1, minute), w.quota(1, week))
		for _, l := range g.Leases {
			w.settle(id, l.Counter, 1, 0)
		}
		w.abandon(id)
		w.granted(0, rate(1, minute))
		w.granted(0, w.quota(1, week))
	},
	"a refund is given once": func(w *world) {
		for _, limit := range []ledger.Limit{rate(2, minute), w.quota(2, week)} {
			g, id := w.take(limit)
			w.settle(id, g.Leases[0].Counter, 0, 0)
			w.granted(2, limit)
			w.settle(id, g.Leases[0].Counter, 0, 0)
			w.granted(0, limit)
		}
	},
	"a settlement counts once": func(w *world) {
		g, id := w.take(w.quota(3, week))
		for range 3 {
			w.settle(id, g.Leases[0].Counter, 1, 0)
		}
		w.state(1, 0, 2)
	},
	"a settlement by another worker, of another counter or with more than was leased changes nothing": func(w *world) {
		g, id := w.take(rate(1, minute))
		c := g.Leases[0].Counter
		w.worker = "vm2"
		w.settle(id, c, 0, 0)
		w.worker = "vm1"
		w.settle(id, c+1000, 0, 0)
		w.settle(id+1000, c, 0, 0)
		w.settle(id, c, 2, 0)
		w.settle(id, c, -1, 0)
		w.settle(id, c, 0, -1)
		w.extend(id, c, 2)
		w.extend(id, c, -1)
		w.state(0, 1, 0)
		w.granted(0, rate(1, minute))
	},
	"a settlement in a message frees what the same message takes": func(w *world) {
		g, id := w.take(rate(1, minute))
		again := w.commit(ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: id, Counter: g.Leases[0].Counter}},
			Takes: []ledger.Take{{ID: id + 1, Waiting: true, Limits: []ledger.Limit{rate(1, minute)}}}})
		w.leases(again[0], wire.Lease{Units: 1, LifeMillis: 2000, ResetMillis: 62_000})
	},
	"a large limit is leased in advance: half of an equal share at most": func(w *world) {
		big := rate(1000, minute)
		g, _ := w.take(wanted(5000, big))
		w.leases(g, wire.Lease{Units: 1 + 999/2, LifeMillis: 3000, Left: 500, ResetMillis: 63_000})
		g, _ = w.take(wanted(5000, big))
		w.leases(g, wire.Lease{Units: 1 + 499/4, LifeMillis: 3000, Left: 375, ResetMillis: 63_000})
		g, _ = w.take(wanted(10, big))
		w.leases(g, wire.Lease{Units: 11, LifeMillis: 3000, Left: 364, ResetMillis: 63_000})
		w.granted(364, big)
	},
	"a renewal takes what is there, and is not refused": func(w *world) {
		renew := func(limits ...ledger.Limit) ledger.Grant {
			w.last++
			return w.commit(ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: w.last, Limits: limits}}})[0]
		}
		w.leases(renew(wanted(10, named("few", rate(5, minute))), rate(1000, minute)))
		w.leases(renew(wanted(100, named("a", rate(0, minute))), wanted(100, rate(1000, minute))),
			wire.Lease{Limit: 1, Units: 100, LifeMillis: 3000, Left: 900, ResetMillis: 63_000})
		w.leases(renew(wanted(10_000, rate(1000, minute))), wire.Lease{Units: 225, LifeMillis: 3000, Left: 675, ResetMillis: 63_000})
	},
	"a quota admits its amount in each period, and no lease outlives it": func(w *world) {
		q := w.quota(300, time.Hour)
		w.clock.Advance(time.Hour - 5*time.Second)
		g, id := w.take(wanted(50, q))
		w.leases(g, wire.Lease{Units: 51, LifeMillis: 5000, Left: 249, ResetMillis: 5000})
		w.granted(249, q)
		w.refused(wire.Exhausted{RetryMillis: 5000, Leased: true}, q)
		w.clock.Advance(5 * time.Second)
		w.granted(300, q)
		w.settle(id, g.Leases[0].Counter, 10, 4000)
		w.refused(wire.Exhausted{RetryMillis: 3_600_000}, q)
		if c := w.state(300, 0, 0); c.Period != 1 {
			w.t.Errorf("period %d, want 1", c.Period)
		}
	},
	"a quota for life has one counter and never comes back": func(w *world) {
		q := w.quota(2, 0)
		g, _ := w.take(q)
		w.leases(g, wire.Lease{Units: 1, LifeMillis: 2000, Left: 1, ResetMillis: -1})
		w.granted(1, q)
		w.clock.Advance(400 * 24 * time.Hour)
		w.clean()
		w.refused(wire.Exhausted{RetryMillis: -1}, q)
	},
	"a quota may begin whenever a policy says": func(w *world) {
		for _, year := range []int{1, 9999} {
			q := w.quota(1, week)
			q.StartMillis = time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC).UnixMilli()
			w.granted(1, q)
		}
	},
	"a quota before its start has periods as well": func(w *world) {
		q := w.quota(1, time.Hour)
		q.StartMillis += 90 * 60_000
		w.granted(1, q)
		w.refused(wire.Exhausted{RetryMillis: 30 * 60_000}, q)
	},
	"no lease outlives its subscription": func(w *world) {
		until := w.clock.Now().Add(time.Second)
		b := ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: 101, Waiting: true, Until: until, Limits: []ledger.Limit{rate(5, minute)}}}}
		w.leases(w.commit(b)[0], wire.Lease{Units: 1, LifeMillis: 1000, Left: 4, ResetMillis: 61_000})
		w.clock.Advance(time.Second)
		b.Takes[0].ID = 102
		if diff := cmp.Diff(&wire.Exhausted{RetryMillis: 1000}, w.commit(b)[0].Exhausted); diff != "" {
			w.t.Error(diff)
		}
		w.granted(4, rate(5, minute))
	},
	"slots are held while in flight, free when settled, and extended": func(w *world) {
		g, first := w.take(slots(2))
		w.leases(g, wire.Lease{Units: 1, LifeMillis: 30_000, Left: 1, ResetMillis: -1})
		c := g.Leases[0].Counter
		_, second := w.take(slots(2))
		w.refused(wire.Exhausted{RetryMillis: 1000, Leased: true}, slots(2))
		w.settle(second, c, 0, 20)
		w.clock.Advance(29 * time.Second)
		w.commit(ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: first, Counter: c, Extend: true}}})
		w.take(slots(2))
		w.clock.Advance(29_999 * time.Millisecond)
		w.refused(wire.Exhausted{RetryMillis: 1000, Leased: true}, slots(2))
		w.clock.Advance(time.Millisecond)
		w.state(0, 0, 2)
	},
	"slots are free when settled, whatever is said to be spent": func(w *world) {
		g, id := w.take(slots(1))
		w.settle(id, g.Leases[0].Counter, 1, 10)
		g, id = w.take(slots(1))
		w.settle(id, g.Leases[0].Counter, 0, 10)
		if g, _ := w.take(slots(1)); len(g.Leases) != 1 {
			w.t.Errorf("refused: %+v", g.Exhausted)
		}
	},
	"a slot that was freed is not held again by a late extension": func(w *world) {
		g, id := w.take(slots(1))
		c := g.Leases[0].Counter
		w.settle(id, c, 0, 10)
		w.commit(ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: id, Counter: c, Extend: true}}})
		w.state(0, 0, 1)
		g, _ = w.take(slots(1))
		w.leases(g, wire.Lease{Units: 1, LifeMillis: 30_000, ResetMillis: -1})
		w.commit(ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: id, Counter: c, Extend: true}}})
		w.state(0, 1, 0)
	},
	"what is only reported is counted and refuses nothing": func(w *world) {
		l := reported(rate(2, minute))
		for i := range 5 {
			g, id := w.take(l)
			if len(g.Leases) != 1 || g.Leases[0].LifeMillis != 15_000 || g.Leases[0].Left != int64(1-i) {
				w.t.Fatalf("take %d: %+v, %+v", i, g.Leases, g.Exhausted)
			}
			w.settle(id, g.Leases[0].Counter, 1, 0)
		}
		w.state(5, 0, -3)
		w.granted(0, rate(2, minute))
	},
	"bytes and rows are charged after the fact, and may be overdrawn": func(w *world) {
		l := in(wire.UnitBytes, w.quota(1000, week))
		g, id := w.take(l)
		w.leases(g, wire.Lease{Units: 1, LifeMillis: 15_000, Left: 999, ResetMillis: week.Milliseconds()})
		w.settle(id, g.Leases[0].Counter, 5000, 10)
		w.state(5000, 0, -4000)
		w.refused(wire.Exhausted{RetryMillis: week.Milliseconds()}, l)
		r := in(wire.UnitRows, rate(10, minute))
		g, id = w.take(r)
		w.settle(id, g.Leases[0].Counter, 5, 0)
		w.clock.Advance(time.Second)
		g, id = w.take(r)
		w.settle(id, g.Leases[0].Counter, 25, 0)
		// Even without the first five it is full: when the others have left the window.
		w.refused(wire.Exhausted{RetryMillis: 60_001}, r)
	},
	"another kind, unit, window or start is another counter, another amount is not": func(w *world) {
		w.granted(1, rate(1, minute))
		w.granted(1, rate(1, 2*minute))
		w.granted(1, in(wire.UnitRows, rate(1, minute)))
		w.granted(0, rate(1, minute))
		w.granted(2, rate(3, minute))
		q := w.quota(1, time.Minute)
		q.Name = "minute"
		w.granted(1, q)
		q.StartMillis--
		w.granted(1, q)
		key := rate(1, minute)
		key.Key = "subscription:8"
		w.granted(1, key)
	},
	"a bad batch does not spoil what others ask for": func(w *world) {
		good := ledger.Batch{Worker: "vm1", Takes: []ledger.Take{{ID: 1, Waiting: true, Limits: []ledger.Limit{rate(5, minute)}}}}
		twice := []ledger.Limit{rate(5, minute), rate(6, minute)}
		unit := in("apples", rate(5, minute))
		long := rate(5, minute)
		long.Key = strings.Repeat("k", 2000)
		zero := rate(5, minute)
		zero.Key = "a\x00b"
		batches := []ledger.Batch{good}
		for _, limits := range [][]ledger.Limit{twice, {unit}, {long}, {zero}, {rate(-1, minute)}, {rate(1, 0)}, {w.quota(1, -minute)}, {named("", rate(1, minute))}} {
			batches = append(batches, ledger.Batch{Worker: "vm2", Takes: []ledger.Take{{ID: 1, Waiting: true, Limits: limits}}})
		}
		batches = append(batches, ledger.Batch{}, ledger.Batch{Worker: "vm2", Takes: []ledger.Take{{}}})
		for i, r := range w.l.Commit(context.Background(), batches) {
			if bad := i > 0; bad != errors.Is(r.Err, ledger.ErrInvalid) || bad == (len(r.Grants) == 1) {
				w.t.Errorf("batch %d: %+v, %v", i, r.Grants, r.Err)
			}
		}
	},
}
