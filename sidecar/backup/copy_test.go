package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/backup"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// column is one, as both dialects say it.
type column struct {
	Name, Kind         string
	Null, Counted, Key bool
}

// What is copied is what SQLite has: PostgreSQL must have the same.
func TestTheDialectsHaveTheSameTables(t *testing.T) {
	want, got := map[string][]column{}, map[string][]column{}
	for at, all := range map[string]map[string][]column{places["SQLite"](t): want, places["PostgreSQL"](t): got} {
		_, end := opened(t, at)
		end()
		for name := range dump(t, at) {
			if strings.Contains(at, "://") {
				all[name] = columnsOf(t, raw(t, at), `
					SELECT column_name, data_type, is_nullable = 'YES', is_identity = 'YES',
					       EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
					                WHERE i.indrelid = quote_ident($1)::regclass AND i.indisprimary AND a.attname = column_name)
					  FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 ORDER BY column_name COLLATE "C"`, name)
			} else {
				all[name] = columnsOf(t, raw(t, at), `
					SELECT i.name, i.type, i."notnull" = 0 AND i.pk = 0, i.pk > 0 AND s.sql LIKE '%AUTOINCREMENT%', i.pk > 0
					  FROM sqlite_schema s, pragma_table_info(s.name) i WHERE s.type = 'table' AND s.name = ? ORDER BY i.name`, name)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("tables (-SQLite +PostgreSQL):\n%s", diff)
	}
}

func columnsOf(t *testing.T, db *sql.DB, query, table string) []column {
	t.Helper()
	rows, err := db.Query(query, table)
	must(t, err)
	defer rows.Close()
	var all []column
	for rows.Next() {
		var c column
		must(t, rows.Scan(&c.Name, &c.Kind, &c.Null, &c.Counted, &c.Key))
		if same, ok := map[string]string{"INTEGER": "integer", "BIGINT": "bigint", "TEXT": "text", "BLOB": "bytea", "BOOLEAN": "boolean", "REAL": "double precision"}[c.Kind]; ok {
			c.Kind = same
		}
		if c.Counted {
			c.Kind = "bigint" // which SQLite has to call INTEGER
		}
		all = append(all, c)
	}
	must(t, rows.Err())
	return all
}

// A backup is the store, whatever it is kept in, and nothing is left beside it.
func TestABackupHasEverything(t *testing.T) {
	inBoth(t, func(t *testing.T, where place) {
		temporary := t.TempDir()
		t.Setenv("TMPDIR", temporary)
		at := where(t)
		db, _ := opened(t, at)
		filled(t, db)
		data := written(t, db)
		path := fileOf(t, data)
		if diff := cmp.Diff(dump(t, at), dump(t, path)); diff != "" {
			t.Errorf("rows (-store +backup):\n%s", diff)
		}
		if data[18] != 1 || data[19] != 1 {
			t.Error("the file wants a log beside it")
		}
		for _, dir := range []string{temporary, filepath.Dir(at)} {
			for _, e := range entries(t, dir) {
				if strings.Contains(e, "backup") {
					t.Errorf("%s was left in %s", e, dir)
				}
			}
		}
		before, err := os.ReadFile(path)
		must(t, err)
		if _, err := database.Open(t.Context(), database.Config{Source: path}); err == nil || !strings.Contains(err.Error(), "it is a backup") {
			t.Errorf("a sidecar on a backup: %v, want an error", err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Error("a sidecar that refused a backup changed it")
		}
	})
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// From one dialect to the other and back nothing is lost, and counters go on.
func TestFromSQLiteToPostgreSQLAndBack(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	filled(t, source)
	must(t, source.Transact(t.Context(), "deleting the last event", func(tx *database.Tx) error {
		for _, statement := range []string{
			`INSERT INTO limit_event (id, t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
			 VALUES (41, 1, 1, 1, 'n', 'k', 'rate', 'calls', 1, 1, 0, TRUE, FALSE, 80, 1), (77, 1, 1, 1, 'n', 'k', 'rate', 'calls', 1, 1, 0, TRUE, FALSE, 80, 1)`,
			`DELETE FROM limit_event WHERE id = 77`,
			// More than are read at once.
			`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2345)
			 INSERT INTO resource (backend, kind, scope, id, subscription, call, created) SELECT 'b', 'job', '', i, 1, '', i FROM n`,
		} {
			if _, err := tx.Exec(t.Context(), statement); err != nil {
				return err
			}
		}
		return nil
	}))
	data := written(t, source)
	direct, through := places["SQLite"](t), places["PostgreSQL"](t)
	restored(t, data, direct)
	restored(t, data, through)
	want := withoutRestore(dump(t, direct))
	if diff := cmp.Diff(want, withoutRestore(dump(t, through))); diff != "" {
		t.Errorf("rows (-SQLite +PostgreSQL):\n%s", diff)
	}
	db, _ := opened(t, through)
	back := fileOf(t, written(t, db))
	if diff := cmp.Diff(want, withoutRestore(dump(t, back))); diff != "" {
		t.Errorf("rows (-SQLite +back):\n%s", diff)
	}
	end := places["SQLite"](t)
	content, err := os.ReadFile(back)
	must(t, err)
	restored(t, content, end)
	for _, at := range []string{direct, through, end} {
		db, _ := opened(t, at)
		var id int64
		must(t, db.Transact(t.Context(), "adding an event", func(tx *database.Tx) error {
			return tx.QueryRow(t.Context(), `INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
				VALUES (1, 1, 1, 'n', 'k', 'rate', 'calls', 1, 1, 0, TRUE, FALSE, 80, 1) RETURNING id`).Scan(&id)
		}))
		if id != 78 {
			t.Errorf("%s: the next event is %d, want 78", at, id)
		}
	}
}

// withoutRestore leaves out what differs between two restores of one backup.
func withoutRestore(all map[string][]string) map[string][]string {
	for i, line := range all["audit"] {
		if strings.Contains(line, "store.restore") {
			all["audit"][i] = "the restore"
		}
	}
	all["audit_head"] = nil
	return all
}

// Each transaction of the writers leaves as many intents as resources, and the audit whole.
// So does each backup, however it comes in between.
func TestABackupIsOneState(t *testing.T) {
	inBoth(t, func(t *testing.T, where place) {
		db, _ := opened(t, where(t))
		filled(t, db)
		s := storeOf(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		progress := make(chan struct{}, 1)
		writer := func(f func(i int) error) {
			writers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if err := f(i); err != nil && ctx.Err() == nil && !database.Unavailable(err) {
						t.Error(err)
						return
					}
					select {
					case progress <- struct{}{}:
					default:
					}
				}
			})
		}
		writer(func(i int) error {
			return db.Transact(ctx, "writing a pair", func(tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created) VALUES (?, 1, 'pair', '', '', '', '', 1)`, fmt.Sprint(i)); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, `INSERT INTO resource (backend, kind, scope, id, subscription, call, created) VALUES ('', 'pair', '', ?, 1, '', 1)`, fmt.Sprint(i))
				return err
			})
		})
		writer(func(i int) error {
			_, err := s.CreateSubscription(ctx, catalog.Subscription{Name: fmt.Sprint("sub-", i), Developer: "ada@example.org", Product: "Starter", State: "active"}, store.Write{Actor: "test"})
			return err
		})
		defer writers.Wait()
		defer cancel()
		for range 4 {
			for range 3 {
				<-progress
			}
			target := places["SQLite"](t)
			restored(t, written(t, db), target)
			read := raw(t, target)
			var pairs, resources, rows, head, subscriptions, audited int64
			must(t, read.QueryRow(`SELECT (SELECT COUNT(*) FROM intent WHERE kind = 'pair'), (SELECT COUNT(*) FROM resource WHERE kind = 'pair'),
				(SELECT COUNT(*) FROM audit), (SELECT id FROM audit_head),
				(SELECT COUNT(*) FROM subscription WHERE name LIKE 'sub-%'), (SELECT COUNT(*) FROM audit WHERE kind = 'subscription' AND name LIKE 'sub-%')`).
				Scan(&pairs, &resources, &rows, &head, &subscriptions, &audited))
			if pairs != resources || rows != head || subscriptions != audited {
				t.Errorf("%d intents, %d resources; %d rows of the audit, the last is %d; %d subscriptions, %d audited", pairs, resources, rows, head, subscriptions, audited)
			}
		}
	})
}

// narrow takes so many bytes and no more, like a disk that is full.
type narrow int

var errFull = errors.New("no space left")

func (n *narrow) Write(p []byte) (int, error) {
	if len(p) > int(*n) {
		return int(*n), errFull
	}
	*n -= narrow(len(p))
	return len(p), nil
}

func TestAWriterThatFails(t *testing.T) {
	inBoth(t, func(t *testing.T, where place) {
		temporary := t.TempDir()
		t.Setenv("TMPDIR", temporary)
		at := where(t)
		db, _ := opened(t, at)
		filled(t, db)
		for _, room := range []narrow{0, 100_000} {
			if err := backup.Write(t.Context(), db, &room); !errors.Is(err, errFull) {
				t.Errorf("err = %v, want that of the writer", err)
			}
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := backup.Write(cancelled, db, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v, want context.Canceled", err)
		}
		for _, dir := range []string{temporary, filepath.Dir(at)} {
			for _, e := range entries(t, dir) {
				if strings.Contains(e, "backup") {
					t.Errorf("%s was left in %s", e, dir)
				}
			}
		}
	})
}

// What a process that was killed left behind goes with the next backup; what another one
// uses at the moment stays.
func TestWhatIsLeftBehindGoes(t *testing.T) {
	at := places["SQLite"](t)
	db, _ := opened(t, at)
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{".s.db.backup-old", ".s.db.backup-young", ".other.db.backup-old"} {
		dir := filepath.Join(filepath.Dir(at), name)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "copy"), nil, 0o600))
		if strings.HasSuffix(name, "old") {
			must(t, os.Chtimes(dir, long, long))
		}
	}
	written(t, db)
	var left []string
	for _, e := range entries(t, filepath.Dir(at)) {
		if strings.Contains(e, "backup") {
			left = append(left, e)
		}
	}
	if diff := cmp.Diff([]string{".other.db.backup-old", ".s.db.backup-young"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
