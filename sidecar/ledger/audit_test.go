package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// counter takes a unit and returns the id of the counter.
func counter(t *testing.T, l *ledger.Ledger, limit ledger.Limit) int64 {
	t.Helper()
	again(t, l, waiting("vm1", 1, limit))
	counters, err := l.Counters(t.Context(), ledger.Filter{All: true})
	if err != nil || len(counters) == 0 {
		t.Fatalf("counters: %v, %v", counters, err)
	}
	return counters[len(counters)-1].ID
}

// chained is the audit, newest first; its chain holds.
func chained(t *testing.T, db *database.DB) []audit.Entry {
	t.Helper()
	if report, err := audit.Verify(t.Context(), db, nil); err != nil || report.Broken != nil {
		t.Fatalf("the audit does not hold: %+v, %v", report.Broken, err)
	}
	entries, err := audit.List(t.Context(), db, audit.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAdjustmentsAreAudited(t *testing.T) {
	for name, source := range map[string]string{"SQLite": filepath.Join(t.TempDir(), "l.db"), "PostgreSQL": postgrestest.Shared(t).Database(t)} {
		t.Run(name, func(t *testing.T) {
			db := open(t, source)
			now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
			o := quiet()
			o.Now = func() time.Time { return now }
			l := run(t, openLedger(t, db, o))
			id := counter(t, l, quotaOf(5))
			ctx := audit.WithOrigin(t.Context(), "192.0.2.7")
			if _, err := l.Raise(ctx, "token:ci", id, 3); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Reset(t.Context(), "alice (uid 1000)", []int64{id}); err != nil {
				t.Fatal(err)
			}
			for _, wrong := range []func() error{
				func() error { _, err := l.Raise(ctx, "x", id, 0); return err },
				func() error { _, err := l.Raise(ctx, "x", id+1, 1); return err },
				func() error { _, err := l.Reset(ctx, "x", []int64{id, id + 1}); return err },
			} {
				if err := wrong(); !errors.Is(err, ledger.ErrInvalid) {
					t.Errorf("a wrong adjustment: %v", err)
				}
			}
			list, err := l.Adjustments(t.Context(), ledger.Filter{All: true})
			if err != nil || len(list) != 2 {
				t.Fatalf("adjustments: %v, %v", list, err)
			}
			entry := audit.Entry{Time: now, Kind: "limit", Name: fmt.Sprint(id)}
			raise, reset := entry, entry
			raise.ID, raise.Actor, raise.Origin, raise.Action = 1, "token:ci", "192.0.2.7", "limit.raise"
			reset.ID, reset.Actor, reset.Action = 2, "alice (uid 1000)", "limit.reset"
			reset.Before, reset.After, raise.Before, raise.After = list[0].Before, list[0].After, list[1].Before, list[1].After
			if diff := cmp.Diff([]audit.Entry{reset, raise}, chained(t, db), cmpopts.IgnoreFields(audit.Entry{}, "Hash")); diff != "" {
				t.Errorf("audit (-want +got):\n%s", diff)
			}
			if raise.Before == raise.After || reset.Before == "" {
				t.Errorf("states: %s, %s, %s", raise.Before, raise.After, reset.Before)
			}
		})
	}
}

// Sidecars adjust, take and audit other things at the same time: nothing locks up, and all
// of it is in one chain.
func TestConcurrentAdjustmentsMakeOneChain(t *testing.T) {
	const sidecars, each = 4, 15
	source := postgrestest.Shared(t).Database(t)
	var ids [2]int64
	dbs, ledgers := make([]*database.DB, sidecars), make([]*ledger.Ledger, sidecars)
	for i := range dbs {
		db, err := database.Open(t.Context(), database.Config{Source: source, Busy: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		dbs[i], ledgers[i] = db, run(t, openLedger(t, db, quiet()))
	}
	ids[0] = counter(t, ledgers[0], quotaOf(1000))
	ids[1] = counter(t, ledgers[0], calls("hour", 1000, time.Hour))
	var running sync.WaitGroup
	for i := range sidecars {
		running.Go(func() {
			ctx := context.Background()
			for n := range each {
				order := []int64{ids[(i+n)%2], ids[(i+n+1)%2]}
				if _, err := ledgers[i].Reset(ctx, "a", order); err != nil {
					t.Error(err)
					return
				}
				if err := dbs[i].Transact(ctx, "auditing", func(tx *database.Tx) error {
					return audit.Append(ctx, tx, dbs[i].Dialect(), []audit.Entry{{Time: time.Now(), Action: "x"}})
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	if got, want := len(chained(t, dbs[0])), sidecars*each*3; got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
}
