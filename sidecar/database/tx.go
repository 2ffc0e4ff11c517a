package database

import (
	"context"
	"database/sql"
)

// Tx is a transaction. Statements have ? for their arguments in both dialects (a ? within
// quotes is itself), and come one at a time: rows are closed before the next one. Each text
// is prepared once per connection, so there should be few of them.
type Tx struct {
	transaction
	failed error // of the first statement that failed; no other follows it
}

// transaction is what a dialect makes of a Tx. It ends with commit or rollback.
type transaction interface {
	exec(ctx context.Context, query string, args []any) (sql.Result, error)
	query(ctx context.Context, query string, args []any) (*sql.Rows, error)
	queryRow(ctx context.Context, query string, args []any) *sql.Row
	// commit leaves nothing behind, also when it fails.
	commit() error
	rollback()
	// explain adds to an error of a statement what only the transaction knows.
	explain(error) error
}

// Exec runs a statement that returns no rows. LastInsertId works on SQLite alone; both
// dialects have RETURNING.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if tx.failed != nil {
		return nil, tx.failed
	}
	r, err := tx.exec(ctx, query, args)
	tx.failed = err
	return r, err
}

// Query runs a statement that returns rows; they have to be closed.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if tx.failed != nil {
		return nil, tx.failed
	}
	rows, err := tx.query(ctx, query, args)
	tx.failed = err
	return rows, err
}

// QueryRow runs a statement that returns at most one row that matters. The row has to be
// scanned; sql.ErrNoRows then is no failed statement.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if tx.failed != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel() // there is no other way to make a Row that only fails
	}
	row := tx.queryRow(ctx, query, args)
	if tx.failed == nil {
		tx.failed = row.Err()
	}
	return row
}
