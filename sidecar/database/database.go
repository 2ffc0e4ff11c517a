// Package database opens what the sidecar keeps its truth in, a SQLite file or a PostgreSQL
// server, brings its tables up to date, and gives both one API. It knows no table: package
// store and package ledger do.
//
// What Transact has returned nil for survives a crash of the machine. SQLite runs in WAL
// mode with synchronous=FULL and has one process at a time, which a lock beside the file
// ensures; PostgreSQL is shared by several sidecars.
package database

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Dialect is the SQL that a database speaks.
type Dialect string

// The dialects.
const (
	SQLite     Dialect = "sqlite"
	PostgreSQL Dialect = "postgres"
)

// ForUpdate is what a SELECT ends with that reads rows in order to change them: on
// PostgreSQL it waits for, and then sees, what other transactions did to them. A write
// transaction of SQLite is alone anyway.
func (d Dialect) ForUpdate() string {
	if d == PostgreSQL {
		return " FOR UPDATE"
	}
	return ""
}

// Config says which database to open.
type Config struct {
	// Source is the path of a SQLite file, or a postgres:// or postgresql:// URL. What
	// such a URL leaves out comes from PGHOST, PGUSER, PGPASSWORD, PGPASSFILE and so on;
	// ?host=/folder is the folder of a Unix socket.
	Source string
	// Busy is how long a statement waits for a lock, and a transaction for a connection;
	// 2 s unless given. A statement of PostgreSQL may take twice as long.
	Busy time.Duration
	// ReadOnly opens for View alone, also while a sidecar has the SQLite file. Nothing is
	// created or brought up to date.
	ReadOnly bool
	// New refuses a PostgreSQL database with anything in it (ErrOccupied), and a SQLite
	// file that exists.
	New bool
}

// ErrOccupied is wrapped when a database that was to be new holds something.
var ErrOccupied = errors.New("there is something in it already")

// DB is an open database. Its methods may be called from several goroutines.
type DB struct {
	dialect Dialect
	name    string
	config  Config // as it was opened
	engine  engine
	close   func() error
}

// engine is a dialect's way to a transaction.
type engine interface {
	begin(ctx context.Context, write bool) (transaction, error)
	close() error
}

// attempts is how often a transaction is tried that PostgreSQL ended in favour of another.
const attempts = 5

// Open opens a database. A SQLite file that is missing is created (mode 0600, in a folder of
// mode 0700 where that is missing), and *InUseError says that another process has it open.
// No error holds a password.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Busy == 0 {
		c.Busy = 2 * time.Second
	}
	db := &DB{dialect: SQLite, name: Redacted(c.Source), config: c}
	var err error
	switch {
	case isPostgres(c.Source):
		db.dialect = PostgreSQL
		db.engine, err = openPostgres(ctx, c)
	case strings.Contains(c.Source, "://"):
		return nil, errors.New("opening the store: it is the path of a SQLite file or a postgres:// URL, and no other URL")
	case c.ReadOnly:
		db.engine, db.name, err = readSQLite(c)
	default:
		db.engine, db.name, err = openSQLite(ctx, c)
	}
	var inUse *InUseError
	switch {
	case errors.As(err, &inUse): // which names the store itself
		return nil, fmt.Errorf("opening the store: %w", err)
	case err != nil:
		return nil, fmt.Errorf("opening the store %s: %w", db.name, err)
	}
	db.close = sync.OnceValue(db.engine.close)
	if c.ReadOnly {
		if err := db.checkVersion(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("opening the store %s: %w", db.name, err), db.Close())
		}
	}
	return db, nil
}

// Dialect is the SQL that this database speaks.
func (db *DB) Dialect() Dialect { return db.dialect }

// String names the database for people: its path, or its URL without a password.
func (db *DB) String() string { return db.name }

// Close waits a while for the transactions that run and gives the database up. Calls after
// it fail.
func (db *DB) Close() error {
	if err := db.close(); err != nil {
		return fmt.Errorf("closing the store %s: %w", db.name, err)
	}
	return nil
}

// Transact runs f in one write transaction, which is durable once Transact returns nil. On
// SQLite it is alone; on PostgreSQL it is READ COMMITTED, so rows that f reads in order to
// change them are read with ForUpdate.
//
// f may run more than once, so whatever it sets outside it sets anew each time. A statement
// that failed fails the whole transaction, even when f goes on. After an error nothing was
// changed, but for the one case that the connection broke while PostgreSQL committed: then
// nobody knows. The error is wrapped as "doing: ..."; see Unavailable.
func (db *DB) Transact(ctx context.Context, doing string, f func(*Tx) error) error {
	if db.config.ReadOnly {
		return fmt.Errorf("%s: the store %s was opened for reading", doing, db.name)
	}
	return db.repeat(ctx, doing, true, f)
}

// View runs f in one transaction that sees one state of the database and changes nothing.
// Otherwise it is like Transact.
func (db *DB) View(ctx context.Context, doing string, f func(*Tx) error) error {
	return db.repeat(ctx, doing, false, f)
}

func (db *DB) repeat(ctx context.Context, doing string, write bool, f func(*Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := db.try(ctx, write, f)
		if err == nil {
			return nil
		}
		if attempt == attempts || !lostRace(err) {
			return fmt.Errorf("%s: %w", doing, err)
		}
		pause := time.NewTimer(rand.N(time.Duration(attempt) * 10 * time.Millisecond))
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%s: %w", doing, errors.Join(ctx.Err(), err))
		case <-pause.C:
		}
	}
}

func (db *DB) try(ctx context.Context, write bool, f func(*Tx) error) error {
	t, err := db.engine.begin(ctx, write)
	if err != nil {
		return err
	}
	finished := false
	defer func() {
		if !finished { // f failed or panicked
			t.rollback()
		}
	}()
	tx := &Tx{transaction: t}
	err = f(tx)
	if tx.failed != nil && !errors.Is(err, tx.failed) {
		err = tx.failed // what f made of it, or overlooked
	}
	if err != nil {
		return t.explain(err)
	}
	finished = true
	return t.commit()
}
