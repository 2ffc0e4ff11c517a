package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// readers is how many connections read beside the one that writes.
const readers = 4

// keepPrepared bounds the statements that a connection keeps; more texts than that are a
// mistake, and then all are forgotten and prepared anew.
const keepPrepared = 512

// sqliteEngine has a session that writes and some that read. database/sql would do as much, at
// three times the cost for a small statement: a session stays on one connection, keeps what
// it has prepared there, and has no goroutine that watches each statement.
type sqliteEngine struct {
	write, read *sql.DB
	writer      chan *session
	readers     chan *session
	busy        time.Duration
	lock        *os.File // nil when only reading
	closed      chan struct{}
}

func openSQLite(ctx context.Context, c Config) (_ *sqliteEngine, name string, err error) {
	path, err := prepare(c.Source, c.New)
	if err != nil {
		return nil, c.Source, err
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, path, err
	}
	e := &sqliteEngine{lock: lock, busy: c.Busy, closed: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.write, err = open(path, c.Busy, url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}); err != nil {
		return nil, path, err
	}
	e.write.SetMaxOpenConns(1)
	if err := migrateSQLite(ctx, e.write); err != nil {
		return nil, path, err
	}
	e.writer = sessions(e.write, 1, "BEGIN IMMEDIATE")
	if e.read, err = open(path, c.Busy, url.Values{"_pragma": {"query_only(1)"}}); err != nil {
		return nil, path, err
	}
	e.readers = sessions(e.read, readers, "BEGIN")
	return e, path, nil
}

// readSQLite opens an existing file for reading alone.
func readSQLite(c Config) (_ *sqliteEngine, name string, err error) {
	path, err := filepath.Abs(c.Source)
	if err != nil {
		return nil, c.Source, err
	}
	f, err := os.Open(path) // SQLite's own message does not say what is wrong
	if err != nil {
		return nil, path, err
	}
	if err := f.Close(); err != nil {
		return nil, path, err
	}
	e := &sqliteEngine{busy: c.Busy, closed: make(chan struct{})}
	if e.read, err = open(path, c.Busy, url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)"}}); err != nil {
		return nil, path, err
	}
	e.readers = sessions(e.read, readers, "BEGIN")
	return e, path, nil
}

func open(path string, busy time.Duration, q url.Values) (*sql.DB, error) {
	q.Set("_busy_timeout", fmt.Sprint(busy.Milliseconds()))
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return sql.Open("sqlite", dsn.String())
}

// prepare makes path absolute and sees to it that the file exists for its owner alone
// before SQLite opens it: SQLite gives the log beside it the same mode. A backup is left as
// it is.
func prepare(path string, fresh bool) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved // the lock stands beside the file itself, not beside a link to it
	}
	flags := os.O_RDWR | os.O_CREATE
	if fresh {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	switch {
	case fresh && errors.Is(err, fs.ErrExist):
		return "", fmt.Errorf("%w: %w", ErrOccupied, err)
	case err != nil:
		return "", err
	case isBackup(f):
		f.Close()
		return "", errors.New("it is a backup: tollgate restore makes a store of it")
	}
	return path, errors.Join(f.Chmod(0o600), f.Close())
}

func sessions(db *sql.DB, n int, begin string) chan *session {
	pool := make(chan *session, n)
	for range n {
		pool <- &session{db: db, beginning: begin}
	}
	return pool
}

func (e *sqliteEngine) begin(ctx context.Context, write bool) (transaction, error) {
	pool := e.readers
	if write {
		pool = e.writer
	}
	s, err := take(ctx, pool, e.closed, e.busy)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		pool <- s
		return nil, err
	}
	return &sqliteTx{session: s, pool: pool}, nil
}

// close ends every session that comes free in time, and leaves the rest to their pools.
func (e *sqliteEngine) close() error {
	close(e.closed)
	for _, pool := range []chan *session{e.readers, e.writer} {
		drain(pool, e.busy, (*session).drop)
	}
	var errs []error
	for _, db := range []*sql.DB{e.read, e.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	// The lock ends with its file; the name stays, so that no other process can hold a
	// lock on a file of the same name that is already unlinked.
	if e.lock != nil {
		errs = append(errs, e.lock.Close())
	}
	return errors.Join(errs...)
}

// session is a connection and what was prepared on it. One goroutine has it at a time.
type session struct {
	db        *sql.DB
	beginning string    // the statement that begins its transactions
	conn      *sql.Conn // nil before the first transaction, and after a broken one
	prepared  map[string]*sql.Stmt
}

// start begins a transaction. A session whose connection is in doubt gets another one.
func (s *session) start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.conn == nil {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.prepared = conn, map[string]*sql.Stmt{}
	}
	return s.run(s.beginning)
}

// run executes a statement without arguments, whatever happens to anybody's context.
func (s *session) run(statement string) error {
	stmt, err := s.stmt(context.Background(), statement) //nolint:sqlclosecheck // the session keeps it
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.Background())
	return err
}

func (s *session) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := s.prepared[query]; ok {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(s.prepared) >= keepPrepared {
		for _, old := range s.prepared {
			_ = old.Close() // only memory hangs on it
		}
		clear(s.prepared)
	}
	s.prepared[query] = stmt
	return stmt, nil
}

// undo rolls back. Some failures have made SQLite do so before; where it is not certain
// that no transaction is left, the connection goes.
func (s *session) undo() {
	if s.run("ROLLBACK") != nil {
		s.drop()
	}
}

func (s *session) drop() {
	if s.conn == nil {
		return
	}
	for _, stmt := range s.prepared { // database/sql does not, and SQLite's connection would live on
		_ = stmt.Close()
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn }) // closes it instead of keeping it
	_ = s.conn.Close()
	s.conn, s.prepared = nil, nil
}

// sqliteTx is a transaction on a session, which returns to its pool with the end.
type sqliteTx struct {
	*session
	pool chan *session
}

// Statements of SQLite are short, and waiting for its locks is bounded: a context is looked
// at between them. To watch it during each would cost as much as the statement.
func (t *sqliteTx) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stmt, err := t.stmt(context.Background(), query) //nolint:sqlclosecheck // the session keeps it
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(context.Background(), args...)
}

func (t *sqliteTx) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stmt, err := t.stmt(context.Background(), query) //nolint:sqlclosecheck // the session keeps it
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.Background(), args...)
}

func (t *sqliteTx) queryRow(ctx context.Context, query string, args []any) *sql.Row {
	if ctx.Err() == nil {
		if stmt, err := t.stmt(context.Background(), query); err == nil { //nolint:sqlclosecheck // the session keeps it
			return stmt.QueryRowContext(context.Background(), args...)
		}
	}
	return t.conn.QueryRowContext(ctx, query, args...) // whose row holds the error
}

func (t *sqliteTx) commit() error {
	err := t.run("COMMIT")
	if err != nil {
		t.undo()
	}
	t.pool <- t.session
	return err
}

func (t *sqliteTx) rollback() {
	t.undo()
	t.pool <- t.session
}

func (t *sqliteTx) explain(err error) error { return err }
