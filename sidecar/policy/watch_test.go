package policy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/policy"
)

// records keeps what is logged and signals each record.
type records struct {
	mu     sync.Mutex
	text   bytes.Buffer
	logged chan struct{}
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.logged <- struct{}{} }()
	return r.text.Write(p)
}

func (r *records) all(t *testing.T) []map[string]any {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(r.text.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		delete(record, "time")
		all = append(all, record)
	}
	return all
}

// watched is an engine under Watch, with what happens to it.
type watched struct {
	*policy.Engine
	log     *records
	changed chan struct{}
}

func watch(t *testing.T, config policy.Config) *watched {
	t.Helper()
	w := &watched{log: &records{logged: make(chan struct{}, 100)}, changed: make(chan struct{}, 100)}
	config.Log = slog.New(slog.NewJSONHandler(w.log, nil))
	config.Catalog = demoCatalog()
	config.Timeout = 5 * time.Second
	var err error
	if w.Engine, err = policy.Open(context.Background(), config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, func() { w.changed <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("watching ended with %v", err)
		}
	})
	return w
}

// await waits for the decision of a request to have reasons, looking after each change.
func (w *watched) await(t *testing.T, reasons ...string) {
	t.Helper()
	patience := time.After(20 * time.Second)
	for {
		got := decide(t, w.Engine, ask(nil)).Reasons
		if cmp.Equal(reasons, got) {
			return
		}
		select {
		case <-w.changed:
		case <-patience:
			t.Fatalf("denied for %v, not %v; log: %v", got, reasons, w.log.all(t))
		}
	}
}

func (w *watched) awaitLog(t *testing.T) {
	t.Helper()
	select {
	case <-w.log.logged:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was logged")
	}
}

func deny(reason string) string { return access + "deny contains \"" + reason + "\"\n" }

func TestWatch(t *testing.T) {
	tests := map[string]func(t *testing.T, dir string, w *watched){
		"a changed file": func(t *testing.T, dir string, w *watched) {
			put(t, dir+"/own.rego", deny("b"))
			w.await(t, "b")
		},
		"a new file": func(t *testing.T, dir string, w *watched) {
			put(t, dir+"/other.rego", deny("b"))
			w.await(t, "a", "b")
		},
		"a new folder in a new folder": func(t *testing.T, dir string, w *watched) {
			put(t, dir+"/x/y/other.rego", deny("b"))
			w.await(t, "a", "b")
			put(t, dir+"/x/y/other.rego", deny("c"))
			w.await(t, "a", "c")
		},
		"a removed file": func(t *testing.T, dir string, w *watched) {
			if err := os.Remove(dir + "/own.rego"); err != nil {
				t.Fatal(err)
			}
			w.await(t)
		},
		"an editor that renames": func(t *testing.T, dir string, w *watched) {
			put(t, dir+"/.own.rego.swp", deny("b"))
			if err := os.Rename(dir+"/.own.rego.swp", dir+"/own.rego"); err != nil {
				t.Fatal(err)
			}
			w.await(t, "b")
		},
		"data": func(t *testing.T, dir string, w *watched) {
			put(t, dir+"/other.rego", access+"deny contains \"b\" if data.flags.on\n")
			put(t, dir+"/flags/data.yaml", "on: true\n")
			w.await(t, "a", "b")
		},
		"many writes, of which the last counts": func(t *testing.T, dir string, w *watched) {
			for i := range 300 {
				put(t, dir+"/own.rego", deny("r"+strings.Repeat("x", i%7)))
			}
			put(t, dir+"/own.rego", deny("last"))
			w.await(t, "last")
		},
		"a folder that is replaced": func(t *testing.T, dir string, w *watched) {
			put(t, dir+".new/own.rego", deny("b"))
			if err := os.Rename(dir, dir+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(dir+".new", dir); err != nil {
				t.Fatal(err)
			}
			w.await(t, "b")
			put(t, dir+"/own.rego", deny("c"))
			w.await(t, "c")
		},
		"a mounted ConfigMap": func(t *testing.T, dir string, w *watched) {
			put(t, dir+"/..1/own.rego", deny("b"))
			put(t, dir+"/..2/own.rego", deny("c"))
			for _, link := range [][2]string{{"..1", "/..data"}, {"..data/own.rego", "/linked.rego"}, {"..2", "/..next"}} {
				if err := os.Symlink(link[0], dir+link[1]); err != nil {
					t.Fatal(err)
				}
			}
			w.await(t, "a", "b")
			if err := os.Rename(dir+"/..next", dir+"/..data"); err != nil {
				t.Fatal(err)
			}
			w.await(t, "a", "c")
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "policies")
			put(t, dir+"/own.rego", deny("a"))
			w := watch(t, policy.Config{Dir: dir})
			w.await(t, "a")
			test(t, dir, w)
		})
	}
}

