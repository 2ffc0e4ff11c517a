package database_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

// inBoth runs a test on a new database of each dialect.
func inBoth(t *testing.T, f func(*testing.T, database.Config)) {
	t.Run("SQLite", func(t *testing.T) {
		f(t, database.Config{Source: filepath.Join(t.TempDir(), "s.db")})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		f(t, database.Config{Source: postgrestest.Shared(t).Database(t)})
	})
}

func opened(t *testing.T, c database.Config) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// run is a transaction of the given statements.
func run(ctx context.Context, db *database.DB, statements ...string) error {
	return db.Transact(ctx, "running", func(tx *database.Tx) error {
		for _, statement := range statements {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tables gives a database a table t with a row (1, 0).
func tables(t *testing.T, db *database.DB) {
	t.Helper()
	must(t, run(t.Context(), db, `CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)`, `INSERT INTO t (id, n) VALUES (1, 0)`))
}

func number(t *testing.T, db *database.DB, query string, args ...any) (n int64) {
	t.Helper()
	must(t, db.View(t.Context(), "reading", func(tx *database.Tx) error { return tx.QueryRow(t.Context(), query, args...).Scan(&n) }))
	return n
}

var errGivenUp = errors.New("given up")

func TestATransactionIsAllOrNothing(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		tables(t, db)
		ctx := t.Context()
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		add := func(tx *database.Tx) {
			if _, err := tx.Exec(ctx, `UPDATE t SET n = n + ?`, 1); err != nil {
				t.Error(err)
			}
		}
		for name, tc := range map[string]struct {
			ctx  context.Context
			f    func(*database.Tx) error
			want error
		}{
			"the function gives up": {ctx, func(tx *database.Tx) error { add(tx); return errGivenUp }, errGivenUp},
			"cancelled before":      {cancelled, func(tx *database.Tx) error { add(tx); return nil }, context.Canceled},
			"cancelled within": {ctx, func(tx *database.Tx) error {
				add(tx)
				_, err := tx.Exec(cancelled, `UPDATE t SET n = n + 1`)
				return err
			}, context.Canceled},
		} {
			if err := db.Transact(tc.ctx, "adding", tc.f); !errors.Is(err, tc.want) || !strings.HasPrefix(err.Error(), "adding: ") {
				t.Errorf("%s: %v, want %q wrapped", name, err, tc.want)
			}
			if n := number(t, db, `SELECT n FROM t`); n != 0 {
				t.Errorf("%s: something was kept: %d", name, n)
			}
		}
		must(t, db.Transact(ctx, "adding", func(tx *database.Tx) error { add(tx); return nil }))
		if n := number(t, db, `SELECT n FROM t`); n != 1 {
			t.Errorf("after a commit: %d, want 1", n)
		}
	})
}

// What a function overlooks must not be reported as done: on SQLite the rest would be
// committed, on PostgreSQL nothing.
func TestAFailedStatementFailsTheTransaction(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		tables(t, db)
		ctx := t.Context()
		for name, statement := range map[string]func(*database.Tx){
			"Exec":      func(tx *database.Tx) { _, _ = tx.Exec(ctx, `INSERT INTO t (id, n) VALUES (1, 0)`) },
			"no table":  func(tx *database.Tx) { _, _ = tx.Exec(ctx, `UPDATE nothing SET n = 0`) },
			"Query":     func(tx *database.Tx) { _, _ = tx.Query(ctx, `SELECT nothing FROM t`) }, //nolint:sqlclosecheck // there are no rows
			"QueryRow":  func(tx *database.Tx) { tx.QueryRow(ctx, `SELECT nothing FROM t`) },
			"RETURNING": func(tx *database.Tx) { tx.QueryRow(ctx, `INSERT INTO t (id, n) VALUES (1, 0) RETURNING n`) },
		} {
			err := db.Transact(ctx, "adding", func(tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE t SET n = n + 1`); err != nil {
					t.Error(err)
				}
				statement(tx)
				if _, err := tx.Exec(ctx, `UPDATE t SET n = n + 10`); err == nil {
					t.Errorf("%s: another statement followed it", name)
				}
				return nil
			})
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			if n := number(t, db, `SELECT n FROM t`); n != 0 {
				t.Errorf("%s: n = %d, want 0", name, n)
			}
		}
	})
}

func TestAPanicLeavesNothingBehind(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		tables(t, db)
		func() {
			defer func() { _ = recover() }()
			_ = db.Transact(t.Context(), "adding", func(tx *database.Tx) error {
				if _, err := tx.Exec(t.Context(), `UPDATE t SET n = n + 1`); err != nil {
					t.Error(err)
				}
				panic("mistake")
			})
		}()
		must(t, run(t.Context(), db, `UPDATE t SET n = n + 10`))
		if n := number(t, db, `SELECT n FROM t`); n != 10 {
			t.Errorf("n = %d, want 10", n)
		}
	})
}

func TestAViewChangesNothingAndSeesOneState(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		tables(t, db)
		ctx := t.Context()
		if err := db.View(ctx, "reading", func(tx *database.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE t SET n = 1`)
			return err
		}); err == nil {
			t.Error("a view wrote")
		}
		var before, after int64
		must(t, db.View(ctx, "reading", func(tx *database.Tx) error {
			if err := tx.QueryRow(ctx, `SELECT n FROM t`).Scan(&before); err != nil {
				return err
			}
			if err := run(ctx, db, `UPDATE t SET n = n + 1`); err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT n FROM t`).Scan(&after)
		}))
		if before != after {
			t.Errorf("within one view n was %d, then %d", before, after)
		}
	})
}

func TestPlaceholders(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		ctx := t.Context()
		for query, want := range map[string]string{
			`SELECT CAST(? AS TEXT) || CAST(? AS TEXT)`:                                      "ab",
			`SELECT '?' || CAST(? AS TEXT) || 'it''s?' || CAST(? AS TEXT)`:                   "?ait's?b",
			`SELECT CAST(? AS TEXT) || "x?" FROM (SELECT CAST(? AS TEXT) "x?") AS y`:         "ab",
			"SELECT -- what? it's\n CAST(? AS TEXT) /* isn't it? */ || CAST(? AS TEXT) -- ?": "ab",
			`SELECT CAST(? AS TEXT) || CAST(? AS TEXT) -- ''`:                                "ab",
		} {
			for range 2 { // the second time prepared
				var got string
				err := db.View(ctx, "reading", func(tx *database.Tx) error { return tx.QueryRow(ctx, query, "a", "b").Scan(&got) })
				if err != nil || got != want {
					t.Errorf("%s: %q, %v, want %q", query, got, err, want)
				}
			}
		}
	})
}

// More texts than a connection keeps are slow, not wrong.
func TestManyTexts(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		ctx := t.Context()
		must(t, db.Transact(ctx, "reading", func(tx *database.Tx) error {
			for i := range 1500 {
				var got int64
				if err := tx.QueryRow(ctx, fmt.Sprintf(`SELECT CAST(? AS BIGINT) + %d`, i), int64(1)).Scan(&got); err != nil || got != int64(i)+1 {
					return fmt.Errorf("text %d: %d, %w", i, got, err)
				}
			}
			return nil
		}))
	})
}

func TestWritersTakeTurns(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		const writers, each = 8, 25
		c.Busy = time.Minute
		db := opened(t, c)
		tables(t, db)
		ctx := t.Context()
		var running sync.WaitGroup
		for range writers {
			running.Go(func() {
				for range each {
					if err := db.Transact(ctx, "adding", func(tx *database.Tx) error {
						var n int64
						if err := tx.QueryRow(ctx, `SELECT n FROM t WHERE id = ?`+db.Dialect().ForUpdate(), int64(1)).Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec(ctx, `UPDATE t SET n = ? WHERE id = ?`, n+1, int64(1))
						return err
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		if n := number(t, db, `SELECT n FROM t`); n != writers*each {
			t.Errorf("n = %d, want %d", n, writers*each)
		}
	})
}

func TestCloseWaitsAndEnds(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db, err := database.Open(t.Context(), c)
		must(t, err)
		tables(t, db)
		ctx := t.Context()
		within, closing := make(chan struct{}), make(chan error, 1)
		done := make(chan error, 1)
		go func() {
			done <- db.Transact(ctx, "adding", func(tx *database.Tx) error {
				close(within)
				go func() { closing <- db.Close() }()
				for db.View(ctx, "reading", func(*database.Tx) error { return nil }) == nil {
					continue // until Close has begun
				}
				_, err := tx.Exec(ctx, `UPDATE t SET n = 7`)
				select {
				case err := <-closing:
					t.Error("Close did not wait for a transaction")
					closing <- err
				case <-time.After(100 * time.Millisecond): // it does wait
				}
				return err
			})
		}()
		<-within
		must(t, <-done)
		must(t, <-closing)
		if n := number(t, opened(t, c), `SELECT n FROM t`); n != 7 {
			t.Errorf("n = %d, want 7", n)
		}
		if err := run(ctx, db, `UPDATE t SET n = 8`); err == nil {
			t.Error("it works when closed")
		}
	})
}

func TestALaterVersionIsRefused(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db, err := database.Open(t.Context(), c)
		must(t, err)
		must(t, run(t.Context(), db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, `+
			map[database.Dialect]string{database.SQLite: "1", database.PostgreSQL: "true"}[db.Dialect()]+`)`))
		must(t, db.Close())
		if _, err := database.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "version 99999, which a later tollgate made") {
			t.Errorf("err = %v, want one that names the version", err)
		}
	})
}

