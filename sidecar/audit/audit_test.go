package audit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

// making makes and opens an empty database.
type making func(*testing.T) *database.DB

var dialects = map[string]making{
	"SQLite":     func(t *testing.T) *database.DB { return opened(t, filepath.Join(t.TempDir(), "a.db")) },
	"PostgreSQL": func(t *testing.T) *database.DB { return opened(t, postgrestest.Shared(t).Database(t)) },
}

// inBoth runs a test on an empty database of each dialect.
func inBoth(t *testing.T, f func(*testing.T, *database.DB)) {
	inEach(t, func(t *testing.T, another making) { f(t, another(t)) })
}

// inEach runs a test that needs several.
func inEach(t *testing.T, f func(*testing.T, making)) {
	for name, another := range dialects {
		t.Run(name, func(t *testing.T) { f(t, another) })
	}
}

func opened(t *testing.T, source string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: source, Busy: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func add(t *testing.T, db *database.DB, entries ...audit.Entry) {
	t.Helper()
	if err := db.Transact(t.Context(), "adding", func(tx *database.Tx) error {
		return audit.Append(t.Context(), tx, db.Dialect(), entries)
	}); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, db *database.DB, q audit.Query) []audit.Entry {
	t.Helper()
	entries, err := audit.List(t.Context(), db, q)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func verified(t *testing.T, db *database.DB, expect *audit.Head) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), db, expect)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// numbered are n entries, a second apart.
func numbered(n int) []audit.Entry {
	entries := make([]audit.Entry, n)
	for i := range entries {
		entries[i] = audit.Entry{Time: start.Add(time.Duration(i) * time.Second), Actor: fmt.Sprintf("token:%d", i%2), Origin: "127.0.0.1",
			Action: "subscription.approve", Kind: "subscription", Name: fmt.Sprintf("s%d", i%5), Before: `{"state":"submitted"}`, After: `{"state":"active"}`}
	}
	return entries
}

func TestWhatWasAppendedIsListed(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		hostile := audit.Entry{Time: time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.FixedZone("", 3600)), Actor: "a\x00b\xff", Origin: "o'; --", Action: "x", Kind: "k",
			Name: "日本\n", Before: "", After: `{"a":1}`}
		add(t, db, hostile)
		add(t, db) // nothing
		add(t, db, audit.Entry{Time: start}, audit.Entry{Time: start.Add(-time.Hour), Name: "earlier"})
		got := list(t, db, audit.Query{})
		hostile.ID, hostile.Actor, hostile.Time = 1, "a\uFFFDb\uFFFD", time.Date(2026, 1, 2, 2, 4, 5, 678_000_000, time.UTC)
		want := []audit.Entry{{ID: 3, Time: start.Add(-time.Hour), Name: "earlier"}, {ID: 2, Time: start}, hostile}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(audit.Entry{}, "Hash")); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		if report := verified(t, db, nil); report.Broken != nil || report.Rows != 3 || report.Head != (audit.Head{ID: 3, Hash: got[0].Hash}) {
			t.Errorf("report %+v", report)
		}
	})
}

