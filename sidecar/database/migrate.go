package database

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// migrationLock is the key of the advisory lock under which tables change: "tollgate".
const migrationLock = 0x746f6c6c67617465

func migrateSQLite(ctx context.Context, db *sql.DB) error {
	return migrate(ctx, db, goose.DialectSQLite3, "migrations/sqlite")
}

// migratePostgres brings the tables up to date on connections of its own, whose statements
// may take their time. Of several sidecars that start at once, one does it.
func migratePostgres(ctx context.Context, config *pgx.ConnConfig) (err error) {
	db := pool(config, 0)
	defer func() { err = errors.Join(err, db.Close()) }()
	lock, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := lock.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	// The lock ends with its connection; db closes it.
	return migrate(ctx, db, goose.DialectPostgres, "migrations/postgres")
}

// checkVersion refuses to read tables that lack what this tollgate reads, or that are none
// of ours. Those of a later one have all of it.
func (db *DB) checkVersion(ctx context.Context) error {
	var has, known int64
	err := db.View(ctx, "reading its version", func(tx *Tx) error {
		return tx.QueryRow(ctx, `SELECT MAX(version_id) FROM goose_db_version`).Scan(&has)
	})
	switch {
	case Unavailable(err):
		return err
	case err != nil:
		return fmt.Errorf("there is no store in it: %w", err)
	}
	files, err := fs.Glob(migrations, "migrations/"+string(db.dialect)+"/*.sql")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(path.Base(files[len(files)-1]), "%d_", &known); err != nil { // sorted by name
		return err
	}
	if has < known {
		return fmt.Errorf("it has version %d, which an earlier tollgate made; a sidecar of this one makes it %d", has, known)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, folder string) error {
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, files)
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
