package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// sqlStorage keeps a ledger in the tables limit_* of a database.
type sqlStorage struct {
	db *database.DB
	o  Options
	// origin, on SQLite, is the ledger time at which Options.Monotonic was 0. The file has
	// one process, so its ledger time begins with the wall clock, or where it was when
	// that is later, and goes on by the process's own count.
	origin int64
}

func openSQL(ctx context.Context, db *database.DB, o Options) (*sqlStorage, error) {
	s := &sqlStorage{db: db, o: o}
	if db.Dialect() == database.PostgreSQL {
		return s, nil
	}
	err := db.View(ctx, "reading the last ledger time", func(tx *database.Tx) error {
		var last int64
		if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(t), 0) FROM limit_counter`).Scan(&last); err != nil {
			return err
		}
		s.origin = max(o.Now().UnixMilli(), last) - o.Monotonic().Milliseconds()
		return nil
	})
	return s, err
}

// Transact implements Storage.
func (s *sqlStorage) Transact(ctx context.Context, f func(Rows) error) error {
	return explain(s.db.Transact(ctx, "using the ledger", s.with(ctx, f)))
}

// View implements Storage.
func (s *sqlStorage) View(ctx context.Context, f func(Rows) error) error {
	return explain(s.db.View(ctx, "reading the ledger", s.with(ctx, f)))
}

func (s *sqlStorage) with(ctx context.Context, f func(Rows) error) func(*database.Tx) error {
	return func(tx *database.Tx) error { return f(&sqlRows{sqlStorage: s, ctx: ctx, tx: tx}) }
}

// explain adds ErrUnavailable where the database's state is the cause.
func explain(err error) error {
	if err == nil || !database.Unavailable(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// sqlRows are the rows within one transaction.
type sqlRows struct {
	*sqlStorage
	ctx context.Context
	tx  *database.Tx
}

// Now implements Clockwork. PostgreSQL's timeline is that of the log it writes to at this
// moment, in the name of its file.
func (r *sqlRows) Now() (Reading, error) {
	if r.db.Dialect() == database.SQLite {
		t := r.origin + r.o.Monotonic().Milliseconds()
		return Reading{T: t, Ahead: r.o.Now().UnixMilli() - t, Timeline: "1"}, nil
	}
	reading := Reading{Shared: true}
	err := r.tx.QueryRow(r.ctx, `SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`).
		Scan(&reading.T, &reading.Timeline)
	if r.o.Server != nil {
		reading.T = r.o.Server(time.UnixMilli(reading.T)).UnixMilli()
	}
	return reading, err
}

// Latest implements Clockwork.
func (r *sqlRows) Latest() (t int64, err error) {
	err = r.tx.QueryRow(r.ctx, `SELECT COALESCE(MAX(t), 0) FROM limit_counter`).Scan(&t)
	return t, err
}

// Meta implements Clockwork.
func (r *sqlRows) Meta() (m Meta, err error) {
	var resets int64
	err = r.tx.QueryRow(r.ctx, `SELECT t, beat, ahead, timeline, resets FROM limit_meta`+r.db.Dialect().ForUpdate()).
		Scan(&m.T, &m.Beat, &m.Ahead, &m.Timeline, &resets)
	m.Resets = uint64(resets)
	return m, err
}

// PutMeta implements Clockwork.
func (r *sqlRows) PutMeta(m Meta) error {
	return r.exec(`UPDATE limit_meta SET t = ?, beat = ?, ahead = ?, timeline = ?, resets = ?`, m.T, m.Beat, m.Ahead, m.Timeline, int64(m.Resets))
}

// Steps implements Clockwork.
func (r *sqlRows) Steps() ([]Step, error) {
	return query(r, func(row scanner) (s Step, err error) {
		return s, row.Scan(&s.ID, &s.Before, &s.After, &s.High, &s.Lost)
	}, `SELECT id, before_ms, after_ms, high_ms, lost FROM limit_step ORDER BY id`)
}

// PutStep implements Clockwork.
func (r *sqlRows) PutStep(s Step) (Step, error) {
	err := r.tx.QueryRow(r.ctx, `INSERT INTO limit_step (before_ms, after_ms, high_ms, lost) VALUES (?, ?, ?, ?) RETURNING id`, s.Before, s.After, s.High, s.Lost).Scan(&s.ID)
	return s, err
}

// DropSteps implements Clockwork.
func (r *sqlRows) DropSteps(steps []Step) error {
	return each(steps, 1, func(part []Step) error { return r.exec(`DELETE FROM limit_step WHERE id = ?`, part[0].ID) })
}

func (r *sqlRows) exec(statement string, args ...any) error {
	_, err := r.tx.Exec(r.ctx, statement, args...)
	return err
}

// scanner is a row to be read.
type scanner interface{ Scan(...any) error }

// query reads all rows of a statement.
func query[T any](r *sqlRows, scan func(scanner) (T, error), statement string, args ...any) (list []T, err error) {
	rows, err := r.tx.Query(r.ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}
