package ledger

import (
	"strconv"

	"github.com/tollgate/tollgate/sidecar/audit"
)

// Counters implements Records.
func (r *sqlRows) Counters(f Filter, after int64) ([]Row, error) {
	return query(r, scanRow, `SELECT `+rowColumns+` FROM limit_counter WHERE (? OR subscription = ?) AND ends > ? ORDER BY id LIMIT ?`,
		f.All, int64(f.Subscription), after, f.Max)
}

// Count implements Records.
func (r *sqlRows) Count(after int64) (n int, err error) {
	err = r.tx.QueryRow(r.ctx, `SELECT COUNT(*) FROM limit_counter WHERE ends > ?`, after).Scan(&n)
	return n, err
}

// PutEvents implements Records.
func (r *sqlRows) PutEvents(events []Event) error {
	return each(events, 1, func(part []Event) error {
		e := &part[0]
		l := &e.Limit
		return r.exec(`INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.Time.UnixMilli(), e.Counter, int64(e.Subscription), l.Name, l.Key, string(l.Kind),
			string(l.Unit), l.Amount, l.WindowMillis, l.StartMillis, l.SuccessOnly, l.ReportOnly, e.Percent, e.Used)
	})
}

// Events implements Records.
func (r *sqlRows) Events(f Filter) ([]Event, error) {
	return query(r, func(s scanner) (e Event, err error) {
		var t, subscription int64
		l := &e.Limit
		err = s.Scan(&t, &e.Counter, &subscription, &l.Name, &l.Key, &l.Kind, &l.Unit, &l.Amount, &l.WindowMillis, &l.StartMillis, &l.SuccessOnly,
			&l.ReportOnly, &e.Percent, &e.Used)
		e.Time, e.Subscription = utc(t), uint32(subscription)
		return e, err
	}, `SELECT t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used
		FROM limit_event WHERE (? OR subscription = ?) ORDER BY id DESC LIMIT ?`, f.All, int64(f.Subscription), f.Max)
}

// PutAdjustments implements Records. What is adjusted is audited with it, by the machine's
// wall clock, as of the origin that the context names.
func (r *sqlRows) PutAdjustments(adjustments []Adjustment) error {
	entries := make([]audit.Entry, len(adjustments))
	for i, a := range adjustments {
		if err := r.exec(`INSERT INTO limit_adjustment (t, actor, action, counter, subscription, units, before_state, after_state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			a.Time.UnixMilli(), a.Actor, a.Action, a.Counter, int64(a.Subscription), a.Units, a.Before, a.After); err != nil {
			return err
		}
		entries[i] = audit.Entry{Time: r.o.Now(), Actor: a.Actor, Origin: audit.Origin(r.ctx), Action: a.Action, Kind: "limit",
			Name: strconv.FormatInt(a.Counter, 10), Before: a.Before, After: a.After}
	}
	return audit.Append(r.ctx, r.tx, r.db.Dialect(), entries)
}

// Adjustments implements Records.
func (r *sqlRows) Adjustments(f Filter) ([]Adjustment, error) {
	return query(r, func(s scanner) (a Adjustment, err error) {
		var t, subscription int64
		err = s.Scan(&t, &a.Actor, &a.Action, &a.Counter, &subscription, &a.Units, &a.Before, &a.After)
		a.Time, a.Subscription = utc(t), uint32(subscription)
		return a, err
	}, `SELECT t, actor, action, counter, subscription, units, before_state, after_state FROM limit_adjustment
		WHERE (? OR subscription = ?) ORDER BY id DESC LIMIT ?`, f.All, int64(f.Subscription), f.Max)
}
