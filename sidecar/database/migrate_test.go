package database_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"

	"github.com/tollgate/tollgate/sidecar/database"
)

// A subscription of a store that did not record starts begins with the migration.
func TestMigrationOfSubscriptions(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		driver, dialect, folder := "sqlite", goose.DialectSQLite3, "sqlite"
		if filepath.Ext(c.Source) != ".db" {
			driver, dialect, folder = "pgx", goose.DialectPostgres, "postgres"
		}
		old, err := sql.Open(driver, c.Source)
		must(t, err)
		p, err := goose.NewProvider(dialect, old, os.DirFS(filepath.Join("migrations", folder)))
		must(t, err)
		_, err = p.UpTo(t.Context(), 1)
		must(t, err)
		_, err = old.ExecContext(t.Context(), `INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed)
			VALUES (1, 'alice', 'alice@example.org', 'product', 'Starter', 1, 0, '{}', 1, 0)`)
		must(t, err)
		must(t, old.Close())
		before := time.Now().Truncate(time.Millisecond)
		db := opened(t, c)
		after := time.Now()
		started := time.UnixMilli(number(t, db, `SELECT started FROM subscription WHERE id = ?`, int64(1)))
		if started.Before(before) || started.After(after) {
			t.Errorf("it started %v, want between %v and %v", started, before, after)
		}
	})
}