func TestListFilters(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		add(t, db, numbered(20)...)
		add(t, db, audit.Entry{Time: start.Add(time.Hour), Kind: "product", Name: "s1", Action: "product.create"})
		for name, tc := range map[string]struct {
			q    audit.Query
			want []int64
		}{
			"all":      {audit.Query{Limit: 3}, []int64{21, 20, 19}},
			"page":     {audit.Query{Limit: 3, After: 19}, []int64{18, 17, 16}},
			"last":     {audit.Query{After: 2}, []int64{1}},
			"beyond":   {audit.Query{After: 1}, nil},
			"object":   {audit.Query{Kind: "subscription", Name: "s1"}, []int64{17, 12, 7, 2}},
			"name":     {audit.Query{Name: "s1", Limit: 2}, []int64{21, 17}},
			"actor":    {audit.Query{Actor: "token:1", Name: "s1"}, []int64{12, 2}},
			"action":   {audit.Query{Action: "product.create"}, []int64{21}},
			"since":    {audit.Query{Since: start.Add(18 * time.Second)}, []int64{21, 20, 19}},
			"until":    {audit.Query{Until: start.Add(2 * time.Second)}, []int64{2, 1}},
			"between":  {audit.Query{Since: start.Add(3 * time.Second), Until: start.Add(5 * time.Second)}, []int64{5, 4}},
			"sharp":    {audit.Query{Since: start.Add(18*time.Second + 1), Until: start.Add(time.Hour)}, []int64{20}},
			"nobody's": {audit.Query{Actor: "token:1'"}, nil},
			"hostile":  {audit.Query{Actor: "a\x00\xff"}, nil},
		} {
			var got []int64
			for _, e := range list(t, db, tc.q) {
				got = append(got, e.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

func TestListIsBounded(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		add(t, db, numbered(audit.MaxLimit+1)...)
		for limit, want := range map[int]int{0: audit.DefaultLimit, -1: audit.DefaultLimit, 7: 7, audit.MaxLimit: audit.MaxLimit, 1 << 30: audit.MaxLimit} {
			if got := len(list(t, db, audit.Query{Limit: limit})); got != want {
				t.Errorf("limit %d: %d entries, want %d", limit, got, want)
			}
		}
	})
}

// Sidecars on one PostgreSQL append at the same time: one chain comes of it.
func TestConcurrentAppendsMakeOneChain(t *testing.T) {
	const writers, each = 4, 50
	source := postgrestest.Shared(t).Database(t)
	dbs := make([]*database.DB, writers)
	for i := range dbs {
		dbs[i] = opened(t, source)
	}
	var running sync.WaitGroup
	for w, db := range dbs {
		running.Go(func() {
			for i := range each {
				if err := db.Transact(context.Background(), "adding", func(tx *database.Tx) error {
					return audit.Append(context.Background(), tx, db.Dialect(), []audit.Entry{
						{Time: start, Actor: fmt.Sprint(w), Name: fmt.Sprint(i)}, {Time: start, Actor: fmt.Sprint(w), Name: fmt.Sprint(i) + "b"}})
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	if report := verified(t, dbs[0], nil); report.Broken != nil || report.Rows != 2*writers*each {
		t.Errorf("report %+v, %+v", report, report.Broken)
	}
	next := make([]int, writers)
	entries := list(t, dbs[0], audit.Query{Limit: 1000})
	for i := len(entries) - 1; i > 0; i -= 2 { // oldest first, in pairs
		var w int
		_, _ = fmt.Sscan(entries[i].Actor, &w)
		if want := fmt.Sprint(next[w]); entries[i].Name != want || entries[i-1].Name != want+"b" || entries[i-1].Actor != entries[i].Actor {
			t.Fatalf("rows %d and %d: %s %s, %s %s", entries[i].ID, entries[i-1].ID, entries[i].Actor, entries[i].Name, entries[i-1].Actor, entries[i-1].Name)
		}
		next[w]++
	}
}

// What fails after Append leaves no row.
func TestAnEntryIsOfItsTransaction(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		add(t, db, numbered(2)...)
		before := verified(t, db, nil)
		failed := fmt.Errorf("later")
		if err := db.Transact(t.Context(), "adding", func(tx *database.Tx) error {
			if err := audit.Append(t.Context(), tx, db.Dialect(), numbered(3)); err != nil {
				return err
			}
			return failed
		}); err == nil {
			t.Fatal("no error")
		}
		if diff := cmp.Diff(before, verified(t, db, nil)); diff != "" {
			t.Errorf("report (-before +after):\n%s", diff)
		}
	})
}

func TestRowsAreNotChangedThroughTheTable(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		add(t, db, numbered(2)...)
		for _, statement := range []string{`UPDATE audit SET actor = 'x' WHERE id = 1`, `DELETE FROM audit WHERE id = 2`} {
			if err := db.Transact(t.Context(), "tampering", func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), statement)
				return err
			}); err == nil {
				t.Errorf("%s: no error", statement)
			}
		}
	})
}

func TestOriginTravelsWithAContext(t *testing.T) {
	if got := audit.Origin(t.Context()); got != "" {
		t.Errorf("origin of a context without one: %q", got)
	}
	if got := audit.Origin(audit.WithOrigin(t.Context(), "socket")); got != "socket" {
		t.Errorf("origin %q", got)
	}
}

func TestHeadsAreReadAsTheyAreWritten(t *testing.T) {
	for range 100 {
		want := audit.Head{ID: rand.Int64()}
		for i := range want.Hash {
			want.Hash[i] = byte(rand.Uint32())
		}
		if got, err := audit.ParseHead(want.String()); err != nil || got != want {
			t.Fatalf("%s is read as %s, %v", want, got, err)
		}
	}
	for _, text := range []string{"", "1", "1:", "1:ab", ":" + audit.Head{}.String()[2:], "-1:" + audit.Head{}.String()[2:], audit.Head{}.String() + "0", "x" + audit.Head{}.String()} {
		if head, err := audit.ParseHead(text); err == nil {
			t.Errorf("%q is read as %s", text, head)
		}
	}
}
