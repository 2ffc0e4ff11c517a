package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/backup"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/store"
)

func TestARestoredStoreGoesOn(t *testing.T) {
	inBoth(t, func(t *testing.T, where place) {
		ctx := t.Context()
		source, _ := opened(t, places["SQLite"](t))
		secret := filled(t, source)
		before := storeOf(t, source)
		revision, err := before.Revise(ctx, [32]byte{2})
		must(t, err)
		beginning := time.Now().Truncate(time.Millisecond)
		data := written(t, source)
		// What happens after the backup is not in it.
		must(t, before.RevokeToken(ctx, "ci", store.Write{Actor: "test"}))

		target := where(t)
		summary := restored(t, data, target)
		if summary.Store != before.ID() || summary.Version != database.Version() || summary.Taken.Before(beginning) || summary.Taken.After(time.Now()) ||
			summary.Rows["subscription"] != 1 || summary.Rows["resource"] != 1 || len(summary.Notes) < 5 || strings.Contains(summary.Target, "password") {
			t.Errorf("summary %+v", summary)
		}
		db, _ := opened(t, target)
		s := storeOf(t, db)
		if s.ID() != before.ID() || !bytes.Equal(s.Pepper(), before.Pepper()) {
			t.Error("it is another store")
		}
		was, err := before.FindSubscription(ctx, "ada")
		must(t, err)
		is, err := s.FindSubscription(ctx, "ada")
		must(t, err)
		if is.Revision <= was.Revision {
			t.Errorf("the subscription's revision is %d, and was %d", is.Revision, was.Revision)
		}
		is.Revision = was.Revision
		if diff := cmp.Diff(was, is); diff != "" {
			t.Errorf("subscription (-before +restored):\n%s", diff)
		}
		if _, err := s.Authenticate(ctx, string(secret)); err != nil {
			t.Errorf("a token of the time of the backup: %v", err)
		}
		if owner, known, err := s.Owner(ctx, job.Backend, job.Resource); err != nil || !known || owner != 1 {
			t.Errorf("the job is of %d, %v, %v", owner, known, err)
		}
		again, err := s.Revise(ctx, [32]byte{2})
		must(t, err)
		if again.Content != revision.Content || again.Number <= revision.Number+1000 {
			t.Errorf("revision %v after %v: the same content, and a number that was never used, are wanted", again, revision)
		}
		first, err := before.Object(ctx, store.KindAPI, "Demo")
		must(t, err)
		second, err := s.Object(ctx, store.KindAPI, "Demo")
		must(t, err)
		if second.Revision <= first.Revision || !bytes.Equal(first.Spec, second.Spec) {
			t.Errorf("API: revision %d after %d", second.Revision, first.Revision)
		}
		report, err := audit.Verify(ctx, db, nil)
		must(t, err)
		last, err := audit.List(ctx, db, audit.Query{Limit: 1})
		must(t, err)
		if report.Broken != nil || len(last) != 1 || last[0].Action != "store.restore" || last[0].Actor == "" || !strings.Contains(last[0].After, summary.Taken.Format("2006-01-02T15:04")) {
			t.Errorf("audit: %+v, last %+v", report, last)
		}
		// The creation that was answered is so still; the other one may be tried again.
		if answer, err := s.Once(ctx, "token:ci", "key-0", [32]byte{0}); err != nil || answer == nil || answer.Status != 201 {
			t.Errorf("answered: %+v, %v", answer, err)
		}
		if answer, err := s.Once(ctx, "token:ci", "key-1", [32]byte{1}); err != nil || answer != nil {
			t.Errorf("not answered: %+v, %v", answer, err)
		}
		if !strings.Contains(target, "://") {
			info, err := os.Stat(target)
			must(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", info.Mode())
			}
			for _, e := range entries(t, filepath.Dir(target)) {
				if strings.Contains(e, "restore") {
					t.Errorf("%s was left", e)
				}
			}
		}
	})
}

// Rates let nothing pass until a window and the longest life of a lease have passed since the
// first start; quotas go on from the backup.
func TestLimitsOfARestoredStore(t *testing.T) {
	inBoth(t, func(t *testing.T, where place) {
		source, _ := opened(t, where(t))
		filled(t, source)
		data := written(t, source)
		for name, target := range map[string]place{"to SQLite": places["SQLite"], "to PostgreSQL": places["PostgreSQL"]} {
			t.Run(name, func(t *testing.T) {
				at := target(t)
				restored(t, data, at)
				db, _ := opened(t, at)
				var ahead time.Duration // of a day that may be long after the restore
				clock := ledger.Options{
					Log:       slog.New(slog.DiscardHandler),
					Now:       func() time.Time { return time.Now().Add(ahead) },
					Monotonic: func() time.Duration { return time.Since(began) + ahead },
					Server:    func(t time.Time) time.Time { return t.Add(ahead) },
				}
				ahead = 48 * time.Hour // the old sidecar may have run until now
				l, err := ledger.Open(t.Context(), db, clock)
				must(t, err)
				if l.Resets() == 0 {
					t.Error("filters go on to remember what was exhausted")
				}
				g := granted(t, l, take(100, rate))
				if g.Exhausted == nil || g.Exhausted.RetryMillis < 85_000 || g.Exhausted.RetryMillis > 90_000 {
					t.Fatalf("a rate of a minute right after the start: %+v, want to wait about 90 s", g)
				}
				g = granted(t, l, take(101, quota))
				if len(g.Leases) != 1 || g.Leases[0].Left != 3 {
					t.Errorf("a quota of 5 of which one was spent: %+v, want one more and 3 left", g)
				}
				ahead += time.Duration(85) * time.Second
				if g := granted(t, l, take(102, rate)); g.Exhausted == nil {
					t.Errorf("after 85 s: %+v, want nothing", g)
				}
				ahead += 6 * time.Second
				if g := granted(t, l, take(103, rate)); len(g.Leases) != 1 || g.Leases[0].Left != 4 {
					t.Errorf("after 91 s: %+v, want one of 5", g)
				}
				// The next start holds nothing.
				l, err = ledger.Open(t.Context(), db, clock)
				must(t, err)
				if g := granted(t, l, take(104, rate)); len(g.Leases) != 1 {
					t.Errorf("after another start: %+v, want one", g)
				}
				// A worker settles what it was leased before the backup.
				r := l.Commit(t.Context(), []ledger.Batch{{Worker: "w", Settlements: []wire.Settlement{{Take: 1, Counter: 2, Spent: 0}}}})
				must(t, r[0].Err)
			})
		}
	})
}

