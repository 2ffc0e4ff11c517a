package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// Counters lists counters, with what they are at now: those of quotas whose period is over
// are not among them.
func (l *Ledger) Counters(ctx context.Context, f Filter) (counters []Counter, err error) {
	err = l.storage.View(ctx, func(rows Rows) error {
		c, t, err := l.look(rows)
		if err != nil {
			return err
		}
		found, err := rows.Counters(f.bounded(), t)
		if err != nil {
			return err
		}
		counters, err = l.states(rows, &c, found, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the counters: %w", err)
	}
	return counters, nil
}

func (f Filter) bounded() Filter {
	if f.Max <= 0 {
		f.Max = 1000
	}
	return f
}

// states is what counters are at at clock time t.
func (l *Ledger) states(rows Rows, c *clock, found []Row, t int64) ([]Counter, error) {
	windows := make([]Window, len(found))
	for i := range found {
		windows[i] = c.window(&found[i], t)
	}
	usage, err := rows.Usage(windows)
	if err != nil {
		return nil, err
	}
	counters := make([]Counter, len(found))
	for i := range found {
		row, u := &found[i], usage[i]
		n := Counter{ID: row.ID, Subscription: row.Subscription, Limit: row.limit(), Period: row.Period,
			Used: row.Used + u.Units - u.LiveUnits, Leased: u.LiveUnits, Raised: row.Raised}
		n.Left = row.Amount + row.Raised - n.Used - n.Leased
		if n.Used+n.Leased > 0 {
			n.Reset = l.resetOf(row, windows[i], u, t)
		}
		counters[i] = n
	}
	return counters, nil
}

// resetOf is Counter.Reset, by the machine's wall clock.
func (l *Ledger) resetOf(row *Row, w Window, u Usage, t int64) time.Time {
	in := int64(-1)
	switch {
	case row.Kind == wire.KindQuota && row.Ends != Forever:
		in = row.Ends - t
	case row.Kind == wire.KindRate && u.Rows > 0:
		in = u.Oldest - w.After
	}
	if in < 0 {
		return time.Time{}
	}
	return l.o.Now().Add(time.Duration(in) * time.Millisecond).UTC().Truncate(time.Millisecond)
}

// Reset forgets what is known to be spent of counters; what is out in open leases goes on to
// count, and its events come again. It is all of them or, with an error that wraps ErrInvalid when one is not there,
// none.
func (l *Ledger) Reset(ctx context.Context, actor string, ids []int64) ([]Adjustment, error) {
	done, err := l.adjust(ctx, ids, func(rows Rows, row *Row, _ Counter, _ int64) (Adjustment, error) {
		row.Used, row.Warned = 0, [len(percents)]int64{}
		return Adjustment{Actor: actor, Action: "limit.reset"}, rows.Forget(row.ID)
	})
	if err != nil {
		return nil, fmt.Errorf("resetting: %w", err)
	}
	return done, nil
}

// Raise adds units to the amount of a quota, in the period that its counter is of. Events of
// what is no longer reached come again. An error
// wraps ErrInvalid when the counter is not there or no quota's, when its period is over, and
// when units is not above 0.
func (l *Ledger) Raise(ctx context.Context, actor string, id, units int64) (Adjustment, error) {
	done, err := l.adjust(ctx, []int64{id}, func(_ Rows, row *Row, c Counter, t int64) (Adjustment, error) {
		switch {
		case row.Kind != wire.KindQuota:
			return Adjustment{}, fmt.Errorf("%w: counter %d is of a %s: only a quota can be raised", ErrInvalid, id, row.Kind)
		case row.Ends <= t:
			return Adjustment{}, fmt.Errorf("%w: the period of counter %d is over", ErrInvalid, id)
		case units < 1 || units > maxAmount || row.Raised > maxAmount-units:
			return Adjustment{}, fmt.Errorf("%w: a raise by %d", ErrInvalid, units)
		}
		row.Raised += units
		for i, percent := range percents {
			if !row.reaches(row.spent(c.Used-row.Used+c.Leased, c.Leased), percent) {
				row.Warned[i] = 0
			}
		}
		return Adjustment{Actor: actor, Action: "limit.raise", Units: units}, nil
	})
	if err != nil {
		return Adjustment{}, fmt.Errorf("raising: %w", err)
	}
	return done[0], nil
}

// changing changes a counter at clock time t; c is its state before.
type changing func(rows Rows, row *Row, c Counter, t int64) (Adjustment, error)

// adjust changes counters, audits it and moves Resets, in one transaction.
func (l *Ledger) adjust(ctx context.Context, ids []int64, change changing) (done []Adjustment, err error) {
	if len(ids) == 0 || len(ids) > maxSettlements {
		return nil, fmt.Errorf("%w: %d counters", ErrInvalid, len(ids))
	}
	var resets uint64
	err = l.storage.Transact(ctx, func(rows Rows) error {
		a := adjustment{l: l, rows: rows}
		if err := a.run(ids, change); err != nil {
			return err
		}
		done, resets = a.done, a.meta.Resets
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.turn.Lock()
	l.resets.Store(resets)
	l.announced = resets
	l.turn.Unlock()
	if l.o.OnReset != nil {
		l.o.OnReset()
	}
	return done, nil
}

// adjustment is one transaction of adjust.
type adjustment struct {
	l    *Ledger
	rows Rows
	meta Meta
	done []Adjustment
}

func (a *adjustment) run(ids []int64, change changing) error {
	found, err := a.rows.Lock(sorted(ids))
	if err != nil {
		return err
	}
	if len(found) != len(sorted(ids)) {
		return fmt.Errorf("%w: %d of these counters are not there", ErrInvalid, len(sorted(ids))-len(found))
	}
	c, t, err := a.l.look(a.rows)
	if err != nil {
		return err
	}
	before, err := a.l.states(a.rows, &c, found, t)
	if err != nil {
		return err
	}
	for i := range found {
		one, err := change(a.rows, &found[i], before[i], t)
		if err != nil {
			return err
		}
		one.Time, one.Counter, one.Subscription = utc(t), found[i].ID, found[i].Subscription
		a.done = append(a.done, one)
	}
	if err := a.rows.PutCounters(found); err != nil {
		return err
	}
	after, err := a.l.states(a.rows, &c, found, t)
	if err != nil {
		return err
	}
	for i := range a.done {
		a.done[i].Before, a.done[i].After = before[i].brief(), after[i].brief()
	}
	if a.meta, err = a.rows.Meta(); err != nil {
		return err
	}
	a.meta.Resets++
	if err := a.rows.PutMeta(a.meta); err != nil {
		return err
	}
	return a.rows.PutAdjustments(a.done)
}

// State is what a counter held when it was adjusted, as Adjustment.Before and After have it
// in JSON.
type State struct {
	Limit  string `json:"limit"`
	Key    string `json:"key"`
	Period int64  `json:"period"`
	Amount int64  `json:"amount"`
	Raised int64  `json:"raised"`
	Used   int64  `json:"used"`
	Leased int64  `json:"leased"`
	Left   int64  `json:"left"`
}

// brief is a counter's state as audited.
func (c *Counter) brief() string {
	text, err := json.Marshal(State{c.Limit.Name, c.Limit.Key, c.Period, c.Limit.Amount, c.Raised, c.Used, c.Leased, c.Left})
	if err != nil {
		return "" // text and numbers are always JSON
	}
	return string(text)
}

// Adjustments lists what was adjusted, the newest first.
func (l *Ledger) Adjustments(ctx context.Context, f Filter) (list []Adjustment, err error) {
	err = l.storage.View(ctx, func(rows Rows) error {
		list, err = rows.Adjustments(f.bounded())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the adjustments: %w", err)
	}
	return list, nil
}

// Events lists events, the newest first.
func (l *Ledger) Events(ctx context.Context, f Filter) (list []Event, err error) {
	err = l.storage.View(ctx, func(rows Rows) error {
		list, err = rows.Events(f.bounded())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the events: %w", err)
	}
	return list, nil
}

func sorted(ids []int64) []int64 {
	unique := slices.Clone(ids)
	slices.Sort(unique)
	return slices.Compact(unique)
}
