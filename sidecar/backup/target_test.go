package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/backup"
	"github.com/tollgate/tollgate/sidecar/database"
)

// nothing says whether a target is as if nobody had restored into it.
func nothing(t *testing.T, target string) {
	t.Helper()
	if !strings.Contains(target, "://") {
		if found := entries(t, filepath.Dir(target)); len(found) > 0 {
			t.Errorf("%v was left", found)
		}
		return
	}
	if tables := dump(t, target); len(tables) > 0 {
		t.Errorf("tables were left: %v", tables)
	}
	var functions int
	must(t, raw(t, target).QueryRow(`SELECT COUNT(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace`).Scan(&functions))
	if functions > 0 {
		t.Errorf("%d functions were left", functions)
	}
}

func TestDamagedBackupsAreRefused(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	filled(t, source)
	good := written(t, source)
	damaged := map[string][]byte{
		"nothing":                  nil,
		"a part of a line":         []byte("SQLite"),
		"another file":             []byte(strings.Repeat("this is no backup ", 1000)),
		"its head alone":           good[:100],
		"a page missing":           good[:len(good)-4096],
		"half of it":               good[:len(good)/2],
		"a text of it":             changed(t, good, "ada@example.org", "eve@example.org"),
		"a text that no index has": changed(t, good, `"name":"Ada"`, `"name":"Eve"`),
		"no backup":                plainStore(t),
	}
	target := func(t *testing.T) string { return filepath.Join(t.TempDir(), "new", "s.db") }
	for name, data := range damaged {
		t.Run(name, func(t *testing.T) {
			for _, at := range []string{target(t), places["PostgreSQL"](t)} {
				if _, err := backup.Restore(t.Context(), bytes.NewReader(data), at); !errors.Is(err, backup.ErrNoBackup) {
					t.Errorf("err = %v, want ErrNoBackup", err)
				}
				nothing(t, at)
			}
		})
	}
	t.Run("any byte", func(t *testing.T) { // refused, or nothing that counts was in it
		want := target(t)
		restored(t, good, want)
		random, refused := rand.New(rand.NewPCG(1, 2)), 0
		for range 30 {
			data, i := bytes.Clone(good), random.IntN(len(good))
			for data[i] == 0 { // most of what nothing stands in
				i = random.IntN(len(good))
			}
			data[i] ^= byte(1 << random.IntN(8))
			at := target(t)
			if _, err := backup.Restore(t.Context(), bytes.NewReader(data), at); err != nil {
				refused++
				nothing(t, at)
				continue
			}
			if diff := cmp.Diff(withoutRestore(dump(t, want)), withoutRestore(dump(t, at))); diff != "" {
				t.Errorf("byte %d was changed, and was restored (-good +damaged):\n%s", i, diff)
			}
		}
		if refused == 0 {
			t.Error("no change was found")
		}
	})
}

// changed is a file with one place where a text stands changed.
func changed(t *testing.T, data []byte, from, to string) []byte {
	t.Helper()
	if !bytes.Contains(data, []byte(from)) {
		t.Fatalf("there is no %s in it", from)
	}
	return bytes.Replace(data, []byte(from), []byte(to), 1)
}

// plainStore is a store's file that is no backup.
func plainStore(t *testing.T) []byte {
	t.Helper()
	at := places["SQLite"](t)
	_, end := opened(t, at)
	end()
	data, err := os.ReadFile(at)
	must(t, err)
	return data
}

// A reader that fails is no damaged backup.
func TestAReaderThatFails(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	data := written(t, source)
	broken := io.MultiReader(bytes.NewReader(data[:5000]), failing{})
	at := filepath.Join(t.TempDir(), "new", "s.db")
	if _, err := backup.Restore(t.Context(), broken, at); !errors.Is(err, errFull) || errors.Is(err, backup.ErrNoBackup) {
		t.Errorf("err = %v, want that of the reader", err)
	}
	nothing(t, at)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFull }

