package database_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

// with adds settings to a URL.
func with(t *testing.T, source string, settings ...string) string {
	t.Helper()
	u, err := url.Parse(source)
	must(t, err)
	q := u.Query()
	for i := 0; i < len(settings); i += 2 {
		q.Set(settings[i], settings[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func text(t *testing.T, db *database.DB, query string) (s string) {
	t.Helper()
	must(t, db.View(t.Context(), "reading", func(tx *database.Tx) error { return tx.QueryRow(t.Context(), query).Scan(&s) }))
	return s
}

// until repeats what fails with an error that is Unavailable, for as long as a busy machine
// may need.
func until(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		err := f()
		if err == nil {
			return
		}
		if !database.Unavailable(err) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestSessions(t *testing.T) {
	server := postgrestest.Shared(t)
	for name, tc := range map[string]struct {
		settings []string
		role     string // a setting of the database
		want     map[string]string
	}{
		"as it comes": {nil, "", map[string]string{"synchronous_commit": "on", "lock_timeout": "3s", "statement_timeout": "6s",
			"idle_in_transaction_session_timeout": "6s", "application_name": "tollgate", "client_encoding": "UTF8"}},
		"off in the URL":           {[]string{"synchronous_commit", "off"}, "", map[string]string{"synchronous_commit": "on"}},
		"off in the database":      {nil, "synchronous_commit = off", map[string]string{"synchronous_commit": "on"}},
		"weaker in the database":   {nil, "synchronous_commit = remote_write", map[string]string{"synchronous_commit": "on"}},
		"stronger in the database": {nil, "synchronous_commit = remote_apply", map[string]string{"synchronous_commit": "remote_apply"}},
		"timeouts in the database": {nil, "statement_timeout = '500ms'", map[string]string{"statement_timeout": "6s"}},
		"a name":                   {[]string{"application_name", "gateway-3"}, "", map[string]string{"application_name": "gateway-3"}},
	} {
		t.Run(name, func(t *testing.T) {
			source := server.Database(t)
			if tc.role != "" {
				u, err := url.Parse(source)
				must(t, err)
				must(t, run(t.Context(), opened(t, database.Config{Source: server.URL}), `ALTER DATABASE `+strings.TrimPrefix(u.Path, "/")+` SET `+tc.role))
			}
			db := opened(t, database.Config{Source: with(t, source, tc.settings...), Busy: 3 * time.Second})
			got := map[string]string{}
			for setting := range tc.want {
				got[setting] = text(t, db, `SHOW `+setting)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSidecarsMayStartAtOnce(t *testing.T) {
	source := postgrestest.Shared(t).Database(t)
	var starting sync.WaitGroup
	for range 6 {
		starting.Go(func() {
			db, err := database.Open(t.Context(), database.Config{Source: source})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
}

// raise fails as PostgreSQL does when it ends a transaction in favour of another.
const raise = `DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$`

func TestLostRacesAreRepeated(t *testing.T) {
	db := opened(t, database.Config{Source: postgrestest.Shared(t).Database(t)})
	tables(t, db)
	for name, tc := range map[string]struct {
		losses, tries int
		n             int64
	}{
		"none":     {0, 1, 1},
		"some":     {3, 4, 1},
		"too many": {100, 5, 0},
	} {
		must(t, run(t.Context(), db, `UPDATE t SET n = 0`))
		tries := 0
		err := db.Transact(t.Context(), "adding", func(tx *database.Tx) error {
			tries++
			if _, err := tx.Exec(t.Context(), `UPDATE t SET n = n + 1`); err != nil {
				return err
			}
			if tries <= tc.losses {
				_, err := tx.Exec(t.Context(), raise)
				return err
			}
			return nil
		})
		if won := tc.n == 1; (err == nil) != won || !won && !database.Unavailable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if n := number(t, db, `SELECT n FROM t`); n != tc.n || tries != tc.tries {
			t.Errorf("%s: n = %d after %d tries, want %d after %d", name, n, tries, tc.n, tc.tries)
		}
	}
}

func TestADeadlockIsResolved(t *testing.T) {
	db := opened(t, database.Config{Source: postgrestest.Shared(t).Database(t), Busy: time.Minute})
	tables(t, db)
	must(t, run(t.Context(), db, `INSERT INTO t (id, n) VALUES (2, 0)`))
	var met sync.WaitGroup
	met.Add(2)
	var tries atomic.Int32
	cross := func(first, second int64) error {
		meet := sync.OnceFunc(func() { met.Done(); met.Wait() })
		return db.Transact(t.Context(), "crossing", func(tx *database.Tx) error {
			tries.Add(1)
			if _, err := tx.Exec(t.Context(), `UPDATE t SET n = n + 1 WHERE id = ?`, first); err != nil {
				return err
			}
			meet()
			_, err := tx.Exec(t.Context(), `UPDATE t SET n = n + 1 WHERE id = ?`, second)
			return err
		})
	}
	other := make(chan error, 1)
	go func() { other <- cross(2, 1) }()
	must(t, errors.Join(cross(1, 2), <-other))
	if n := number(t, db, `SELECT SUM(n)::BIGINT FROM t`); n != 4 || tries.Load() < 3 {
		t.Errorf("the sum is %d after %d tries, want 4 after 3 or more", n, tries.Load())
	}
}

func TestAServerThatIsGone(t *testing.T) {
	server := postgrestest.Start(t)
	db := opened(t, database.Config{Source: server.URL})
	tables(t, db)
	busy := func(f func(context.Context) error) { // so that all connections are open
		var running sync.WaitGroup
		for range 6 {
			running.Go(func() { _ = f(t.Context()) })
		}
		running.Wait()
	}
	add := func(ctx context.Context) error {
		return run(ctx, db, `UPDATE t SET n = n + 1`, `SELECT pg_sleep(0.05)`)
	}
	for name, leave := range map[string]func(){"killed": server.Kill, "stopped": server.Stop} {
		busy(add)
		before := number(t, db, `SELECT n FROM t`)
		leave()
		for range 8 {
			began := time.Now()
			if err := add(t.Context()); !database.Unavailable(err) {
				t.Errorf("%s: %v, want an error that is Unavailable", name, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: it took %v to say so", name, took)
			}
		}
		server.Restart()
		if err := add(t.Context()); err != nil { // at once, on connections that were broken
			t.Errorf("%s, and back: %v", name, err)
		}
		if n := number(t, db, `SELECT n FROM t`); n != before+1 {
			t.Errorf("%s: n = %d, want %d", name, n, before+1)
		}
	}
}

// An idle connection shows that it has ended only when it is used.
func TestConnectionsThatEndedAreReplaced(t *testing.T) {
	source := postgrestest.Shared(t).Database(t)
	db, other := opened(t, database.Config{Source: source}), opened(t, database.Config{Source: source})
	tables(t, db)
	for range 5 {
		var running sync.WaitGroup
		for range 6 {
			running.Go(func() {
				if err := run(t.Context(), db, `SELECT pg_sleep(0.05)`); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		must(t, run(t.Context(), other, `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'`))
		must(t, run(t.Context(), db, `UPDATE t SET n = n + 1`))
	}
}

// Not a connection breaks, but nothing comes back: as when a network swallows everything.
func TestAServerThatDoesNotAnswer(t *testing.T) {
	server := postgrestest.Start(t)
	db := opened(t, database.Config{Source: server.URL, Busy: 100 * time.Millisecond})
	tables(t, db)
	server.Freeze()
	began := time.Now()
	if err := run(t.Context(), db, `UPDATE t SET n = 1`); !database.Unavailable(err) {
		t.Errorf("%v, want an error that is Unavailable", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	server.Thaw()
	until(t, func() error { return run(t.Context(), db, `UPDATE t SET n = 2`) })
	if n := number(t, db, `SELECT n FROM t`); n != 2 {
		t.Errorf("n = %d, want 2", n)
	}
}

func TestUnavailableStates(t *testing.T) {
	source := postgrestest.Shared(t).Database(t)
	c := database.Config{Source: source, Busy: 100 * time.Millisecond}
	db := opened(t, c)
	tables(t, db)
	other := opened(t, c)
	ctx := t.Context()
	for name, tc := range map[string]struct {
		f    func() error
		code string
	}{
		"a row is locked": {func() (err error) {
			must(t, db.Transact(ctx, "holding", func(tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE t SET n = 1`); err != nil {
					return err
				}
				err = run(ctx, other, `UPDATE t SET n = 2`)
				return nil
			}))
			return err
		}, "55P03"},
		"a statement takes long": {func() error { return run(ctx, db, `SELECT pg_sleep(60)`) }, "57014"},
		"a standby":              {func() error { return run(ctx, db, `SET TRANSACTION READ ONLY`, `UPDATE t SET n = 3`) }, "25006"},
		"a full disk":            {func() error { return run(ctx, db, strings.Replace(raise, "40001", "53100", 1)) }, "53100"},
		"an administrator":       {func() error { return run(ctx, db, `SELECT pg_terminate_backend(pg_backend_pid())`) }, "57P01"},
		"a transaction frozen": {func() error {
			return db.Transact(ctx, "freezing", func(tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE t SET n = 4`); err != nil {
					return err
				}
				until(t, func() error { return run(ctx, other, `UPDATE t SET n = 5`) }) // once the lock is free
				_, err := tx.Exec(ctx, `UPDATE t SET n = 6`)
				return err
			})
		}, ""}, // the server has ended the connection, and says so if it still is heard
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.f()
			var told *pgconn.PgError
			if !database.Unavailable(err) || tc.code != "" && (!errors.As(err, &told) || told.Code != tc.code) {
				t.Errorf("%v, want an error that is Unavailable, with SQLSTATE %s", err, tc.code)
			}
			must(t, run(ctx, db, `UPDATE t SET n = 7`)) // the pool has what works
		})
	}
}

func TestNoErrorShowsAPassword(t *testing.T) {
	server := postgrestest.Shared(t)
	const planted = "pl4nted/s3cret#@?"
	wrong, err := url.Parse(server.URL)
	must(t, err)
	wrong.User = url.UserPassword("tollgate", planted)
	parts := []string{"pl4nted", "s3cret"}
	for name, source := range map[string]string{
		"wrong password":          wrong.String(),
		"nobody listens":          "postgres://u:" + url.QueryEscape(planted) + "@127.0.0.1:1/d",
		"no socket":               "postgres://u:" + url.QueryEscape(planted) + "@/d?host=/nowhere",
		"no database":             with(t, wrong.String(), "dbname", "nothing"),
		"in the query":            with(t, "postgres://u@127.0.0.1:1/d", "password", planted),
		"a bad setting":           with(t, wrong.String(), "sslmode", "maybe"),
		"a bad setting, in query": with(t, "postgres://u@h/d", "password", planted, "connect_timeout", "soon"),
		"not escaped: slash":      "postgres://u:pl4nted/s3cret@h/d",
		"not escaped: slash, 12":  "postgres://u:12/pl4nted-s3cret@h/d",
		"not escaped: hash":       "postgres://u:pl4nted#s3cret@h/d",
		"not escaped: hash, 12":   "postgres://u:12#pl4nted-s3cret@h/d",
		"not escaped: question":   "postgres://u:12?pl4nted-s3cret@h/d",
		"not escaped: percent":    "postgres://u:pl4nted%zzs3cret@h/d",
		"not escaped: space":      "postgres://u:pl4nted s3cret@h/d",
		"not escaped: bracket":    "postgres://u:pl4nted[s3cret@h/d",
		"a bad port":              "postgres://u:pl4nted-s3cret@h:x/d",
		"capitals":                "POSTGRES://u:pl4nted-s3cret@127.0.0.1:1/d",
	} {
		for _, c := range []database.Config{{Source: source}, {Source: source, ReadOnly: true}} {
			_, err := database.Open(t.Context(), c)
			if err == nil {
				t.Fatalf("%s: it opened", name)
			}
			for _, shown := range []string{err.Error(), database.Redacted(source)} {
				for _, part := range parts {
					if strings.Contains(shown, part) {
						t.Errorf("%s: %q shows a part of the password", name, shown)
					}
				}
			}
		}
	}
	db := opened(t, database.Config{Source: server.Database(t)})
	if password, _ := wrong.User.Password(); strings.Contains(db.String(), password) || !strings.HasPrefix(db.String(), "postgres://tollgate@") {
		t.Errorf("it calls itself %s", db)
	}
}

func TestThePasswordMayComeFromTheEnvironment(t *testing.T) {
	u, err := url.Parse(postgrestest.Shared(t).Database(t))
	must(t, err)
	password, _ := u.User.Password()
	t.Setenv("PGPASSWORD", password)
	t.Setenv("PGUSER", u.User.Username())
	u.User = nil
	u.Scheme = "postgresql"
	tables(t, opened(t, database.Config{Source: u.String()}))
}