var began = time.Now()

// A filter that holds a later revision of the store gets a whole snapshot from a sidecar on
// the restored one, at once.
func TestFiltersFollowARestoredStore(t *testing.T) {
	source, _ := opened(t, places["SQLite"](t))
	filled(t, source)
	data := written(t, source)
	s := storeOf(t, source)
	var held wire.Revision
	for i := range 5 { // after the backup
		var err error
		held, err = s.Revise(t.Context(), [32]byte{9, byte(i)})
		must(t, err)
	}
	target := places["SQLite"](t)
	restored(t, data, target)
	db, _ := opened(t, target)
	call := serving(t, db)
	var snapshot wire.Snapshot
	status := call(wire.PathWatch+"?"+url.Values{wire.WatchVersion: {fmt.Sprint(wire.Version)}, wire.WatchRevision: {held.String()}}.Encode(), &snapshot)
	if status != http.StatusOK || snapshot.Revision.Store != held.Store || snapshot.Revision.Number <= held.Number || len(snapshot.APIs) != 1 {
		t.Errorf("status %d, revision %v, %d APIs: want all of it, beyond %v", status, snapshot.Revision, len(snapshot.APIs), held)
	}
}

// serving runs the filters' API on a store.
func serving(t *testing.T, db *database.DB) func(path string, into any) int {
	t.Helper()
	ctx := t.Context()
	s := storeOf(t, db)
	c, err := s.Config(ctx)
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	engine, err := policy.Open(ctx, policy.Config{Timeout: 10 * time.Second, Log: log})
	must(t, err)
	_, err = engine.SetCatalog(policy.CatalogData(c))
	must(t, err)
	server := filterapi.New(filterapi.Config{Store: s, Policy: engine, Log: log, Gateway: wire.Gateway{Name: "g", MaxStaleSeconds: 300}})
	must(t, server.Publish(ctx, filterapi.Catalog{Catalog: c}))
	dir, err := os.MkdirTemp("", "tg") // t.TempDir is too long a path for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s.sock")
	l, err := socket.Listen(path)
	must(t, err)
	run, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(run, l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	return func(path string, into any) int {
		t.Helper()
		response, err := (&http.Client{Transport: transport}).Get("http://sidecar" + path)
		must(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		must(t, err)
		if response.StatusCode == http.StatusOK {
			must(t, json.Unmarshal(body, into))
		}
		return response.StatusCode
	}
}

func TestBackupsOfOtherVersions(t *testing.T) {
	t.Run("later", func(t *testing.T) {
		source, _ := opened(t, places["SQLite"](t))
		path := fileOf(t, written(t, source))
		execute(t, path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
		execute(t, path, `UPDATE backup SET version = 99999`)
		data, err := os.ReadFile(path)
		must(t, err)
		at := filepath.Join(t.TempDir(), "new", "s.db")
		if _, err := backup.Restore(t.Context(), bytes.NewReader(data), at); !errors.Is(err, backup.ErrNoBackup) || !strings.Contains(err.Error(), "99999, which a later tollgate made") {
			t.Errorf("err = %v, want one that names the version", err)
		}
		nothing(t, at)
	})
	for version := int64(1); version < database.Version(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "old.db")
			must(t, old(t, path, version))
			must(t, backup.Seal(t.Context(), path, time.Now()))
			data, err := os.ReadFile(path)
			must(t, err)
			for _, where := range places {
				at := where(t)
				if s := restored(t, data, at); s.Version != version || s.Rows["subscription"] != 1 {
					t.Errorf("summary %+v", s)
				}
				db, _ := opened(t, at)
				subs, err := storeOf(t, db).Subscriptions(t.Context())
				if err != nil || len(subs) != 1 || subs[0].Name != "alice" {
					t.Errorf("subscriptions %+v, %v", subs, err)
				}
			}
		})
	}
}

// old makes a store's file with the tables of a version.
func old(t *testing.T, path string, version int64) error {
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS(filepath.Join("..", "database", "migrations", "sqlite")))
	must(t, err)
	if _, err := p.UpTo(t.Context(), version); err != nil {
		return err
	}
	_, err = db.Exec(`INSERT INTO meta (one, store, number, fingerprint, pepper) VALUES (1, 'abc', 5, x'', x'01');
		INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed)
		VALUES (1, 'alice', 'alice@example.org', 'product', 'Starter', 1, 0, '{}', 1, 0)`)
	return err
}
