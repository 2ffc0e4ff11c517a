package main

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a file must be quiet before it is read again: an editor
	// writes in several steps.
	settle = 50 * time.Millisecond
	// lookEvery finds what no event tells: a file system without events, a folder that
	// was itself replaced.
	lookEvery = time.Second
)

// follow calls changed, one call at a time, after the file at path was written, touched or
// replaced, also by a rename or by another target of a symbolic link, until ctx ends. What
// changed after seen was read is not missed.
func follow(ctx context.Context, path string, seen fs.FileInfo, log *slog.Logger, changed func()) {
	var events chan fsnotify.Event
	var lost chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		events, lost = watcher.Events, watcher.Errors
		err = watcher.Add(filepath.Dir(path))
	}
	if err != nil {
		log.Warn("following the catalog without events: changes take up to a second", "error", err)
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	quiet := time.NewTimer(0) // look once now: it may have changed before the watcher stood
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			// Kubernetes swaps the link ..data, through which its files are reached.
			if name := filepath.Base(e.Name); name == filepath.Base(path) || name == "..data" {
				quiet.Reset(settle)
			}
			continue
		case err := <-lost:
			log.Debug("following the catalog: looking, for events were dropped", "error", err)
		case <-look.C:
		case <-quiet.C:
		}
		now, err := os.Stat(path)
		if err != nil || same(seen, now) {
			continue // a file that is gone comes back, or the last good stays
		}
		if recent := time.Since(now.ModTime()); recent >= 0 && recent < settle {
			quiet.Reset(settle)
			continue
		}
		seen = now
		changed()
	}
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
