package ledger

import (
	"strings"

	"github.com/tollgate/tollgate/sidecar/database"
)

// parts are the numbers of rows that one statement takes: few, so that there are few texts
// to prepare.
var parts = [...]int{64, 8, 1}

// each calls f with parts of a list, none longer than longest.
func each[T any](list []T, longest int, f func([]T) error) error {
	for _, n := range parts {
		for n <= longest && len(list) >= n {
			if err := f(list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return nil
}

// texts has each text of a statement, by the number of rows in parts.
type texts [len(parts)]string

// repeated makes the texts of a statement with head, n times row, and tail.
func repeated(head, row, tail string) (t texts) {
	for i, n := range parts {
		t[i] = head + strings.Repeat(", "+row, n)[2:] + tail
	}
	return t
}

func (t *texts) of(n int) string {
	for i := range parts {
		if parts[i] == n {
			return t[i]
		}
	}
	panic("no such number of rows")
}

const rowColumns = `id, name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, used, raised, warned80, warned95, warned100, ends`

const chargeColumns = `worker, take, counter, slot, units, granted, open, overdraft, until`

var (
	lockRows    = repeated(`SELECT `+rowColumns+` FROM limit_counter WHERE id IN (`, `?`, `) ORDER BY id`)
	lockShared  = repeated(`SELECT `+rowColumns+` FROM limit_counter WHERE id IN (`, `?`, `) ORDER BY id FOR UPDATE`)
	chargesOf   = repeated(`SELECT `+chargeColumns+` FROM limit_charge WHERE (worker, take) IN (VALUES `, `(CAST(? AS TEXT), CAST(? AS BIGINT))`, `)`)
	buriedOf    = repeated(`SELECT worker, take FROM limit_tomb WHERE (worker, take) IN (VALUES `, `(CAST(? AS TEXT), CAST(? AS BIGINT))`, `)`)
	bury        = repeated(`INSERT INTO limit_tomb (worker, take, t) VALUES `, `(?, ?, ?)`, ` ON CONFLICT (worker, take) DO NOTHING`)
	putCharges  = repeated(`INSERT INTO limit_charge (`+chargeColumns+`) VALUES `, `(?, ?, ?, ?, ?, ?, ?, ?, ?)`, ` ON CONFLICT (worker, take, counter) DO UPDATE SET slot = excluded.slot, units = excluded.units, open = excluded.open, until = excluded.until`)
	dropCharges = repeated(`DELETE FROM limit_charge WHERE (worker, take, counter) IN (VALUES `, `(CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT))`, `) AND until <= CAST(? AS BIGINT)`)
	putRows     = repeated(`UPDATE limit_counter SET subscription = v.column2, amount = v.column3, success_only = v.column4, report_only = v.column5, t = v.column6,
		used = v.column7, raised = v.column8, warned80 = v.column9, warned95 = v.column10, warned100 = v.column11, ends = v.column12 FROM (VALUES `,
		`(CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BOOLEAN), CAST(? AS BOOLEAN), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))`,
		`) AS v WHERE limit_counter.id = v.column1`)
	// The sums are of one index alone, limit_charge_usage.
	usageOf = repeated(`SELECT v.column1, COALESCE(CAST(SUM(c.units) AS BIGINT), 0), COALESCE(CAST(SUM(CASE WHEN c.open THEN c.units ELSE 0 END) AS BIGINT), 0),
		COUNT(CASE WHEN c.open AND c.slot > v.column3 THEN 1 END), COALESCE(CAST(SUM(CASE WHEN c.open AND c.slot > v.column3 THEN c.units ELSE 0 END) AS BIGINT), 0), COUNT(c.slot), COALESCE(MIN(c.slot), 0)
		FROM (VALUES `, `(CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))`, `) AS v
		LEFT JOIN limit_charge c ON c.counter = v.column1 AND c.slot > v.column2 AND c.units > 0 GROUP BY v.column1`)
)

// Find implements Charges.
func (r *sqlRows) Find(rows []Row) ([]int64, error) {
	ids := make([]int64, 0, len(rows))
	for i := range rows {
		c := &rows[i]
		if err := r.exec(`INSERT INTO limit_counter (name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, ends)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name, counter_key, kind, unit, window_ms, start_ms, period) DO NOTHING`,
			c.Name.Name, c.Key, string(c.Kind), string(c.Unit), c.WindowMillis, c.StartMillis, c.Period, int64(c.Subscription), c.Amount,
			c.SuccessOnly, c.ReportOnly, c.T, c.Ends); err != nil {
			return nil, err
		}
		var id int64
		if err := r.tx.QueryRow(r.ctx, `SELECT id FROM limit_counter
			WHERE name = ? AND counter_key = ? AND kind = ? AND unit = ? AND window_ms = ? AND start_ms = ? AND period = ?`,
			c.Name.Name, c.Key, string(c.Kind), string(c.Unit), c.WindowMillis, c.StartMillis, c.Period).Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Lock implements Charges.
func (r *sqlRows) Lock(ids []int64) (found []Row, err error) {
	texts := &lockRows
	if r.db.Dialect() == database.PostgreSQL {
		texts = &lockShared
	}
	err = each(ids, parts[0], func(part []int64) error {
		args := make([]any, len(part))
		for i, id := range part {
			args[i] = id
		}
		list, err := query(r, scanRow, texts.of(len(part)), args...)
		found = append(found, list...)
		return err
	})
	return found, err
}

func scanRow(s scanner) (c Row, err error) {
	var subscription int64
	err = s.Scan(&c.ID, &c.Name.Name, &c.Key, &c.Kind, &c.Unit, &c.WindowMillis, &c.StartMillis, &c.Period, &subscription, &c.Amount, &c.SuccessOnly,
		&c.ReportOnly, &c.T, &c.Used, &c.Raised, &c.Warned[0], &c.Warned[1], &c.Warned[2], &c.Ends)
	c.Subscription = uint32(subscription)
	return c, err
}

// PutCounters implements Charges.
func (r *sqlRows) PutCounters(rows []Row) error {
	return each(rows, parts[0], func(part []Row) error {
		args := make([]any, 0, 12*len(part))
		for i := range part {
			c := &part[i]
			args = append(args, c.ID, int64(c.Subscription), c.Amount, c.SuccessOnly, c.ReportOnly, c.T, c.Used, c.Raised, c.Warned[0], c.Warned[1], c.Warned[2], c.Ends)
		}
		return r.exec(putRows.of(len(part)), args...)
	})
}

// Of implements Charges.
func (r *sqlRows) Of(calls []Call) (found []Charge, err error) {
	err = each(calls, parts[0], func(part []Call) error {
		list, err := query(r, scanCharge, chargesOf.of(len(part)), named(part)...)
		found = append(found, list...)
		return err
	})
	return found, err
}

func named(calls []Call) []any {
	args := make([]any, 0, 2*len(calls))
	for _, c := range calls {
		args = append(args, c.Worker, int64(c.Take))
	}
	return args
}

func scanCharge(s scanner) (c Charge, err error) {
	var take int64
	err = s.Scan(&c.Worker, &take, &c.Counter, &c.Slot, &c.Units, &c.Granted, &c.Open, &c.Overdraft, &c.Until)
	c.Take = uint64(take)
	return c, err
}

// PutCharges implements Charges.
func (r *sqlRows) PutCharges(charges []Charge) error {
	return each(charges, parts[0], func(part []Charge) error {
		args := make([]any, 0, 9*len(part))
		for i := range part {
			c := &part[i]
			args = append(args, c.Worker, int64(c.Take), c.Counter, c.Slot, c.Units, c.Granted, c.Open, c.Overdraft, c.Until)
		}
		return r.exec(putCharges.of(len(part)), args...)
	})
}

// Usage implements Charges.
func (r *sqlRows) Usage(windows []Window) ([]Usage, error) {
	found := make(map[int64]Usage, len(windows))
	err := each(windows, parts[0], func(part []Window) error {
		args := make([]any, 0, 3*len(part))
		for _, w := range part {
			args = append(args, w.Counter, w.After, w.Live)
		}
		_, err := query(r, func(s scanner) (struct{}, error) {
			var id int64
			var u Usage
			err := s.Scan(&id, &u.Units, &u.OpenUnits, &u.Live, &u.LiveUnits, &u.Rows, &u.Oldest)
			found[id] = u
			return struct{}{}, err
		}, usageOf.of(len(part)), args...)
		return err
	})
	usage := make([]Usage, len(windows))
	for i, w := range windows {
		usage[i] = found[w.Counter]
	}
	return usage, err
}

// Oldest implements Charges.
func (r *sqlRows) Oldest(counter, after int64, most int) ([]Charge, error) {
	return query(r, scanCharge, `SELECT `+chargeColumns+` FROM limit_charge WHERE counter = ? AND slot > ? AND units > 0 ORDER BY slot, worker, take LIMIT ?`,
		counter, after, most)
}

// Forget implements Charges.
func (r *sqlRows) Forget(counter int64) error {
	return r.exec(`UPDATE limit_charge SET units = 0 WHERE counter = ? AND units > 0 AND NOT open`, counter)
}

// Bury implements Charges.
func (r *sqlRows) Bury(calls []Call, now int64) error {
	return each(calls, parts[0], func(part []Call) error {
		args := make([]any, 0, 3*len(part))
		for _, c := range part {
			args = append(args, c.Worker, int64(c.Take), now)
		}
		return r.exec(bury.of(len(part)), args...)
	})
}

// Buried implements Charges.
func (r *sqlRows) Buried(calls []Call) (found []Call, err error) {
	err = each(calls, parts[0], func(part []Call) error {
		list, err := query(r, func(s scanner) (c Call, err error) {
			var take int64
			err = s.Scan(&c.Worker, &take)
			c.Take = uint64(take)
			return c, err
		}, buriedOf.of(len(part)), named(part)...)
		found = append(found, list...)
		return err
	})
	return found, err
}

// Overdue implements Charges.
func (r *sqlRows) Overdue(until int64, most int) ([]Charge, error) {
	return query(r, scanCharge, `SELECT `+chargeColumns+` FROM limit_charge WHERE until <= ? ORDER BY until LIMIT ?`, until, most)
}

// DropCharges implements Charges.
func (r *sqlRows) DropCharges(charges []Charge, until int64) error {
	return each(charges, parts[0], func(part []Charge) error {
		args := make([]any, 0, 3*len(part)+1)
		for i := range part {
			args = append(args, part[i].Worker, int64(part[i].Take), part[i].Counter)
		}
		return r.exec(dropCharges.of(len(part)), append(args, until)...)
	})
}

// DropIdle implements Charges. Counters are gone through by id: an index by what is idle would
// have to be written with each lease.
func (r *sqlRows) DropIdle(s Sweep) (done Swept, err error) {
	for _, d := range []struct {
		statement string
		before    int64
	}{
		{`DELETE FROM limit_tomb WHERE (worker, take) IN (SELECT worker, take FROM limit_tomb WHERE t <= ? ORDER BY t LIMIT ?)`, s.Tombs},
		{`DELETE FROM limit_event WHERE id IN (SELECT id FROM limit_event WHERE t <= ? ORDER BY t LIMIT ?)`, s.Records},
		{`DELETE FROM limit_event WHERE id IN (SELECT id FROM limit_event WHERE id <= (SELECT MAX(id) FROM limit_event) - ? ORDER BY id LIMIT ?)`, MaxRecords},
		{`DELETE FROM limit_adjustment WHERE id IN (SELECT id FROM limit_adjustment WHERE id <= (SELECT MAX(id) FROM limit_adjustment) - ? ORDER BY id LIMIT ?)`, MaxRecords},
	} {
		result, err := r.tx.Exec(r.ctx, d.statement, d.before, s.Max)
		if err != nil {
			return done, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return done, err
		}
		done.More = done.More || n >= int64(s.Max)
	}
	err = r.tx.QueryRow(r.ctx, `SELECT COALESCE(MAX(id), ?) FROM (SELECT id FROM limit_counter WHERE id > ? ORDER BY id LIMIT ?) AS looked`,
		s.After, s.After, s.Max).Scan(&done.Last)
	if err != nil || done.Last == s.After {
		return done, err
	}
	done.Counters, err = query(r, func(s scanner) (id int64, err error) { return id, s.Scan(&id) },
		`DELETE FROM limit_counter WHERE id > ? AND id <= ? AND t <= ? AND (kind <> 'quota' AND t + window_ms <= ? OR kind = 'quota' AND ends <= ?) RETURNING id`,
		s.After, done.Last, s.Before, s.Before, s.Before)
	return done, err
}
