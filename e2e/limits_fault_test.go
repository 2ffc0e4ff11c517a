//go:build linux

package e2e_test

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // to lock the store as another program would

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

// faultPlans have one plan for each fault, and one without limits.
var faultPlans = plans{
	"free": "", "locked": week5, "full": week5, "dead": week5, "frozen": week5,
}

const week5 = "{name: minute, kind: rate, amount: 5, window: 1m}, {name: week, kind: quota, amount: 100, period: 7d}"

// TestLedgerFaults: while the database is locked or full, what needs a new lease is refused
// with 503 and a time to come back, all else goes on, and afterwards nothing is lost (I5).
func TestLedgerFaults(t *testing.T) {
	r := faultPlans.open(t, harness.Options{})
	t.Run("locked", func(t *testing.T) {
		release := func() {}
		ledgerFault(t, r.For(t), "locked", func() { release = locked(t, filepath.Join(r.Dir, "tollgate.db")) }, func() { release() })
	})
	t.Run("full", func(t *testing.T) {
		// Nothing can be written to any file from its second byte on.
		bound := func(bytes uint64) {
			var limit unix.Rlimit
			err := unix.Prlimit(r.SidecarPID(), unix.RLIMIT_FSIZE, nil, &limit)
			if limit.Cur = bytes; err == nil {
				err = unix.Prlimit(r.SidecarPID(), unix.RLIMIT_FSIZE, &limit, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		ledgerFault(t, r.For(t), "full", func() { bound(1) }, func() { bound(unix.RLIM_INFINITY) })
	})
}

// TestLedgerFaultsOfPostgreSQL: the same where the server dies or stands still.
func TestLedgerFaultsOfPostgreSQL(t *testing.T) {
	postgres := postgrestest.Start(t)
	r := faultPlans.open(t, harness.Options{Store: postgres.Database(t)})
	t.Run("killed", func(t *testing.T) { ledgerFault(t, r.For(t), "dead", postgres.Kill, postgres.Restart) })
	t.Run("frozen", func(t *testing.T) { ledgerFault(t, r.For(t), "frozen", postgres.Freeze, postgres.Thaw) })
}

// locked takes the write lock of a SQLite file, as another program would, until it is called
// off.
func locked(t *testing.T, file string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		_, err := db.Exec("ROLLBACK")
		if err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func ledgerFault(t *testing.T, r resort, plan string, begin, end func()) {
	for _, p := range []string{plan, "free"} {
		if answer := r.call(p); answer.Status != http.StatusOK {
			t.Fatalf("before, %s: %d %s", p, answer.Status, answer.Body)
		}
	}
	r.settled(t, plan, "minute", 1)
	begin()
	for i := range 4 {
		answer := r.call(plan)
		if answer.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("call %d that needs a lease: %d %s, Retry-After %q", i, answer.Status, answer.Body, answer.Header.Get("Retry-After"))
		}
		if answer := r.call("free"); answer.Status != http.StatusOK {
			t.Errorf("a call without limits: %d %s", answer.Status, answer.Body)
		}
	}
	end()
	// Whatever became of the takes that were not answered, nothing is lost and nothing won.
	passed := 0
	r.Eventually(20*time.Second, "all is well again", func() bool {
		if r.call(plan).Status == http.StatusOK {
			passed++
		}
		return passed > 0
	})
	r.settled(t, plan, "minute", 2)
	got := map[int]int{}
	for range 5 {
		got[r.call(plan).Status]++
	}
	if diff := cmp.Diff(map[int]int{http.StatusOK: 3, http.StatusTooManyRequests: 2}, got); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s", diff)
	}
	r.settled(t, plan, "week", 5)
}
