// Package conformance is what every storage of a ledger has to pass: memory, SQLite and
// PostgreSQL, with the very same tests. Each is named by what must hold.
package conformance

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// Setup opens a ledger on one storage, which is new for each test and the same for each call
// within it: a restart, or a second sidecar.
type Setup func(c *Clock, o ledger.Options) *ledger.Ledger

// Clock is a machine's clocks, set by hand.
type Clock struct {
	mu    sync.Mutex
	wall  time.Time
	mono  time.Duration
	start int64
}

// NewClock makes a clock that shows the same time each time.
func NewClock() *Clock {
	start := time.UnixMilli(1_800_000_000_000).UTC()
	return &Clock{wall: start, mono: time.Hour, start: start.UnixMilli()}
}

// Now is the wall clock, Monotonic what has passed, Start where the wall clock began.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Monotonic is the time that has passed, which no Step changes.
func (c *Clock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono
}

// Start is what the wall clock showed at first, in Unix milliseconds.
func (c *Clock) Start() int64 { return c.start }

// Advance lets time pass.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

// Step changes the wall clock, while no time passes.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// Options are those of a ledger that goes by this clock.
func (c *Clock) Options() ledger.Options {
	return ledger.Options{Log: slog.New(slog.DiscardHandler), Now: c.Now, Monotonic: c.Monotonic, Server: func(time.Time) time.Time { return c.Now() }}
}

// Run runs all tests.
func Run(t *testing.T, open func(*testing.T) Setup) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			w := &world{t: t, clock: NewClock(), open: open(t), worker: "vm1"}
			o := w.clock.Options()
			o.OnEvent = func(e ledger.Event) { w.events = append(w.events, e) }
			o.OnReset = func() { w.resets++ }
			w.l = w.open(w.clock, o)
			test(w)
		})
	}
}

// world is a ledger under test and the worker that asks it.
type world struct {
	t      *testing.T
	clock  *Clock
	open   Setup
	l      *ledger.Ledger
	worker string
	last   uint64
	events []ledger.Event
	resets int
}

func (w *world) commit(b ledger.Batch) []ledger.Grant {
	w.t.Helper()
	r := w.l.Commit(context.Background(), []ledger.Batch{b})
	if r[0].Err != nil {
		w.t.Fatalf("committing: %v", r[0].Err)
	}
	return r[0].Grants
}

// take asks with a request that waits, and returns the take's id.
func (w *world) take(limits ...ledger.Limit) (ledger.Grant, uint64) {
	w.t.Helper()
	w.last++
	g := w.commit(ledger.Batch{Worker: w.worker, Takes: []ledger.Take{{ID: w.last, Waiting: true, Subscription: 7, Limits: limits}}})
	return g[0], w.last
}

// spend takes one unit and settles it at once; it says whether there was one.
func (w *world) spend(limits ...ledger.Limit) bool {
	w.t.Helper()
	g, id := w.take(limits...)
	for _, l := range g.Leases {
		w.settle(id, l.Counter, 1, 0)
	}
	return g.Exhausted == nil
}

func (w *world) settle(take uint64, counter, spent, age int64) {
	w.t.Helper()
	w.commit(ledger.Batch{Worker: w.worker, Settlements: []wire.Settlement{{Take: take, Counter: counter, Spent: spent, AgeMillis: age}}})
}

func (w *world) abandon(takes ...uint64) {
	w.t.Helper()
	w.commit(ledger.Batch{Worker: w.worker, Abandoned: takes})
}

// granted fails unless so many takes of one unit in a row are granted, and no more.
func (w *world) granted(want int, limits ...ledger.Limit) {
	w.t.Helper()
	if got := w.many(want+1, limits...); got != want {
		w.t.Fatalf("%d requests pass (or more), want %d", got, want)
	}
}

// spends fails unless so many takes of one unit in a row are granted.
func (w *world) spends(n int, limits ...ledger.Limit) {
	w.t.Helper()
	if got := w.many(n, limits...); got != n {
		w.t.Fatalf("%d of %d requests pass", got, n)
	}
}

// many takes one unit n times, in one message, and settles what was granted in another. It
// returns how many were granted.
func (w *world) many(n int, limits ...ledger.Limit) (granted int) {
	w.t.Helper()
	for n > 0 {
		b, settle := ledger.Batch{Worker: w.worker}, ledger.Batch{Worker: w.worker}
		for range min(n, 256) {
			w.last++
			b.Takes = append(b.Takes, ledger.Take{ID: w.last, Waiting: true, Subscription: 7, Limits: limits})
		}
		for i, g := range w.commit(b) {
			for _, l := range g.Leases {
				settle.Settlements = append(settle.Settlements, wire.Settlement{Take: b.Takes[i].ID, Counter: l.Counter, Spent: 1})
			}
			if g.Exhausted == nil {
				granted++
			}
		}
		w.commit(settle)
		n -= len(b.Takes)
	}
	return granted
}

// refused fails unless a take is refused with this.
func (w *world) refused(want wire.Exhausted, limits ...ledger.Limit) {
	w.t.Helper()
	g, _ := w.take(limits...)
	if diff := cmp.Diff(ledger.Grant{Exhausted: &want}, g); diff != "" {
		w.t.Fatalf("refusal (-want +got):\n%s", diff)
	}
}

// leases fails unless a grant has these leases, whatever their counters.
func (w *world) leases(g ledger.Grant, want ...wire.Lease) {
	w.t.Helper()
	var got []wire.Lease
	for _, l := range g.Leases {
		l.Counter = 0
		got = append(got, l)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("leases (-want +got):\n%s", diff)
	}
}

// counters is the state of all counters.
func (w *world) counters() []ledger.Counter {
	w.t.Helper()
	list, err := w.l.Counters(context.Background(), ledger.Filter{All: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// state fails unless there is one counter, with this used, leased and left.
func (w *world) state(used, leased, left int64) ledger.Counter {
	w.t.Helper()
	list := w.counters()
	if len(list) != 1 {
		w.t.Fatalf("%d counters, want 1: %+v", len(list), list)
	}
	c := list[0]
	if diff := cmp.Diff([]int64{used, leased, left}, []int64{c.Used, c.Leased, c.Left}); diff != "" {
		w.t.Fatalf("used, leased, left (-want +got):\n%s", diff)
	}
	return c
}

func (w *world) clean() {
	w.t.Helper()
	if err := w.l.Clean(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func rate(amount int64, window time.Duration) ledger.Limit {
	return ledger.Limit{Limit: wire.Limit{Name: "minute", Key: "subscription:7", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: amount,
		WindowMillis: window.Milliseconds()}}
}

// quota begins its first period where the clock begins.
func (w *world) quota(amount int64, period time.Duration) ledger.Limit {
	return ledger.Limit{Limit: wire.Limit{Name: "week", Key: "subscription:7", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: amount,
		WindowMillis: period.Milliseconds(), StartMillis: w.clock.Start()}}
}

func slots(amount int64) ledger.Limit {
	return ledger.Limit{Limit: wire.Limit{Name: "slots", Key: "subscription:7", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: amount}}
}

func held(l ledger.Limit) ledger.Limit { l.Held = true; return l }

func wanted(n int64, l ledger.Limit) ledger.Limit { l.Wanted = n; return l }

func reported(l ledger.Limit) ledger.Limit { l.ReportOnly = true; return l }

func in(u wire.LimitUnit, l ledger.Limit) ledger.Limit { l.Unit = u; return l }

func named(name string, l ledger.Limit) ledger.Limit { l.Name = name; return l }
