package database_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/tollgate/tollgate/sidecar/database"
)

// Reports that were taken stay taken: of each worker the last one is known.
func TestMigrationOfUsageReports(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		driver, dialect, folder := "sqlite", goose.DialectSQLite3, "sqlite"
		if filepath.Ext(c.Source) != ".db" {
			driver, dialect, folder = "pgx", goose.DialectPostgres, "postgres"
		}
		old, err := sql.Open(driver, c.Source)
		must(t, err)
		p, err := goose.NewProvider(dialect, old, os.DirFS(filepath.Join("migrations", folder)))
		must(t, err)
		_, err = p.UpTo(t.Context(), 5)
		must(t, err)
		_, err = old.ExecContext(t.Context(), `INSERT INTO usage_report (vm, sequence, taken) VALUES ('a', 1, 100), ('a', 3, 300), ('a', 2, 200), ('b', 7, 50)`)
		must(t, err)
		must(t, old.Close())
		db := opened(t, c)
		for vm, want := range map[string]int64{"a": 3_000_300, "b": 7_000_050} {
			if got := number(t, db, `SELECT sequence * 1000000 + taken FROM usage_vm WHERE vm = ?`, vm); got != want {
				t.Errorf("of %s %d is known, want %d", vm, got, want)
			}
		}
	})
}
