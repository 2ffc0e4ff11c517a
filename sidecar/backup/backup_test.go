package backup_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
		_, name, _ := strings.Cut(row, "=")
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
