// Package socket serves HTTP on Unix sockets: for the filters, and for administrators.
package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// MaxPath is the longest path of a socket in bytes: sizeof(sun_path) on Linux less its closing
// zero byte (unix(7)).
const MaxPath = 107

// Listen opens a Unix socket for its owner alone (mode 0600, in a folder of mode 0700 where
// that is missing). It removes a socket that a dead process left behind, and nothing else.
func Listen(path string) (net.Listener, error) {
	if len(path) > MaxPath {
		return nil, fmt.Errorf("listening on %s: a socket's path has at most %d bytes, this one has %d: choose a shorter one", path, MaxPath, len(path))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on a socket: %w", err) // names the path
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, errors.Join(err, l.Close()))
	}
	return l, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("a file that is no socket stands there: remove it, or choose another path")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return errors.New("another process listens there: stop it, or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("a socket stands there whose owner cannot be told: %w", err)
	}
	return os.Remove(path)
}
