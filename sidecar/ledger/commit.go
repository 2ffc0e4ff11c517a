package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// Result is the answer to a Batch: a Grant for each of its takes, or an error; then nothing
// was granted and nothing settled.
type Result struct {
	Grants []Grant
	Err    error
	// freed is for the takes that found no slot free.
	freed []*wait
}

// Reasons to run a transaction again.
var (
	errStepped = errors.New("the clock stepped")
	errPeriod  = errors.New("a period ended meanwhile")
	errStale   = errors.New("a counter was deleted meanwhile")
)

// tries is how often a transaction is run for these reasons.
const tries = 4

// Commit answers batches in one transaction: first everything is settled, then the takes are
// answered in their order. Each batch stands for itself: one that fails does not change what
// the others get. What it returns is durable.
func (l *Ledger) Commit(ctx context.Context, batches []Batch) []Result {
	results := make([]Result, len(batches))
	var good []int
	for i := range batches {
		if err := batches[i].check(); err != nil {
			results[i].Err = err
		} else {
			good = append(good, i)
		}
	}
	l.turn.Lock()
	g, err := l.commit(ctx, pick(batches, good))
	if err != nil && len(good) > 1 && !errors.Is(err, ErrUnavailable) {
		for _, i := range good { // one of them is bad in a way that check does not know
			one, err := l.commit(ctx, batches[i:i+1])
			results[i] = l.result(one, 0, err)
		}
		good = nil
	}
	for n, i := range good {
		results[i] = l.result(g, n, err)
	}
	l.turn.Unlock()
	return results
}

func pick(batches []Batch, which []int) []Batch {
	if len(which) == len(batches) {
		return batches
	}
	some := make([]Batch, len(which))
	for n, i := range which {
		some[n] = batches[i]
	}
	return some
}

func (l *Ledger) result(g *group, n int, err error) Result {
	if err != nil {
		return Result{Err: err}
	}
	return g.results[n]
}

