// Package backup copies a whole store while it is in use, and makes a new store of a copy.
// A copy is a SQLite file with the tables of a store, whatever the store is kept in, and one
// more, backup, which says when it was made and has a digest of everything else. Any tool
// that reads SQLite opens it; a sidecar does not, since what a restore has to change would
// not be changed (docs/backup.md).
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// ErrNotEmpty is wrapped when the target of a restore holds something already.
var ErrNotEmpty = errors.New("a backup is restored into a new store")

// ErrNoBackup is wrapped when what is to be restored is no whole backup, or one of a later
// tollgate.
var ErrNoBackup = errors.New("this is no backup that can be restored")

// patience is how long a statement on PostgreSQL may wait for a lock, half as long as it may
// take. Rows are read and written some at a time.
const patience = 30 * time.Second

// Write writes a copy of the whole store to w: one state of it, of some moment between call
// and return, checked before the first byte is written. Until then it is a file of mode 0600
// beside a SQLite store, or in the folder for temporary files, which is always removed. An
// error after the first byte is one of w.
func Write(ctx context.Context, db *database.DB, w io.Writer) error {
	if err := write(ctx, db, w); err != nil {
		return fmt.Errorf("writing a backup: %w", err)
	}
	return nil
}

func write(ctx context.Context, db *database.DB, w io.Writer) (err error) {
	beside := db.Path()
	if beside == "" {
		beside = filepath.Join(os.TempDir(), "tollgate")
	}
	d, err := makeFolder(beside, "backup")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	path, taken := d.file("copy"), time.Now()
	if db.Dialect() == database.SQLite {
		err = db.CopyTo(ctx, path)
	} else {
		err = gather(ctx, db, d.file("gathered"), path)
	}
	if err != nil {
		return err
	}
	if err := seal(ctx, path, taken); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(w, reader{ctx, f})
	return err
}

// gather copies a PostgreSQL store to a SQLite file at path, by way of one at between.
func gather(ctx context.Context, db *database.DB, between, path string) (err error) {
	from, err := db.Again(ctx, patience)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := database.Open(ctx, database.Config{Source: between, New: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	err = from.View(ctx, "reading the store", func(source *database.Tx) error {
		return to.Transact(ctx, "filling the copy", func(target *database.Tx) error {
			tables, err := tablesOf(ctx, target)
			if err != nil {
				return err
			}
			c := copying{from: side{source, database.PostgreSQL}, to: side{target, database.SQLite}}
			return c.all(ctx, tables)
		})
	})
	if err != nil {
		return err
	}
	return to.CopyTo(ctx, path) // without its log, like a copy of a SQLite store
}

// reader ends with a context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
