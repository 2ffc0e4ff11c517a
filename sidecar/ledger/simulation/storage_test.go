package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/ledger/memory"
)

// storage is the one storage of a world. It forgets nothing that is durable.
type storage struct {
	*world
	inner *memory.Storage
	dry   bool // nothing gets durable: a mutant
	units map[chargeKey]int64
}

type chargeKey struct {
	ledger.Call
	counter int64
}

func newStorage(w *world) *storage {
	s := &storage{world: w, units: map[chargeKey]int64{}}
	s.inner = memory.New(func() ledger.Reading { panic("the clock is each sidecar's") })
	return s
}

// last is the latest ledger time that was used on a counter.
func (s *storage) last() (t int64) {
	_ = s.inner.View(context.Background(), func(rows ledger.Rows) error {
		counters, err := rows.Counters(ledger.Filter{All: true, Max: math.MaxInt}, math.MinInt64)
		for _, c := range counters {
			t = max(t, c.T)
		}
		return err
	})
	return t
}

// held is how many units a worker holds in open leases.
func (s *storage) held(vm string) (units int64) {
	_ = s.inner.View(context.Background(), func(rows ledger.Rows) error {
		counters, err := rows.Counters(ledger.Filter{All: true, Max: math.MaxInt}, math.MinInt64)
		if err != nil {
			return err
		}
		for _, c := range counters {
			charges, err := rows.Oldest(c.ID, math.MinInt64, math.MaxInt)
			if err != nil {
				return err
			}
			for _, charge := range charges {
				if charge.Worker == vm && charge.Open {
					units += charge.Units
				}
			}
		}
		return nil
	})
	return units
}

// of is the storage as one sidecar has it.
func (s *storage) of(c *sidecar) ledger.Storage { return &connection{s, c} }

type connection struct {
	*storage
	sidecar *sidecar
}

var (
	errBroken = errors.New("the connection broke")
	errUndone = errors.New("undone")
)

// Transact implements ledger.Storage.
func (c *connection) Transact(ctx context.Context, f func(ledger.Rows) error) error {
	broken := c.fault(c.Faults.Storage) && !c.sidecar.guards
	durable := !broken || c.happens(0.5)
	if c.dry || c.mutant == commitLost && c.happens(0.2) {
		durable = false
	}
	if c.fault(c.Faults.Storage) {
		_ = c.once(ctx, f, false) // it is run again
	}
	err := c.once(ctx, f, durable)
	if errors.Is(err, errUndone) {
		err = nil
	}
	if err == nil && broken {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, errBroken)
	}
	return err
}

func (c *connection) once(ctx context.Context, f func(ledger.Rows) error, durable bool) error {
	t := &transaction{connection: c}
	err := c.inner.Transact(ctx, func(rows ledger.Rows) error {
		t.Rows = rows
		if err := f(t); err != nil {
			return err
		}
		if !durable {
			return errUndone
		}
		return t.refundAgain()
	})
	if err == nil {
		t.observe()
	}
	return err
}

// View implements ledger.Storage.
func (c *connection) View(ctx context.Context, f func(ledger.Rows) error) error {
	return c.inner.View(ctx, func(rows ledger.Rows) error { return f(&transaction{connection: c, Rows: rows}) })
}

// transaction is the rows of a ledger, with the true time. Mutants change what it says.
type transaction struct {
	ledger.Rows
	*connection
	locked  map[int64]ledger.Row
	put     []ledger.Charge
	read    time.Duration // when the clock was read
	t       int64         // what it showed
	repeats []ledger.Charge
}

// Now implements ledger.Clockwork. Transactions may stand still before and after it.
func (t *transaction) Now() (ledger.Reading, error) {
	t.pause()
	r := t.server.reading(t.sidecar)
	t.read, t.t = t.now, r.T
	t.pause()
	return r, nil
}

func (t *transaction) pause() {
	if t.fault(t.Faults.Pause) {
		t.now += t.between(0, time.Duration([]int64{5, 50, 1500}[t.chance.IntN(3)])*time.Millisecond)
	}
}

// Lock implements ledger.Charges.
func (t *transaction) Lock(ids []int64) ([]ledger.Row, error) {
	rows, err := t.Rows.Lock(ids)
	if t.locked == nil {
		t.locked = make(map[int64]ledger.Row, len(rows))
	}
	for _, row := range rows {
		t.locked[row.ID] = row
	}
	return rows, err
}

// Of implements ledger.Charges.
func (t *transaction) Of(calls []ledger.Call) ([]ledger.Charge, error) {
	charges, err := t.Rows.Of(calls)
	if t.mutant == refundUnchecked {
		for _, c := range charges {
			if !c.Open {
				t.repeats = append(t.repeats, c)
			}
		}
	}
	return charges, err
}

// PutCharges implements ledger.Charges.
func (t *transaction) PutCharges(charges []ledger.Charge) error {
	if t.mutant == chargingAtGrant {
		for i := range charges {
			if c := &charges[i]; c.Open && t.locked[c.Counter].Kind == wire.KindRate {
				c.Slot = c.Granted
			}
		}
	}
	t.put = append(t.put, charges...)
	return t.Rows.PutCharges(charges)
}

// Usage implements ledger.Charges. Two mutants do not count slots of the future.
func (t *transaction) Usage(windows []ledger.Window) ([]ledger.Usage, error) {
	usage, err := t.Rows.Usage(windows)
	for i, w := range windows {
		row := t.locked[w.Counter]
		if err != nil || row.Kind != wire.KindRate {
			continue
		}
		var until int64
		switch t.mutant {
		case countingToNow:
			until = t.t
		case countingToSlot:
			until = t.t + min(t.sidecar.cut, 2000)
			if row.Amount > wire.PermitMax {
				until = t.t + min(t.sidecar.cut, max(row.WindowMillis/20, 1000), 15_000)
			}
		default:
			return usage, nil
		}
		charges, err := t.Oldest(w.Counter, w.After, math.MaxInt)
		if err != nil {
			return nil, err
		}
		for _, c := range charges {
			if c.Slot > until {
				usage[i].Units -= c.Units
			}
		}
	}
	return usage, err
}

// refundAgain is a mutant: what a settlement gave back is given back with each of its copies.
func (t *transaction) refundAgain() error {
	for _, c := range t.repeats {
		row := t.locked[c.Counter]
		refund := t.units[chargeKey{c.Call, c.Counter}] - c.Units
		switch {
		case refund <= 0:
		case row.Kind == wire.KindRate:
			c.Units = max(0, c.Units-refund)
			if err := t.Rows.PutCharges([]ledger.Charge{c}); err != nil {
				return err
			}
		case row.Kind == wire.KindQuota:
			rows, err := t.Rows.Lock([]int64{c.Counter})
			if err != nil || len(rows) == 0 {
				return err
			}
			rows[0].Used = max(0, rows[0].Used-refund)
			if err := t.PutCounters(rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// observe tells the oracle what is durable now.
func (t *transaction) observe() {
	for _, c := range t.put {
		if c.Worker == "" {
			continue
		}
		row := t.locked[c.Counter]
		switch {
		case row.Kind == wire.KindConcurrency:
			t.oracle.slot(row.Name, c, t.read)
		case row.Kind == wire.KindQuota && c.Open:
			t.oracle.leased(row.Name, t.read)
		}
		if t.mutant == refundUnchecked && c.Open {
			t.units[chargeKey{c.Call, c.Counter}] = c.Units
		}
	}
}
