// Package memory keeps a ledger's rows in memory, for tests and simulations: they run the
// very code of package ledger, a million steps in seconds, with a clock of their own. It is
// of no use to a gateway, which must not forget.
package memory

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/tollgate/tollgate/sidecar/ledger"
)

// Storage implements ledger.Storage. It may be shared by several ledgers: a transaction is
// alone. Nothing in it depends on anything but what was asked, in its order.
type Storage struct {
	clock func() ledger.Reading

	mu          sync.Mutex
	meta        ledger.Meta
	steps       []ledger.Step
	names       map[ledger.Name]int64
	counters    map[int64]*counter
	calls       map[ledger.Call][]*ledger.Charge
	tombs       map[ledger.Call]int64
	events      []ledger.Event
	adjustments []ledger.Adjustment
	last        int64 // id
	undo        []func()
}

type counter struct {
	row     ledger.Row
	charges []*ledger.Charge
}

// New makes a storage whose clock is read for each transaction.
func New(clock func() ledger.Reading) *Storage {
	return &Storage{clock: clock, names: map[ledger.Name]int64{}, counters: map[int64]*counter{}, calls: map[ledger.Call][]*ledger.Charge{},
		tombs: map[ledger.Call]int64{}}
}

// Transact implements ledger.Storage.
func (s *Storage) Transact(ctx context.Context, f func(ledger.Rows) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	s.undo = s.undo[:0]
	err := f(rows{s})
	if err != nil {
		for _, undo := range slices.Backward(s.undo) {
			undo()
		}
	}
	return err
}

// View implements ledger.Storage.
func (s *Storage) View(ctx context.Context, f func(ledger.Rows) error) error {
	return s.Transact(ctx, f)
}

// before keeps a value as it is, for when the transaction fails.
func before[T any](s *Storage, p *T) {
	old := *p
	s.undo = append(s.undo, func() { *p = old })
}

// put sets a map's entry.
func put[K comparable, V any](s *Storage, m map[K]V, k K, v V) {
	keep(s, m, k)
	m[k] = v
}

// drop deletes a map's entry.
func drop[K comparable, V any](s *Storage, m map[K]V, k K) {
	keep(s, m, k)
	delete(m, k)
}

func keep[K comparable, V any](s *Storage, m map[K]V, k K) {
	old, ok := m[k]
	s.undo = append(s.undo, func() {
		if delete(m, k); ok {
			m[k] = old
		}
	})
}

// rows are the rows within one transaction. Slices that were there before are not changed
// in place.
type rows struct{ *Storage }

// Now implements ledger.Clockwork.
func (r rows) Now() (ledger.Reading, error) { return r.clock(), nil }

// Latest implements ledger.Clockwork.
func (r rows) Latest() (t int64, err error) {
	for _, c := range r.counters {
		t = max(t, c.row.T)
	}
	return t, nil
}

// Meta implements ledger.Clockwork.
func (r rows) Meta() (ledger.Meta, error) { return r.meta, nil }

// PutMeta implements ledger.Clockwork.
func (r rows) PutMeta(m ledger.Meta) error {
	before(r.Storage, &r.meta)
	r.meta = m
	return nil
}

// Steps implements ledger.Clockwork.
func (r rows) Steps() ([]ledger.Step, error) { return slices.Clone(r.steps), nil }

// PutStep implements ledger.Clockwork.
func (r rows) PutStep(s ledger.Step) (ledger.Step, error) {
	before(r.Storage, &r.steps)
	s.ID = r.id()
	r.steps = append(slices.Clone(r.steps), s)
	return s, nil
}

// DropSteps implements ledger.Clockwork.
func (r rows) DropSteps(gone []ledger.Step) error {
	before(r.Storage, &r.steps)
	r.steps = slices.DeleteFunc(slices.Clone(r.steps), func(s ledger.Step) bool { return slices.Contains(gone, s) })
	return nil
}

func (r rows) id() int64 {
	before(r.Storage, &r.last)
	r.last++
	return r.last
}

// Counters implements ledger.Records.
func (r rows) Counters(f ledger.Filter, after int64) (found []ledger.Row, err error) {
	for _, c := range r.counters {
		if (f.All || c.row.Subscription == f.Subscription) && c.row.Ends > after {
			found = append(found, c.row)
		}
	}
	slices.SortFunc(found, func(a, b ledger.Row) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(len(found), f.Max)], nil
}

// Count implements ledger.Records.
func (r rows) Count(after int64) (n int, err error) {
	for _, c := range r.counters {
		if c.row.Ends > after {
			n++
		}
	}
	return n, nil
}

// PutEvents implements ledger.Records.
func (r rows) PutEvents(events []ledger.Event) error {
	before(r.Storage, &r.events)
	r.events = append(r.events, events...)
	return nil
}

// Events implements ledger.Records.
func (r rows) Events(f ledger.Filter) (found []ledger.Event, err error) {
	for _, e := range slices.Backward(r.events) {
		if len(found) < f.Max && (f.All || e.Subscription == f.Subscription) {
			found = append(found, e)
		}
	}
	return found, nil
}

// PutAdjustments implements ledger.Records.
func (r rows) PutAdjustments(adjustments []ledger.Adjustment) error {
	before(r.Storage, &r.adjustments)
	r.adjustments = append(r.adjustments, adjustments...)
	return nil
}

// Adjustments implements ledger.Records.
func (r rows) Adjustments(f ledger.Filter) (found []ledger.Adjustment, err error) {
	for _, a := range slices.Backward(r.adjustments) {
		if len(found) < f.Max && (f.All || a.Subscription == f.Subscription) {
			found = append(found, a)
		}
	}
	return found, nil
}
