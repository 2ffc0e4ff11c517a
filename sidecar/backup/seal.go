package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tollgate/tollgate/sidecar/database"
)

// sealTable is what a backup has besides the tables of a store.
const sealTable = "backup"

// origin is what a backup says of itself.
type origin struct {
	taken   time.Time
	version int64 // of the tables
	digest  []byte
}

// seal checks a copy and makes a backup of it.
func seal(ctx context.Context, path string, taken time.Time) error {
	return within(ctx, path, func(conn connection) error {
		if err := intact(ctx, conn); err != nil {
			return fmt.Errorf("checking the copy: %w", err)
		}
		o := origin{taken: taken}
		var err error
		if o.version, err = versionOf(ctx, conn); err != nil {
			return err
		}
		if o.digest, err = digest(ctx, conn); err != nil {
			return err
		}
		for _, s := range []struct {
			statement string
			args      []any
		}{
			{`CREATE TABLE ` + sealTable + ` (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    taken   BIGINT NOT NULL, -- Unix milliseconds
    version BIGINT NOT NULL, -- of the tables
    digest  BLOB   NOT NULL  -- SHA-256 of all other tables
)`, nil},
			{`INSERT INTO ` + sealTable + ` (one, taken, version, digest) VALUES (1, ?, ?, ?)`, []any{o.taken.UnixMilli(), o.version, o.digest}},
			{fmt.Sprintf(`PRAGMA application_id = %d`, database.BackupID), nil},
		} {
			if _, err := conn.Exec(ctx, s.statement, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// unseal checks a backup and makes the file of a store of it. Its error wraps ErrNoBackup
// where the file is the cause.
func unseal(ctx context.Context, path string) (o origin, err error) {
	err = within(ctx, path, func(conn connection) error {
		if o, err = originOf(ctx, conn); err != nil {
			return err
		}
		if known := database.Version(); o.version > known {
			return fmt.Errorf("%w: its tables have version %d, which a later tollgate made; this one knows %d", ErrNoBackup, o.version, known)
		}
		if err := intact(ctx, conn); err != nil {
			return err
		}
		held, err := digest(ctx, conn)
		if err != nil {
			return damaged(ctx, err)
		}
		if !bytes.Equal(held, o.digest) {
			return fmt.Errorf("%w: it was changed after it was made: its digest is another", ErrNoBackup)
		}
		for _, statement := range []string{`DROP TABLE ` + sealTable, `PRAGMA application_id = 0`} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	return o, err
}

func originOf(ctx context.Context, conn connection) (o origin, err error) {
	var taken int64
	err = conn.QueryRow(ctx, `SELECT taken, version, digest FROM `+sealTable+` WHERE one = 1`).Scan(&taken, &o.version, &o.digest)
	if err != nil {
		return o, damaged(ctx, err)
	}
	o.taken = time.UnixMilli(taken).UTC()
	switch version, err := versionOf(ctx, conn); {
	case err != nil:
		return o, damaged(ctx, err)
	case version != o.version:
		return o, fmt.Errorf("%w: its tables have version %d, and it says %d", ErrNoBackup, version, o.version)
	}
	return o, nil
}

// damaged is an error of reading a file that should be a backup.
func damaged(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoBackup, err)
}

// within opens a SQLite file that nobody else has open, and leaves no log beside it.
func within(ctx context.Context, path string, f func(connection) error) (err error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "mode=rw&_pragma=journal_mode(MEMORY)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return damaged(ctx, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return f(connection{conn})
}

// intact says what is wrong with a file's structure.
func intact(ctx context.Context, conn connection) error {
	var found string
	if err := conn.QueryRow(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil {
		return damaged(ctx, err)
	}
	if found != "ok" {
		return fmt.Errorf("%w: it is damaged: %s", ErrNoBackup, found)
	}
	var orphans int
	if err := conn.QueryRow(ctx, `SELECT COUNT(*) FROM pragma_foreign_key_check`).Scan(&orphans); err != nil {
		return damaged(ctx, err)
	}
	if orphans > 0 {
		return fmt.Errorf("%w: %d rows refer to others that are not there", ErrNoBackup, orphans)
	}
	return nil
}

func versionOf(ctx context.Context, conn connection) (version int64, err error) {
	err = conn.QueryRow(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+versions+` WHERE is_applied`).Scan(&version)
	return version, err
}

// digest is SHA-256 over the rows of all tables of a store in a SQLite file.
func digest(ctx context.Context, conn connection) ([]byte, error) {
	tables, err := tablesOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tables, func(a, b table) int { return strings.Compare(a.name, b.name) })
	h, from := sha256.New(), side{conn, database.SQLite}
	for i := range tables {
		t, last := &tables[i], int64(0)
		if t.counted {
			if last, err = from.counter(ctx, t); err != nil {
				return nil, err
			}
		}
		hashText(h, t.name)
		hashText(h, t.names())
		hashNumber(h, uint64(last))
		if err := from.each(ctx, t, func(row []any) error { hashRow(h, row); return nil }); err != nil {
			return nil, fmt.Errorf("reading table %s: %w", t.name, err)
		}
	}
	return h.Sum(nil), nil
}

// hashRow adds a row, each value after a byte for its type, so that no two rows are the same
// bytes.
func hashRow(h hash.Hash, row []any) {
	h.Write([]byte{'r'})
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			h.Write([]byte{'n'})
		case int64:
			h.Write([]byte{'i'})
			hashNumber(h, uint64(v))
		case bool:
			if v {
				h.Write([]byte{'t'})
			} else {
				h.Write([]byte{'f'})
			}
		case float64:
			h.Write([]byte{'d'})
			hashNumber(h, math.Float64bits(v))
		case string:
			h.Write([]byte{'s'})
			hashText(h, v)
		case []byte:
			h.Write([]byte{'b'})
			hashNumber(h, uint64(len(v)))
			h.Write(v)
		}
	}
}

func hashText(h hash.Hash, s string) {
	hashNumber(h, uint64(len(s)))
	h.Write([]byte(s))
}

func hashNumber(h hash.Hash, n uint64) { h.Write(binary.BigEndian.AppendUint64(nil, n)) }
