package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// late is by how much a step of the clock may be taken for longer than it was: clocks are
// read between two looks at one's own.
const late = 10 * time.Millisecond

func init() {
	for name, test := range map[string]func(w *world){
		"a step forward of the clock ends no window early": func(w *world) {
			w.spends(5, rate(5, minute))
			w.clock.Step(10 * minute)
			w.granted(0, rate(5, minute))
			w.clock.Advance(minute)
			w.granted(0, rate(5, minute))
			w.clock.Advance(late)
			w.granted(5, rate(5, minute))
			w.clock.Advance(minute)
			w.granted(0, rate(5, minute))
			w.clock.Advance(2 * minute)
			w.granted(5, rate(5, minute))
		},
		"a step forward while nothing is asked is seen by the heartbeat": func(w *world) {
			w.spends(5, rate(5, minute))
			w.beat()
			w.clock.Step(10 * minute)
			w.beat()
			w.clock.Advance(30 * time.Second)
			w.beat()
			w.granted(0, rate(5, minute))
			w.clock.Advance(30*time.Second + late)
			w.granted(5, rate(5, minute))
		},
		"a step forward outlives a restart": func(w *world) {
			start := w.clock.Monotonic()
			w.spends(5, rate(5, minute))
			w.clock.Step(10 * minute)
			w.beat()
			w.restart()
			w.granted(0, rate(5, minute))
			w.clock.Advance(minute - (w.clock.Monotonic() - start))
			w.granted(0, rate(5, minute))
			w.clock.Advance(time.Second)
			w.granted(5, rate(5, minute))
		},
		"many small steps forward end no window early": func(w *world) {
			start := w.clock.Monotonic()
			w.spends(5, rate(5, minute))
			for range 59 {
				w.clock.Step(900 * time.Millisecond)
				w.clock.Advance(time.Second)
				if w.many(1, rate(5, minute)) > 0 {
					w.t.Fatalf("a request passes after %v", w.clock.Monotonic()-start)
				}
			}
		},
		"a step back of the clock admits nothing twice": func(w *world) {
			w.spends(5, rate(5, minute))
			w.clock.Step(-10 * minute)
			w.granted(0, rate(5, minute))
			w.clock.Advance(11*minute + late)
			w.granted(5, rate(5, minute))
		},
		"a step back and forth admits nothing twice": func(w *world) {
			w.spends(3, rate(5, minute))
			w.clock.Step(-10 * minute)
			w.spends(2, rate(5, minute))
			w.clock.Step(10 * minute)
			w.granted(0, rate(5, minute))
			w.clock.Step(time.Hour)
			w.granted(0, rate(5, minute))
			w.clock.Advance(minute - time.Millisecond)
			w.granted(0, rate(5, minute))
		},
		"after a step back, a counter's time does not carry over to another": func(w *world) {
			a, b := rate(100, minute), named("b", rate(5, minute))
			w.spends(1, a)
			w.clock.Step(-10 * minute)
			w.spends(5, b)
			w.granted(0, a, b) // a is 10 minutes ahead of b
			w.spends(1, a)
			w.granted(0, b)
		},
		"a step forward opens no period of a quota early": func(w *world) {
			q := w.quota(5, time.Hour)
			w.clock.Advance(30 * minute)
			w.spends(5, q)
			w.clock.Step(40 * minute)
			w.granted(0, q)
			w.clock.Advance(30*minute - time.Millisecond)
			w.granted(0, q)
			w.clock.Advance(late)
			w.granted(5, q)
		},
		"a step forward that brings a period nearer opens it after the last lease before it": func(w *world) {
			q := w.quota(300, time.Hour)
			w.clock.Advance(time.Hour - 40*time.Second)
			g, _ := w.take(wanted(50, q))
			if g.Leases[0].LifeMillis != 15_000 {
				w.t.Fatalf("%+v", g.Leases)
			}
			w.spends(249, q)
			w.clock.Step(30 * time.Second)
			w.granted(0, q)
			w.clock.Advance(10 * time.Second) // the hour is over
			w.granted(0, q)
			w.clock.Advance(5*time.Second - time.Millisecond)
			w.granted(0, q)
			w.clock.Advance(25*time.Second + late) // SQLite's time has not stepped
			w.granted(300, q)
		},
		"what is left of a period goes on after a step forward": func(w *world) {
			q := w.quota(5, time.Hour)
			w.clock.Advance(30 * minute)
			w.spends(2, q)
			w.clock.Step(40 * minute)
			w.granted(3, q)
		},
		"a step back opens no period of a quota again": func(w *world) {
			q := w.quota(5, time.Hour)
			w.spends(4, q)
			w.clock.Advance(61 * minute)
			w.spends(5, q)
			w.clock.Step(-30 * minute)
			w.granted(0, q)
			w.beat()
			w.restart()
			w.granted(0, q)
		},
		"a step of the clock frees no slot": func(w *world) {
			w.take(slots(1))
			w.clock.Step(10 * minute)
			w.refused(wire.Exhausted{RetryMillis: 1000, Leased: true}, slots(1))
			w.clock.Step(-20 * minute)
			w.refused(wire.Exhausted{RetryMillis: 1000, Leased: true}, slots(1))
		},
		"a restart forgets nothing": func(w *world) {
			g, id := w.take(rate(5, minute), w.quota(5, week))
			w.spends(3, rate(5, minute), w.quota(5, week))
			w.abandon(99)
			w.restart()
			w.granted(1, rate(5, minute), w.quota(5, week))
			for _, l := range g.Leases {
				w.settle(id, l.Counter, 0, 0)
			}
			w.granted(1, rate(5, minute), w.quota(5, week))
			w.last = 98
			g, _ = w.take(rate(5, minute))
			w.leases(g)
		},
	} {
		tests[name] = test
	}
}

func (w *world) beat() {
	w.t.Helper()
	if err := w.l.Beat(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// restart opens the ledger anew, and lets time pass until it answers.
func (w *world) restart() {
	w.t.Helper()
	w.l = w.open(w.clock, w.clock.Options())
	for range 100 {
		r := w.l.Commit(context.Background(), []ledger.Batch{{Worker: w.worker}})
		if !errors.Is(r[0].Err, ledger.ErrUnavailable) {
			return
		}
		w.clock.Advance(100 * time.Millisecond)
	}
	w.t.Fatal("the ledger does not answer after a restart")
}
