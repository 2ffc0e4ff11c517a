package database

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"
)

// BackupID is the application id of a SQLite file that is a backup, "tgBK". Open refuses
// such a file: a sidecar would go on from it as if nothing had happened since.
const BackupID = 0x7467424b

// applicationID is where that stands in a SQLite file (its file format, section 1.3).
const applicationID = 68

func isBackup(f io.ReaderAt) bool {
	var id [4]byte
	n, _ := f.ReadAt(id[:], applicationID)
	return n == len(id) && binary.BigEndian.Uint32(id[:]) == BackupID
}

// Path is that of a SQLite file, and empty for PostgreSQL.
func (db *DB) Path() string {
	if db.dialect == SQLite {
		return db.name
	}
	return ""
}

// Again opens the same database once more, for View alone: what takes its time there keeps no
// connection from others. Its statements may take twice as long as busy. The caller closes it.
func (db *DB) Again(ctx context.Context, busy time.Duration) (*DB, error) {
	c := db.config
	c.Busy, c.ReadOnly, c.New = busy, true, false
	return Open(ctx, c)
}

// CopyTo writes one state of a SQLite database to a file that does not exist (mode 0600),
// while others read and write. When it fails the file may be there, and is none to use.
func (db *DB) CopyTo(ctx context.Context, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copying the store %s: %w", db.name, err)
		}
	}()
	if db.dialect != SQLite {
		return errors.New("it is no file")
	}
	// SQLite takes a file that is empty, and would make one that others may read.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	from, err := open(db.name, db.config.Busy, url.Values{"mode": {"ro"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	_, err = from.ExecContext(ctx, `VACUUM INTO ?`, path)
	return err
}

// Lock takes the place at which a SQLite store may be, so that no sidecar opens it until
// release. *InUseError says that one has it.
func Lock(path string) (release func() error, err error) {
	f, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}
