package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// Summary says what Restore has restored.
type Summary struct {
	Store   string `json:"store"`   // the store's id, which stays
	Target  string `json:"target"`  // as it may be shown
	Version int64  `json:"version"` // of the tables in the backup
	// Taken is when the backup was made, by the clock of the machine that made it.
	Taken time.Time `json:"taken"`
	// Rows is how many rows each table has.
	Rows map[string]int64 `json:"rows"`
	// Notes say in sentences what does not go on as it was.
	Notes []string `json:"notes"`
}

// Restore makes a new store at target of the backup in r. The target is the path of a file
// that does not exist, or the URL of a PostgreSQL database without tables, and nobody uses it
// before Restore returns. When it fails, nothing is left there; only a process that is killed
// may leave a folder .NAME.restore-* beside the file, which the next one removes, or tables without rows.
//
// A backup of an earlier tollgate is brought up to date. What a restore changes besides is in
// Summary.Notes and docs/backup.md.
func Restore(ctx context.Context, r io.Reader, target string) (Summary, error) {
	s := Summary{Target: database.Redacted(target)}
	if err := s.restore(ctx, r, target); err != nil {
		return Summary{}, fmt.Errorf("restoring into %s: %w", s.Target, err)
	}
	return s, nil
}

func (s *Summary) restore(ctx context.Context, r io.Reader, target string) error {
	if strings.Contains(target, "://") {
		return s.unpacked(ctx, r, filepath.Join(os.TempDir(), "tollgate"), func(path string) error { return transfer(ctx, path, target) })
	}
	path, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	s.Target = path
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := absent(path); err != nil {
		return err
	}
	return s.unpacked(ctx, r, path, func(made string) error { return place(made, path) })
}

// absent refuses a path at which a store is, or was: SQLite would take the log of another
// store for this one's.
func absent(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(path + suffix); err == nil {
			return fmt.Errorf("%w: there is %s", ErrNotEmpty, path+suffix)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// place gives a store's file its name. It never replaces another.
func place(made, path string) (err error) {
	release, err := database.Lock(path) // whose file stays, as it does after a sidecar
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := absent(path); err != nil {
		return err
	}
	switch err := os.Link(made, path); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: there is %s by now", ErrNotEmpty, path)
	case err != nil: // a file system without links
		if err := os.Rename(made, path); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// unpacked makes a store of the backup in a folder beside a path, and calls f with its file,
// which is on disk and nobody has open.
func (s *Summary) unpacked(ctx context.Context, r io.Reader, beside string, f func(path string) error) (err error) {
	d, err := makeFolder(beside, "restore")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	path := d.file("store")
	if err := save(reader{ctx, r}, path); err != nil {
		return err
	}
	o, err := unseal(ctx, path)
	if err != nil {
		return err
	}
	s.Taken, s.Version = o.taken, o.version
	if err := s.renew(ctx, path); err != nil {
		return err
	}
	return f(path)
}

// magic is how every SQLite file begins.
const magic = "SQLite format 3\x00"

// save writes what r gives to a new file.
func save(r io.Reader, path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, len(magic))
	n, err := io.ReadFull(r, head)
	switch {
	case err == nil && string(head) != magic, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it does not begin like one", ErrNoBackup)
	case err != nil:
		return fmt.Errorf("reading the backup: %w", err)
	}
	if _, err := io.Copy(f, io.MultiReader(bytes.NewReader(head[:n]), r)); err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	return f.Sync()
}