func TestReadOnly(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		reading := c
		reading.ReadOnly = true
		if _, err := database.Open(t.Context(), reading); err == nil {
			t.Error("what holds no store was opened for reading")
		}
		db := opened(t, c)
		tables(t, db)
		beside := opened(t, reading)
		if n := number(t, beside, `SELECT n FROM t`); n != 0 {
			t.Errorf("n = %d, want 0", n)
		}
		if err := run(t.Context(), beside, `UPDATE t SET n = 1`); err == nil {
			t.Error("it was opened for reading, and writes")
		}
		must(t, run(t.Context(), db, `DELETE FROM goose_db_version WHERE version_id > 1`))
		if _, err := database.Open(t.Context(), reading); err == nil || !strings.Contains(err.Error(), "version 1, which an earlier tollgate made") {
			t.Errorf("an earlier version: %v, want an error that names it", err)
		}
	})
}

func TestMigrationsAgree(t *testing.T) {
	var names [2][]string
	for i, dialect := range []string{"sqlite", "postgres"} {
		files, err := filepath.Glob(filepath.Join("migrations", dialect, "*.sql"))
		must(t, err)
		for _, file := range files {
			names[i] = append(names[i], filepath.Base(file))
		}
	}
	slices.Sort(names[0])
	slices.Sort(names[1])
	if diff := cmp.Diff(names[0], names[1]); diff != "" || len(names[0]) == 0 {
		t.Errorf("migrations (-sqlite +postgres):\n%s", diff)
	}
}
