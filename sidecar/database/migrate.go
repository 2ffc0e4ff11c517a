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
// may take their time. Of several sidecars that start at once, one does it. fresh refuses a
// database with anything in it.
func migratePostgres(ctx context.Context, config *pgx.ConnConfig, fresh bool) (err error) {
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
	if fresh {
		if err := vacant(ctx, lock); err != nil {
			return err
		}
	}
	return migrate(ctx, db, goose.DialectPostgres, "migrations/postgres")
}

// vacant refuses a schema that has tables, views, sequences or functions.
func vacant(ctx context.Context, conn *sql.Conn) error {
	var name sql.NullString
	if err := conn.QueryRowContext(ctx, `
		SELECT MIN(name) FROM (
			SELECT relname::text AS name FROM pg_class WHERE relnamespace = current_schema()::regnamespace
			UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace) AS it`).Scan(&name); err != nil {
		return fmt.Errorf("looking whether it is empty: %w", err)
	}
	if name.Valid {
		return fmt.Errorf("%w: %q", ErrOccupied, name.String)
	}
	return nil
}

// Version is that of the newest tables, which every store has once it was opened.
func Version() int64 {
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	if err != nil || len(files) == 0 {
		panic("no migrations are embedded")
	}
	var known int64
	if _, err := fmt.Sscanf(path.Base(files[len(files)-1]), "%d_", &known); err != nil { // sorted by name
		panic("a migration without a number: " + files[len(files)-1])
	}
	return known
}

// checkVersion refuses to read tables that lack what this tollgate reads, or that are none
// of ours. Those of a later one have all of it.
func (db *DB) checkVersion(ctx context.Context) error {
	var has int64
	err := db.View(ctx, "reading its version", func(tx *Tx) error {
		return tx.QueryRow(ctx, `SELECT MAX(version_id) FROM goose_db_version`).Scan(&has)
	})
	switch {
	case Unavailable(err):
		return err
	case err != nil:
		return fmt.Errorf("there is no store in it: %w", err)
	}
	if known := Version(); has < known {
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
