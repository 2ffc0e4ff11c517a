package ledger_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/ledger/conformance"
	"github.com/tollgate/tollgate/sidecar/ledger/memory"
)

// crowd makes n counters that are never used again, of takes that are abandoned.
func crowd(t *testing.T, l *ledger.Ledger, n int) {
	t.Helper()
	takes, abandoned := ledger.Batch{Worker: "vm1"}, ledger.Batch{Worker: "vm1"}
	for id := uint64(1); n > 0; id++ {
		var limits []ledger.Limit
		for range min(n, 64) {
			limit := calls("ip", 5, time.Minute)
			limit.Key = fmt.Sprint("ip:", n)
			limits = append(limits, limit)
			n--
		}
		takes.Takes = append(takes.Takes, ledger.Take{ID: id, Waiting: true, Limits: limits})
		abandoned.Abandoned = append(abandoned.Abandoned, id)
		if len(takes.Takes) < 256 && n > 0 {
			continue
		}
		for _, b := range []ledger.Batch{takes, abandoned} {
			if r := l.Commit(context.Background(), []ledger.Batch{b}); r[0].Err != nil {
				t.Fatal(r[0].Err)
			}
		}
		takes.Takes, abandoned.Abandoned = nil, nil
	}
}

func TestCleaningGoesOnUntilNothingIsIdle(t *testing.T) {
	clock := conformance.NewClock()
	storage := memory.New(func() ledger.Reading { return ledger.Reading{T: clock.Now().UnixMilli(), Timeline: "1"} })
	l := ledger.New(storage, clock.Options())
	crowd(t, l, 35_000)
	clock.Advance(26 * time.Hour)
	for range 3 { // one bounded number of charges, and two of counters
		clock.Advance(2 * time.Second)
		if err := l.Clean(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := l.Count(context.Background()); n != 0 || err != nil {
		t.Errorf("%d counters are left, %v", n, err)
	}
}

func TestCleaningDeletesAllTombstones(t *testing.T) {
	clock := conformance.NewClock()
	db := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	l := openLedger(t, db, clock.Options())
	b := ledger.Batch{Worker: "vm1"}
	for id := range 3000 {
		b.Abandoned = append(b.Abandoned, uint64(id+1))
	}
	if r := l.Commit(t.Context(), []ledger.Batch{b}); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{9 * time.Minute, 3000}, {time.Minute, 0}} {
		clock.Advance(c.after)
		if err := l.Clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := db.View(t.Context(), "counting", func(tx *database.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM limit_tomb`).Scan(&n)
		}); err != nil || n != c.want {
			t.Errorf("%d tombstones, %v; want %d", n, err, c.want)
		}
	}
}
