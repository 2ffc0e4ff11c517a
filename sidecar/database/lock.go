package database

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// InUseError says that another process has the database open. Two sidecars on one store would
// each keep a part of the truth in memory.
type InUseError struct {
	Path    string
	Process string // its id, empty when it has not written it yet
}

func (e *InUseError) Error() string {
	by := "another tollgate"
	if e.Process != "" {
		by += " (process " + e.Process + ")"
	}
	return fmt.Sprintf("%s is in use by %s: stop it, or give this one a store of its own", e.Path, by)
}

// lockFile takes the lock of the store at path. The operating system frees it when the
// process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		by, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, &InUseError{Path: path, Process: strings.TrimSpace(string(by))}
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}
