package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// folder is a temporary one (mode 0700) that is locked while it is in use.
type folder struct {
	path string
	lock *os.File
}

// stale is the age at which a folder that nobody has locked was left behind by a process that
// was killed. A younger one may not be locked yet.
const stale = time.Minute

// makeFolder makes one beside a path, for a purpose that its name says, and removes what
// others left behind for the same purpose.
func makeFolder(beside, purpose string) (*folder, error) {
	dir, prefix := filepath.Dir(beside), "."+filepath.Base(beside)+"."+purpose+"-"
	removeStale(dir, prefix)
	path, err := os.MkdirTemp(dir, prefix+"*")
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(path)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &folder{path, lock}, nil
}

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

func (f *folder) remove() error {
	return errors.Join(os.RemoveAll(f.path), f.lock.Close())
}

func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return f, nil
}

// removeStale does what it can: what stays is tried again with the next backup.
func removeStale(dir, prefix string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || len(e.Name()) <= len(prefix) || e.Name()[:len(prefix)] != prefix || time.Since(info.ModTime()) < stale {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if lock, err := lockFolder(path); err == nil {
			_ = os.RemoveAll(path)
			_ = lock.Close()
		}
	}
}