func TestWatchKeepsTheLastGood(t *testing.T) {
	const test = "package tollgate.access_test\n\nimport data.tollgate.access\n\ntest_b if \"b\" in access.deny\n"
	tests := map[string]struct {
		spoil func(t *testing.T, dir string)
		want  map[string]any // file without its folder
	}{
		"a syntax error": {
			func(t *testing.T, dir string) { put(t, dir+"/own.rego", access+"deny contains\n") },
			map[string]any{"file": "/own.rego", "line": 4., "mistakes": 2.},
		},
		"a type error": {
			func(t *testing.T, dir string) {
				put(t, dir+"/own.rego", access+"deny contains \"b\" if input.request.method == 1\n")
			},
			map[string]any{"file": "/own.rego", "line": 3., "mistakes": 1.},
		},
		"a misspelt field": {
			func(t *testing.T, dir string) {
				put(t, dir+"/sub/lib.rego", "package lib\n\np if input.request.metod == \"GET\"\n")
			},
			map[string]any{"file": "/sub/lib.rego", "line": 3., "mistakes": 1.},
		},
		"a failing test": {
			func(t *testing.T, dir string) { put(t, dir+"/own_test.rego", test) },
			map[string]any{"file": "/own_test.rego", "line": 5., "mistakes": 1.},
		},
		"an empty file": {
			func(t *testing.T, dir string) { put(t, dir+"/own.rego", "") },
			map[string]any{"file": "/own.rego", "line": 1., "mistakes": 1.},
		},
		"broken data": {
			func(t *testing.T, dir string) { put(t, dir+"/data.json", "{") },
			map[string]any{"file": "/data.json", "line": 1., "mistakes": 1.},
		},
		"a folder that is gone": {
			func(t *testing.T, dir string) {
				if err := os.Rename(dir, dir+".old"); err != nil {
					t.Fatal(err)
				}
			},
			map[string]any{"file": "", "line": 0., "mistakes": 1.},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "policies")
			put(t, dir+"/own.rego", deny("a"))
			w := watch(t, policy.Config{Dir: dir})
			revision := w.Policy().Revision
			test.spoil(t, dir)
			w.awaitLog(t)
			if w.Policy().Revision != revision {
				t.Error("the revision moved")
			}
			w.await(t, "a")
			record := w.log.all(t)[0]
			if record["level"] != "ERROR" || record["reason"] == "" {
				t.Errorf("record %v", record)
			}
			delete(record, "level")
			delete(record, "msg")
			delete(record, "reason")
			record["file"] = strings.TrimPrefix(record["file"].(string), dir)
			if diff := cmp.Diff(test.want, record); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}

			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			put(t, dir+"/own.rego", deny("mended"))
			w.await(t, "mended")
			w.await(t, "mended")
		})
	}
}

// What is refused again and again is logged once.
func TestRefusalIsLoggedOnce(t *testing.T) {
	dir := folder(t, map[string]string{"own.rego": deny("a")})
	w := watch(t, policy.Config{Dir: dir})
	put(t, dir+"/own.rego", "package")
	w.awaitLog(t)
	for range 3 {
		put(t, dir+"/own.rego", "package")
		put(t, dir+"/own.rego", "package")
	}
	put(t, dir+"/own.rego", deny("b"))
	w.await(t, "b")
	if all := w.log.all(t); len(all) != 1 {
		t.Errorf("%d records: %v", len(all), all)
	}
}

func TestWatchBundle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	put(t, file, bundled(t, map[string]string{"own.rego": deny("a")}))
	w := watch(t, policy.Config{Bundle: file})
	w.await(t, "a")
	put(t, file+".next", bundled(t, map[string]string{"own.rego": deny("b")}))
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
	w.await(t, "b")
	put(t, file, "no bundle")
	w.awaitLog(t)
	w.await(t, "b")
}

// Without a folder there is nothing to watch, and Watch ends with its context.
func TestWatchEmbedded(t *testing.T) {
	w := watch(t, policy.Config{})
	w.await(t)
}
