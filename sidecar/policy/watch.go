package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long nothing may change before the policies are read, for editors write
// a file in several steps; missing is how often a folder that is gone is looked for.
// patience bounds the wait for an end of the changes.
const (
	settle   = 20 * time.Millisecond
	patience = 10 * settle
	missing  = 250 * time.Millisecond
)

// Watch takes changed policies over as soon as they have settled, and calls changed each
// time the revision moved. A set with a mistake never replaces the running one; it is
// logged once, and taken over when it is mended. Also when the folder is gone, the last
// good set stays.
//
// It returns nil when ctx ends, and an error when files cannot be watched. What changed
// before the watch began is not missed.
func (e *Engine) Watch(ctx context.Context, changed func()) error {
	root := e.config.Dir
	if root == "" {
		root = e.config.Bundle
	}
	if root == "" {
		<-ctx.Done()
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching policies: %w", err)
	}
	defer watcher.Close()
	w := &watch{engine: e, watcher: watcher, root: filepath.Clean(root), target: filepath.Clean(root), changed: changed}
	return w.run(ctx)
}

// watch is one run of Engine.Watch.
type watch struct {
	engine  *Engine
	watcher *fsnotify.Watcher
	root    string
	target  string // root with its links followed
	changed func()
	suspect string // why the last look failed
	refused string // what was last logged
}

func (w *watch) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var since time.Time // the first change that was not acted upon
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-w.watcher.Events:
			if !ok {
				return errClosed
			}
			if !w.concerns(event.Name) {
				continue
			}
			if since.IsZero() {
				since = time.Now()
			}
			timer.Reset(min(settle, patience-time.Since(since)))
		case _, ok := <-w.watcher.Errors:
			if !ok {
				return errClosed
			}
			timer.Reset(settle) // events may have been lost: look for ourselves
		case <-timer.C:
			since = time.Time{}
			if again := w.look(ctx); again > 0 {
				timer.Reset(again)
			}
		}
	}
}

var errClosed = errors.New("watching policies: the watch was closed")

// concerns: beside the root, the folder above it may hold anything.
func (w *watch) concerns(name string) bool {
	name = filepath.Clean(name)
	for _, root := range []string{w.root, w.target} {
		if name == root || strings.HasPrefix(name, root+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// look takes over what is there now, and says when to look again; 0: at the next event.
func (w *watch) look(ctx context.Context) time.Duration {
	// First watch, then read: what changes after the reading is an event.
	if err := w.follow(); err != nil {
		return w.doubt(err, missing)
	}
	moved, err := w.engine.Reload(ctx)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errUnsettled):
		return settle
	case err != nil:
		return w.doubt(err, 0)
	default:
		w.suspect, w.refused = "", ""
		if moved && w.changed != nil {
			w.changed()
		}
	}
	return 0
}

// follow watches every folder of the tree, new ones as well, and the one above: the root
// itself may be replaced. Watching a folder twice does nothing.
func (w *watch) follow() error {
	if err := w.watcher.Add(filepath.Dir(w.root)); err != nil {
		return fmt.Errorf("watching policies: %w", err)
	}
	info, err := os.Stat(w.root)
	if err != nil {
		return fmt.Errorf("watching policies: %w", err)
	}
	if !info.IsDir() {
		return nil
	}
	// A link to a folder is watched where it leads, as it is read.
	if w.target, err = filepath.EvalSymlinks(w.root); err != nil {
		return fmt.Errorf("watching policies: %w", err)
	}
	err = filepath.WalkDir(w.target, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return w.watcher.Add(path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("watching policies: %w", err)
	}
	return nil
}

// doubt looks once more before it blames the author, for a file that is just being
// written is empty for a moment. It returns when to look again.
func (w *watch) doubt(err error, again time.Duration) time.Duration {
	if err.Error() != w.suspect {
		w.suspect = err.Error()
		return settle
	}
	if err.Error() != w.refused {
		w.refused = err.Error()
		w.refuse(err)
	}
	return again
}

func (w *watch) refuse(err error) {
	first, count := firstMistake(err)
	w.engine.config.Log.Error("policies refused, going on with the last good ones",
		slog.String("file", first.File), slog.Int("line", first.Line),
		slog.String("reason", first.Message), slog.Int("mistakes", count))
}
