package database_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

func TestOneProcessPerFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	first, err := database.Open(t.Context(), database.Config{Source: path})
	must(t, err)
	link := filepath.Join(dir, "link.db")
	must(t, os.Symlink(path, link))
	for _, p := range []string{path, link} {
		var inUse *database.InUseError
		if _, err := database.Open(t.Context(), database.Config{Source: p}); !errors.As(err, &inUse) || inUse.Process != fmt.Sprint(os.Getpid()) {
			t.Errorf("second Open of %s: %v, want InUseError with this process", p, err)
		}
	}
	must(t, first.Close())
	opened(t, database.Config{Source: path})
}

func TestFilesAreForTheirOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space #1%41?", "deep")
	db := opened(t, database.Config{Source: filepath.Join(dir, "s.db")})
	tables(t, db)
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) < 3 {
		t.Errorf("want the file, its log and its lock in %s, got %v", dir, entries)
	}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", e.Name(), info.Mode().Perm())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v, want mode 700", info.Mode(), err)
	}
}

func TestRefusesWhatIsNoStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	must(t, os.WriteFile(path, []byte(strings.Repeat("not a database\n", 100)), 0o600))
	if _, err := database.Open(t.Context(), database.Config{Source: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("err = %v, want one that names %s", err, path)
	}
	if _, err := database.Open(t.Context(), database.Config{Source: "mysql://u:secret@h/d"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("another URL: err = %v, want one without it", err)
	}
}

// raw opens a file beside the store, as another program might.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path}).String())
	must(t, err)
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func TestALockedFileIsUnavailable(t *testing.T) {
	c := database.Config{Source: filepath.Join(t.TempDir(), "s.db"), Busy: 50 * time.Millisecond}
	db := opened(t, c)
	tables(t, db)
	other := raw(t, c.Source)
	_, err := other.Exec(`BEGIN IMMEDIATE`)
	must(t, err)
	if err := run(t.Context(), db, `UPDATE t SET n = 1`); !database.Unavailable(err) {
		t.Errorf("while it is locked: %v, want an error that is Unavailable", err)
	}
	_, err = other.Exec(`ROLLBACK`)
	must(t, err)
	must(t, run(t.Context(), db, `UPDATE t SET n = 2`))
	if n := number(t, db, `SELECT n FROM t`); n != 2 {
		t.Errorf("n = %d, want 2", n)
	}
}

// A transaction that does not end keeps others waiting no longer than a lock does.
func TestAnOccupiedWriterIsUnavailable(t *testing.T) {
	db := opened(t, database.Config{Source: filepath.Join(t.TempDir(), "s.db"), Busy: 50 * time.Millisecond})
	tables(t, db)
	must(t, db.Transact(t.Context(), "waiting", func(*database.Tx) error {
		if err := run(t.Context(), db, `UPDATE t SET n = 1`); !database.Unavailable(err) {
			t.Errorf("%v, want an error that is Unavailable", err)
		}
		return nil
	}))
	must(t, run(t.Context(), db, `UPDATE t SET n = 2`))
}

func TestAFullFileIsUnavailable(t *testing.T) {
	db := opened(t, database.Config{Source: filepath.Join(t.TempDir(), "s.db")})
	must(t, run(t.Context(), db, `CREATE TABLE blob (b BLOB NOT NULL)`))
	pages := number(t, db, `SELECT page_count FROM pragma_page_count`)
	must(t, run(t.Context(), db, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+5)))
	fill := func() error { return run(t.Context(), db, `INSERT INTO blob (b) VALUES (zeroblob(100000))`) }
	for range 3 { // the connection goes on, or is replaced
		must(t, run(t.Context(), db, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+5)))
		if err := fill(); !database.Unavailable(err) {
			t.Errorf("when it is full: %v, want an error that is Unavailable", err)
		}
		if n := number(t, db, `SELECT COUNT(*) FROM blob`); n != 0 {
			t.Errorf("%d rows are left of what failed", n)
		}
	}
	must(t, run(t.Context(), db, `PRAGMA max_page_count = 1000000`))
	must(t, fill())
}

func TestMistakesAreNotUnavailable(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		db := opened(t, c)
		tables(t, db)
		for _, statement := range []string{`INSERT INTO t (id, n) VALUES (1, 0)`, `UPDATE nothing SET n = 1`, `no SQL`} {
			if err := run(t.Context(), db, statement); err == nil || database.Unavailable(err) {
				t.Errorf("%s: %v, want an error that is not Unavailable", statement, err)
			}
		}
	})
	if database.Unavailable(nil) {
		t.Error("no error is Unavailable")
	}
}