func TestTargetsThatAreNotNew(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	filled(t, source)
	data := written(t, source)
	for name, tc := range map[string]struct {
		place string
		make  func(*testing.T, string)
	}{
		"a file":                  {"SQLite", func(t *testing.T, at string) { must(t, os.WriteFile(at, []byte("mine"), 0o600)) }},
		"an empty file":           {"SQLite", func(t *testing.T, at string) { must(t, os.WriteFile(at, nil, 0o600)) }},
		"a store":                 {"SQLite", func(t *testing.T, at string) { opened(t, at) }},
		"a link to nothing":       {"SQLite", func(t *testing.T, at string) { must(t, os.Symlink("nothing", at)) }},
		"a store's log alone":     {"SQLite", func(t *testing.T, at string) { must(t, os.WriteFile(at+"-wal", []byte("x"), 0o600)) }},
		"a store in a database":   {"PostgreSQL", func(t *testing.T, at string) { db, _ := opened(t, at); storeOf(t, db) }},
		"a table of someone else": {"PostgreSQL", func(t *testing.T, at string) { execute(t, at, `CREATE TABLE mine (id INTEGER)`) }},
		"a function": {"PostgreSQL", func(t *testing.T, at string) {
			execute(t, at, `CREATE FUNCTION mine() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'`)
		}},
		"a table called meta": {"PostgreSQL", func(t *testing.T, at string) { execute(t, at, `CREATE TABLE meta (id INTEGER)`) }},
	} {
		t.Run(name, func(t *testing.T) {
			at := places[tc.place](t)
			tc.make(t, at)
			before := state(t, at)
			if _, err := backup.Restore(t.Context(), bytes.NewReader(data), at); !errors.Is(err, backup.ErrNotEmpty) {
				t.Errorf("err = %v, want ErrNotEmpty", err)
			}
			if diff := cmp.Diff(before, state(t, at)); diff != "" {
				t.Errorf("the target was changed (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("a sidecar whose file was deleted", func(t *testing.T) {
		at := places["SQLite"](t)
		opened(t, at)
		for _, suffix := range []string{"", "-wal", "-shm"} {
			must(t, os.Remove(at+suffix))
		}
		var used *database.InUseError
		if _, err := backup.Restore(t.Context(), bytes.NewReader(data), at); !errors.As(err, &used) {
			t.Errorf("err = %v, want InUseError", err)
		}
	})
	t.Run("tables that a killed restore left", func(t *testing.T) {
		at := places["PostgreSQL"](t)
		_, end := opened(t, at)
		end()
		restored(t, data, at)
	})
	t.Run("no such server", func(t *testing.T) {
		_, err := backup.Restore(t.Context(), bytes.NewReader(data), "postgres://u:hidden@127.0.0.1:1/x")
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("err = %v, want one without the password", err)
		}
	})
}

func execute(t *testing.T, at, statement string) {
	t.Helper()
	_, err := raw(t, at).Exec(statement)
	must(t, err)
}

// state is what is at a target.
func state(t *testing.T, at string) any {
	t.Helper()
	if strings.Contains(at, "://") {
		return dump(t, at)
	}
	files := map[string]int64{}
	for _, name := range entries(t, filepath.Dir(at)) {
		info, err := os.Lstat(filepath.Join(filepath.Dir(at), name))
		must(t, err)
		files[name] = info.Size()
	}
	return files
}

// A restore into PostgreSQL that fails in the middle leaves nothing there.
func TestARestoreThatFailsLeavesNothing(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	filled(t, source)
	must(t, source.Transact(t.Context(), "writing what PostgreSQL does not take", func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO usage_vm (vm, sequence, taken) VALUES ('a' || char(0) || 'b', 1, 1)`)
		return err
	}))
	data := written(t, source)
	at := places["PostgreSQL"](t)
	if _, err := backup.Restore(t.Context(), bytes.NewReader(data), at); err == nil || !strings.Contains(err.Error(), "usage_vm") {
		t.Errorf("err = %v, want one that names the table", err)
	}
	nothing(t, at)
	restored(t, data, places["SQLite"](t)) // which takes it
}

// Two restores into one place at the same time: one of them succeeds, the other one is refused
// and takes nothing away.
func TestTwoRestoresAtOnce(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	filled(t, source)
	data := written(t, source)
	inBoth(t, func(t *testing.T, where place) {
		at := where(t)
		const restores = 3
		ended := make(chan error, restores)
		for range restores {
			go func() {
				_, err := backup.Restore(context.Background(), bytes.NewReader(data), at)
				ended <- err
			}()
		}
		good := 0
		for range restores {
			if err := <-ended; err == nil {
				good++
			}
		}
		if good != 1 {
			t.Errorf("%d of %d restores succeeded, want 1", good, restores)
		}
		db, _ := opened(t, at)
		if _, err := storeOf(t, db).FindSubscription(t.Context(), "ada"); err != nil {
			t.Error(err)
		}
	})
}
