package ledger

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// group is a transaction that answers batches.
type group struct {
	clock // a copy
	l     *Ledger
	rows  Rows
	read  bool
	t     int64 // the clock

	batches  []Batch
	results  []Result
	names    map[Name]int64 // of the counters that are taken from
	found    map[Name]int64 // of these, those whose ids were not known
	counters map[int64]*Row
	dirty    map[int64]struct{} // counters to be written
	charges  map[Call][]Charge  // of all calls in the batches
	buried   map[Call]struct{}
	put      []Charge          // to be written
	saved    map[chargeKey]int // where in put
	usage    map[int64]*Usage
	closed   map[int64]struct{} // counters of which charges were closed
	freed    []int64            // of these, those with slots
	events   []Event
}

func newGroup(l *Ledger, rows Rows, batches []Batch) *group {
	return &group{clock: l.clock, l: l, rows: rows, batches: batches, results: make([]Result, len(batches)),
		names: map[Name]int64{}, found: map[Name]int64{}, counters: map[int64]*Row{}, dirty: map[int64]struct{}{},
		charges: map[Call][]Charge{}, saved: map[chargeKey]int{}, buried: map[Call]struct{}{}, usage: map[int64]*Usage{}, closed: map[int64]struct{}{}}
}

func (g *group) run() error {
	if err := g.lock(); err != nil {
		return err
	}
	if err := g.load(); err != nil {
		return err
	}
	g.settle()
	if err := g.flush(); err != nil {
		return err
	}
	if err := g.measure(); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(g.closed)) {
		g.warn(g.counters[id], g.spent(g.counters[id]))
	}
	for i := range g.batches {
		b := &g.batches[i]
		g.results[i].Grants = make([]Grant, len(b.Takes))
		for j := range b.Takes {
			var err error
			if g.results[i].Grants[j], err = g.take(Call{b.Worker, b.Takes[j].ID}, &b.Takes[j]); err != nil {
				return err
			}
		}
	}
	return g.write()
}

// load reads what is known of the calls.
func (g *group) load() error {
	var calls, takes []Call
	for i := range g.batches {
		b := &g.batches[i]
		for _, s := range b.Settlements {
			calls = append(calls, Call{b.Worker, s.Take})
		}
		for _, take := range b.Abandoned {
			calls = append(calls, Call{b.Worker, take})
		}
		for j := range b.Takes {
			takes = append(takes, Call{b.Worker, b.Takes[j].ID})
		}
	}
	calls = append(calls, takes...)
	if len(calls) == 0 {
		return nil
	}
	charges, err := g.rows.Of(unique(calls))
	if err != nil {
		return err
	}
	for _, c := range charges {
		g.charges[c.Call] = append(g.charges[c.Call], c)
	}
	if len(takes) == 0 {
		return nil
	}
	buried, err := g.rows.Buried(unique(takes))
	for _, c := range buried {
		g.buried[c] = struct{}{}
	}
	return err
}

func unique(calls []Call) []Call {
	slices.SortFunc(calls, Call.compare)
	return slices.Compact(calls)
}

// measure adds up what is charged to the counters.
func (g *group) measure() error {
	var windows []Window
	ids := map[int64]struct{}{}
	for _, id := range g.names {
		ids[id] = struct{}{}
	}
	for id := range g.closed {
		ids[id] = struct{}{}
	}
	for id := range ids {
		windows = append(windows, g.window(g.counters[id], g.t))
	}
	if len(windows) == 0 {
		return nil
	}
	slices.SortFunc(windows, func(a, b Window) int { return int(min(max(a.Counter-b.Counter, -1), 1)) })
	usage, err := g.rows.Usage(windows)
	if err != nil {
		return err
	}
	for i, w := range windows {
		u := usage[i]
		g.usage[w.Counter] = &u
	}
	return nil
}

// window is what counts on a counter at clock time t.
func (c *clock) window(row *Row, t int64) Window {
	now := max(t, row.T)
	w := Window{Counter: row.ID, After: math.MinInt64, Live: now - settleDelay - c.stretch(t, 0)}
	if row.Kind != wire.KindQuota {
		w.After = now - row.WindowMillis - c.stretch(t, row.WindowMillis)
	}
	return w
}

// settleDelay is how long after its life a lease may still be settled soon, in ms.
const settleDelay = 5000

// flush writes the charges that were put.
func (g *group) flush() error {
	if len(g.put) == 0 {
		return nil
	}
	put := g.put
	g.put = nil
	clear(g.saved)
	return g.rows.PutCharges(put)
}

// write writes all that is left.
func (g *group) write() error {
	if err := g.flush(); err != nil {
		return err
	}
	rows := make([]Row, 0, len(g.dirty))
	for id := range g.dirty {
		rows = append(rows, *g.counters[id])
	}
	slices.SortFunc(rows, func(a, b Row) int { return int(min(max(a.ID-b.ID, -1), 1)) })
	if len(rows) > 0 {
		if err := g.rows.PutCounters(rows); err != nil {
			return err
		}
	}
	if len(g.events) == 0 {
		return nil
	}
	return g.rows.PutEvents(g.events)
}

// now is the ledger time of a counter: never before the last one that was used on it.
func (g *group) now(row *Row) int64 { return max(g.t, row.T) }

// changed has a counter written, as of now.
func (g *group) changed(row *Row) {
	row.T = g.now(row)
	g.dirty[row.ID] = struct{}{}
}

func (g *group) time() time.Time { return time.UnixMilli(g.t).UTC() }
