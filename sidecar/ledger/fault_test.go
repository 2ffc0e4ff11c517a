package ledger_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// again asks until the ledger answers: it works again by itself.
func again(t *testing.T, l *ledger.Ledger, b ledger.Batch) ledger.Grant {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		grants, err := l.Take(ctx, b)
		if err == nil {
			return append(grants, ledger.Grant{})[0]
		}
		if !errors.Is(err, ledger.ErrUnavailable) {
			t.Fatalf("taking: %v, want it to wrap ErrUnavailable", err)
		}
	}
}

// down fails unless the ledger says that it is not available.
func down(t *testing.T, l *ledger.Ledger, b ledger.Batch) {
	t.Helper()
	if _, err := l.Take(context.Background(), b); !errors.Is(err, ledger.ErrUnavailable) {
		t.Fatalf("taking: %v, want it to wrap ErrUnavailable", err)
	}
}

func TestALockedDatabaseGrantsNothingLosesNothingAndRecovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := database.Open(t.Context(), database.Config{Source: path, Busy: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	l := run(t, openLedger(t, db, quiet()))
	first := again(t, l, waiting("vm1", 1, quotaOf(2)))
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	if _, err := tx.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	down(t, l, waiting("vm1", 2, quotaOf(2)))
	refund := ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: 1, Counter: first.Leases[0].Counter}}}
	down(t, l, refund)
	if _, err := tx.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	again(t, l, refund)
	for i, want := range []int{1, 1, 0} {
		if g := again(t, l, waiting("vm1", uint64(2+i), quotaOf(2))); len(g.Leases) != want {
			t.Errorf("take %d: %+v, want %d lease", i, g, want)
		}
	}
}

func TestAFullDatabaseGrantsNothingLosesNothingAndRecovers(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	l := run(t, openLedger(t, db, quiet()))
	again(t, l, waiting("vm1", 1, quotaOf(1000)))
	pages := func(set string) {
		t.Helper()
		if err := db.Transact(t.Context(), "bounding the file", func(tx *database.Tx) error {
			var n int64
			return tx.QueryRow(t.Context(), `PRAGMA max_page_count = `+set).Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
	}
	pages("1") // no more than it has
	granted := 1
	for id := uint64(2); ; id++ {
		grants, err := l.Take(context.Background(), waiting("vm1", id, quotaOf(1000)))
		if err == nil {
			granted += len(grants[0].Leases)
			continue
		}
		if !errors.Is(err, ledger.ErrUnavailable) {
			t.Fatalf("when full: %v, want it to wrap ErrUnavailable", err)
		}
		break
	}
	pages("1000000")
	again(t, l, waiting("vm1", 5000, quotaOf(1000)))
	list, err := l.Counters(t.Context(), ledger.Filter{All: true})
	if err != nil || len(list) != 1 || list[0].Leased != int64(granted+1) {
		t.Errorf("counters %+v, %v; want %d leased", list, err, granted+1)
	}
}

func TestAPostgresThatIsGoneGrantsNothingLosesNothingAndRecovers(t *testing.T) {
	server := postgrestest.Start(t)
	l := run(t, openLedger(t, open(t, server.URL), quiet()))
	granted := len(again(t, l, waiting("vm1", 1, quotaOf(3))).Leases)
	for round, end := range []func(){server.Stop, server.Kill} {
		end()
		down(t, l, waiting("vm1", uint64(10+round), quotaOf(3)))
		server.Restart()
		granted += len(again(t, l, waiting("vm1", uint64(20+round), quotaOf(3))).Leases)
	}
	for id := uint64(30); id < 35; id++ {
		granted += len(again(t, l, waiting("vm1", id, quotaOf(3))).Leases)
	}
	if granted != 3 {
		t.Errorf("%d grants, want 3", granted)
	}
}

func TestAContextThatEndsWhileABatchWaitsLeavesTheLedgerConsistent(t *testing.T) {
	l := run(t, openLedger(t, open(t, filepath.Join(t.TempDir(), "ledger.db")), quiet()))
	granted := 0
	for id := uint64(1); id <= 200; id++ {
		ctx, cancel := context.WithCancel(context.Background())
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			if id%2 == 0 {
				cancel()
			}
		}()
		grants, err := l.Take(ctx, waiting("vm1", id, quotaOf(100)))
		<-stop
		cancel()
		switch {
		case err == nil:
			granted += len(grants[0].Leases)
		case !errors.Is(err, context.Canceled):
			t.Fatal(err)
		}
	}
	list, err := l.Counters(t.Context(), ledger.Filter{All: true})
	if err != nil || len(list) != 1 || list[0].Leased < int64(granted) || list[0].Leased > 100 || granted == 0 {
		t.Errorf("%d grants, counters %+v, %v", granted, list, err)
	}
}

func TestAClosedLedgerSaysSo(t *testing.T) {
	l := openLedger(t, open(t, filepath.Join(t.TempDir(), "ledger.db")), quiet())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Take(context.Background(), waiting("vm1", 1, quotaOf(1))); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("taking: %v, want it to wrap ErrClosed", err)
	}
}
