// Package store keeps what must outlive the sidecar: subscriptions and the digests of their
// keys, who owns which resource, and why requests were denied. It decides nothing about a
// request, and no key, backend secret or body ever reaches its file.
//
// Storage is SQLite in WAL mode with synchronous=FULL: what a call has returned survives a
// crash of the machine. One process at a time writes to a store, which a lock beside the
// file ensures.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is how many connections read beside the one that writes.
const readers = 4

// pepperSize is the length of a store's pepper in bytes.
const pepperSize = 32

// Options are the parts of a store that tests change.
type Options struct {
	// Now is the clock; time.Now unless given.
	Now func() time.Time
	// Busy is how long a statement waits for a lock that another program holds on the
	// file; 2 s unless given.
	Busy time.Duration
	// Keep is how many denials and decisions are kept each; KeepDenials unless given.
	Keep int
}

// Store is an open store. Its methods may be called from several goroutines.
type Store struct {
	write, read *sql.DB
	lock        *os.File
	now         func() time.Time
	keep        int
	id          string
	pepper      []byte
}

// Open opens the store at path, creating it (mode 0600, in a folder of mode 0700 where that
// is missing) and bringing its tables up to date. It fails with *InUseError while another
// process has it open.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Busy == 0 {
		o.Busy = 2 * time.Second
	}
	if o.Keep == 0 {
		o.Keep = KeepDenials
	}
	path, err := prepare(path)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{lock: lock, now: o.Now, keep: o.Keep}
	if err := s.connect(ctx, path, o.Busy); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

// Close gives the store up. Calls after it fail.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	// The lock ends with its file; the name stays, so that no other process can hold a
	// lock on a file of the same name that is already unlinked.
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// ID names this store: 128 random bits in hexadecimal, made when it was created.
func (s *Store) ID() string { return s.id }

// Pepper keys the HMAC of the key table: 32 random bytes, made when the store was created.
func (s *Store) Pepper() []byte { return s.pepper }

func (s *Store) connect(ctx context.Context, path string, busy time.Duration) (err error) {
	if s.write, err = open(path, busy, url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	s.read, err = open(path, busy, url.Values{"_pragma": {"query_only(1)"}})
	if err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return nil
}

// identify reads the store's identity, giving it one when it is new.
func (s *Store) identify(ctx context.Context) error {
	return s.transact(ctx, "identifying", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT store, pepper FROM meta`).Scan(&s.id, &s.pepper)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		random := make([]byte, 16+pepperSize)
		rand.Read(random) // never fails: crypto/rand ends the process instead
		s.id, s.pepper = hex.EncodeToString(random[:16]), random[16:]
		_, err = tx.ExecContext(ctx, `INSERT INTO meta (one, store, number, fingerprint, pepper) VALUES (1, ?, 0, ?, ?)`,
			s.id, []byte{}, s.pepper)
		return err
	})
}

// transact runs f in one transaction, which is durable once transact returns nil.
func (s *Store) transact(ctx context.Context, doing string, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer tx.Rollback() // a no-op after Commit
	if err := f(tx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

func open(path string, busy time.Duration, q url.Values) (*sql.DB, error) {
	q.Set("_busy_timeout", fmt.Sprint(busy.Milliseconds()))
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return sql.Open("sqlite", dsn.String())
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	sources := p.ListSources()
	if known := sources[len(sources)-1].Version; has > known {
		return fmt.Errorf("migrating: the store has version %d, which a later tollgate made; this one knows %d", has, known)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}

// prepare makes path absolute and sees to it that the file exists for its owner alone
// before SQLite opens it: SQLite gives the log beside it the same mode.
func prepare(path string) (string, error) {
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
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	return path, errors.Join(f.Chmod(0o600), f.Close())
}
