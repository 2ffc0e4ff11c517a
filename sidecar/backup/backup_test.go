package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/backup"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/store"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

// place makes a place for a new database.
type place func(*testing.T) string

var places = map[string]place{
	"SQLite":     func(t *testing.T) string { return filepath.Join(t.TempDir(), "s.db") },
	"PostgreSQL": func(t *testing.T) string { return postgrestest.Shared(t).Database(t) },
}

func inBoth(t *testing.T, f func(*testing.T, place)) {
	for _, name := range slices.Sorted(maps.Keys(places)) {
		t.Run(name, func(t *testing.T) { f(t, places[name]) })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a database that is open until the test ends, or end is called.
func opened(t *testing.T, at string) (db *database.DB, end func()) {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: at, Busy: 10 * time.Second})
	must(t, err)
	end = sync.OnceFunc(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return db, end
}

func storeOf(t *testing.T, db *database.DB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), db, store.Options{})
	must(t, err)
	return s
}

const demo = `
organization: {name: Example, administrator: admin@example.org}
apis:
  - name: Demo
    suffix: demo
    backend: {url: https://backend.example.com}
    operations: [{name: Ping, method: GET, template: /ping}]
products:
  - {name: Starter, apis: [Demo]}
developers:
  - {email: ada@example.org, name: Ada}
subscriptions:
  - name: ada
    developer: ada@example.org
    product: Starter
    primary_key: {sha256: "ab01010101010101010101010101010101010101010101010101010101010101"}
`

// token is what filled made, in clear.
type token string

var job = store.Submit{Call: "call-1", Subscription: 1, Backend: "https://backend.example.com", API: "Demo", Operation: "Submit",
	Resource: wire.Resource{Kind: "job", ID: "j1", Scope: map[string]string{"workspace": "w"}}}

// filled puts something into most tables of a store.
func filled(t *testing.T, db *database.DB) token {
	t.Helper()
	ctx, s := t.Context(), storeOf(t, db)
	c, mistakes := catalog.Parse("demo.yaml", []byte(demo), catalog.Options{})
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	_, err := s.Apply(ctx, store.Application{Catalog: c, Write: store.Write{Actor: "file:demo.yaml", Source: store.FileSource("demo.yaml")}})
	must(t, err)
	_, clear, err := s.CreateToken(ctx, store.NewToken{Name: "ci", Role: "administrator"}, store.Write{Actor: "test"})
	must(t, err)
	for i, answered := range []bool{true, false} {
		key := fmt.Sprint("key-", i)
		_, err := s.Once(ctx, "token:ci", key, [32]byte{byte(i)})
		must(t, err)
		if answered {
			must(t, s.Answered(ctx, "token:ci", key, store.Answer{Status: 201, Body: []byte("{}")}))
		}
	}
	must(t, s.Own(ctx, job))
	must(t, s.Record(ctx, []store.Decision{{ID: "d1", Call: "call-2", Time: time.Now(), Status: 403, Reasons: []string{"no\u00e4"}, API: "Demo"}}))
	_, err = s.Revise(ctx, [32]byte{1})
	must(t, err)
	l, err := ledger.Open(ctx, db, ledger.Options{})
	must(t, err)
	granted(t, l, take(1, rate, quota))
	return token(clear)
}

var (
	rate  = limit(wire.Limit{Name: "minute", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 5, WindowMillis: 60_000})
	quota = limit(wire.Limit{Name: "life", Key: "subscription:1", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: 5})
)

func limit(l wire.Limit) ledger.Limit { return ledger.Limit{Limit: l} }

func take(id uint64, limits ...ledger.Limit) ledger.Batch {
	return ledger.Batch{Worker: "w", Takes: []ledger.Take{{ID: id, Waiting: true, Subscription: 1, Limits: limits}}}
}

func granted(t *testing.T, l *ledger.Ledger, b ledger.Batch) ledger.Grant {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; { // on PostgreSQL it waits for another's heartbeat first
		r := l.Commit(t.Context(), []ledger.Batch{b})[0]
		if r.Err == nil {
			return r.Grants[0]
		}
		if !errors.Is(r.Err, ledger.ErrUnavailable) || time.Now().After(end) {
			t.Fatal(r.Err)
		}
	}
}

func written(t *testing.T, db *database.DB) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, backup.Write(t.Context(), db, &b))
	return b.Bytes()
}