// commit runs a group until it is on record, and then draws the conclusions.
func (l *Ledger) commit(ctx context.Context, batches []Batch) (*group, error) {
	if len(batches) == 0 {
		return nil, nil
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	var g *group
	var err error
	for range tries {
		err = l.storage.Transact(ctx, func(rows Rows) error {
			g = newGroup(l, rows, batches)
			return g.run()
		})
		if g != nil && g.read { // a look at the clock counts, whatever became of the rest
			l.learn(g.clock)
		}
		switch {
		case err == nil:
			l.conclude(g)
			return g, nil
		case errors.Is(err, errStepped):
			if _, err := l.beat(ctx); err != nil {
				return nil, unavailable(err)
			}
		case errors.Is(err, errStale):
			clear(l.ids)
		case !errors.Is(err, errPeriod):
			return nil, fmt.Errorf("granting: %w", err)
		}
	}
	return nil, fmt.Errorf("granting: %w: %w", ErrUnavailable, err)
}

// ready sees to it that the clock is known and trusted.
func (l *Ledger) ready(ctx context.Context) error {
	if l.known && l.seen.until == 0 {
		return nil
	}
	if _, err := l.beat(ctx); err != nil {
		return unavailable(err)
	}
	if l.seen.until > 0 {
		return fmt.Errorf("granting: %w: waiting for another sidecar's look at the clock", ErrUnavailable)
	}
	return nil
}

// conclude takes over what a group that is on record has learnt.
func (l *Ledger) conclude(g *group) {
	if len(l.ids)+len(g.found) > maxIDs {
		clear(l.ids)
	}
	for name, id := range g.found {
		l.ids[name] = id
	}
	for id, u := range g.usage {
		if u.Rows > mergeAbove {
			l.busy[id] = struct{}{}
		}
	}
	l.release(g)
	if l.o.OnEvent != nil {
		for _, e := range g.events {
			l.o.OnEvent(e)
		}
	}
	for _, e := range g.events {
		l.o.Log.Info("a limit reached a part of its amount", "limit", e.Limit.Name, "subscription", e.Subscription, "percent", e.Percent, "used", e.Used)
	}
}

// maxIDs is how many counters' ids are kept in memory.
const maxIDs = 100_000

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

// lock finds and locks every counter of the batches, in the order of their ids, and then
// reads the clock.
func (g *group) lock() error {
	ids, err := g.find()
	if err != nil {
		return err
	}
	var abandoned []Call
	for i := range g.batches {
		b := &g.batches[i]
		for _, s := range b.Settlements {
			ids = append(ids, s.Counter)
		}
		for _, take := range b.Abandoned {
			abandoned = append(abandoned, Call{b.Worker, take})
		}
	}
	if abandoned = unique(abandoned); len(abandoned) > 0 {
		if err := g.rows.Bury(abandoned, g.estimate(g.l.o.Monotonic().Milliseconds())); err != nil {
			return err
		}
		charges, err := g.rows.Of(abandoned)
		if err != nil {
			return err
		}
		for _, c := range charges {
			ids = append(ids, c.Counter)
		}
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 0 {
		rows, err := g.rows.Lock(ids)
		if err != nil {
			return err
		}
		for i := range rows {
			g.counters[rows[i].ID] = &rows[i]
		}
	}
	r, err := read(g.rows, g.l.o.Monotonic)
	if err != nil {
		return err
	}
	if g.stepped(r) {
		return errStepped
	}
	g.t, g.read = g.accept(r), true
	return g.confirm()
}

// find is the ids of all counters that the takes need, making those that are missing.
func (g *group) find() (ids []int64, err error) {
	t := g.estimate(g.l.o.Monotonic().Milliseconds())
	var missing []Row
	for i := range g.batches {
		for j := range g.batches[i].Takes {
			take := &g.batches[i].Takes[j]
			for k := range take.Limits {
				limit := &take.Limits[k]
				if limit.Held {
					continue
				}
				name, left := g.name(&limit.Limit, t)
				if _, ok := g.names[name]; ok {
					continue
				}
				id, ok := g.l.ids[name]
				if g.names[name] = id; ok {
					ids = append(ids, id)
					continue
				}
				row := Row{Name: name, T: t, Ends: ends(t, left)}
				row.asked(take.Subscription, &limit.Limit)
				missing = append(missing, row)
			}
		}
	}
	if len(missing) == 0 {
		return ids, nil
	}
	slices.SortFunc(missing, func(a, b Row) int { return a.Name.compare(b.Name) })
	found, err := g.rows.Find(missing)
	if err != nil {
		return nil, err
	}
	for i, id := range found {
		g.names[missing[i].Name], g.found[missing[i].Name] = id, id
	}
	return append(ids, found...), nil
}

// confirm sees whether the counters that were locked are the right ones at this time.
func (g *group) confirm() error {
	for _, id := range g.names {
		if g.counters[id] == nil {
			return errStale
		}
	}
	for i := range g.batches {
		for j := range g.batches[i].Takes {
			for k := range g.batches[i].Takes[j].Limits {
				limit := &g.batches[i].Takes[j].Limits[k]
				if limit.Held || limit.Kind != wire.KindQuota {
					continue
				}
				name, _ := g.name(&limit.Limit, g.high)
				if _, ok := g.names[name]; !ok {
					return errPeriod
				}
			}
		}
	}
	return nil
}

// name is the counter of a limit at time t, and how long it is this one.
func (g *group) name(l *wire.Limit, t int64) (n Name, left int64) {
	n = Name{Name: l.Name, Key: l.Key, Kind: l.Kind, Unit: l.Unit}
	left = Forever
	switch l.Kind {
	case wire.KindQuota:
		n.WindowMillis, n.StartMillis = l.WindowMillis, l.StartMillis
		n.Period, left = g.period(l, t)
	case wire.KindRate:
		n.WindowMillis = l.WindowMillis
	}
	return n, left
}

// ends is t + left.
func ends(t, left int64) int64 {
	if left > math.MaxInt64-t {
		return Forever
	}
	return t + left
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