func restored(t *testing.T, data []byte, target string) backup.Summary {
	t.Helper()
	s, err := backup.Restore(t.Context(), bytes.NewReader(data), target)
	must(t, err)
	return s
}

// raw opens a database without tollgate.
func raw(t testing.TB, at string) *sql.DB {
	t.Helper()
	driver := "sqlite"
	if strings.Contains(at, "://") {
		driver = "pgx"
	}
	db, err := sql.Open(driver, at)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// fileOf is bytes as a file.
func fileOf(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.db")
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

// dump is all rows of all tables as text, by table. Booleans are 0 and 1.
func dump(t testing.TB, at string) map[string][]string {
	t.Helper()
	db := raw(t, at)
	query := `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'`
	if strings.Contains(at, "://") {
		query = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`
	}
	all := map[string][]string{}
	for _, row := range rowsOf(t, db, query) {
		name := strings.Trim(row, `name=tb_"`)
		name = row[strings.Index(row, "=")+1:]
		if name == "goose_db_version" || name == "backup" {
			continue
		}
		lines := rowsOf(t, db, `SELECT * FROM "`+name+`"`)
		slices.Sort(lines)
		all[name] = lines
	}
	return all
}

func rowsOf(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	must(t, err)
	defer rows.Close()
	names, err := rows.Columns()
	must(t, err)
	var lines []string
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		must(t, rows.Scan(into...))
		parts := make([]string, len(names))
		for i, v := range values {
			switch w := v.(type) {
			case []byte:
				v = fmt.Sprintf("%x", w)
			case bool:
				v = map[bool]int{false: 0, true: 1}[w]
			case nil:
				v = "" // how SQLite's driver gives an empty blob
			}
			parts[i] = fmt.Sprintf("%s=%v", names[i], v)
		}
		slices.Sort(parts) // an old table may have its columns in another order
		lines = append(lines, strings.Join(parts, " "))
	}
	must(t, rows.Err())
	return lines
}

// column is one, as both dialects say it.
type column struct {
	Name, Kind string
	Null, Key  bool
}

// What is copied is what SQLite has: PostgreSQL must have the same.
func TestTheDialectsHaveTheSameTables(t *testing.T) {
	sqlite, postgres := places["SQLite"](t), places["PostgreSQL"](t)
	for _, at := range []string{sqlite, postgres} {
		_, end := opened(t, at)
		end()
	}
	want, got := map[string][]column{}, map[string][]column{}
	counted := map[string]bool{}
	db := raw(t, sqlite)
	for name := range dump(t, sqlite) {
		rows, err := db.Query(`SELECT name, type, "notnull" = 0 AND pk = 0, pk > 0 FROM pragma_table_info(?) ORDER BY name`, name)
		must(t, err)
		for rows.Next() {
			var c column
			must(t, rows.Scan(&c.Name, &c.Kind, &c.Null, &c.Key))
			c.Kind = map[string]string{"INTEGER": "integer", "BIGINT": "bigint", "TEXT": "text", "BLOB": "bytea", "BOOLEAN": "boolean", "REAL": "double precision"}[c.Kind]
			want[name] = append(want[name], c)
		}
		must(t, rows.Close())
		var definition string
		must(t, db.QueryRow(`SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?`, name).Scan(&definition))
		counted[name] = strings.Contains(definition, "AUTOINCREMENT")
	}
	db = raw(t, postgres)
	for name := range dump(t, postgres) {
		rows, err := db.Query(`SELECT column_name, data_type, is_nullable = 'YES', is_identity = 'YES',
			EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
			         WHERE i.indrelid = $1::regclass AND i.indisprimary AND a.attname = column_name)
			FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $2 ORDER BY column_name COLLATE "C"`, `"`+name+`"`, name)
		must(t, err)
		for rows.Next() {
			var c column
			var identity bool
			must(t, rows.Scan(&c.Name, &c.Kind, &c.Null, &identity, &c.Key))
			if identity != (counted[name] && c.Key) {
				t.Errorf("%s.%s: counted %v in PostgreSQL, not so in SQLite", name, c.Name, identity)
			}
			if counted[name] && c.Key {
				c.Kind = "integer" // as SQLite has to call it
			}
			got[name] = append(got[name], c)
		}
		must(t, rows.Close())
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("tables (-SQLite +PostgreSQL):\n%s", diff)
	}
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
