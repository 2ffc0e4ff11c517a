package store_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/store"
)

// hand is a clock that a test moves.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func handAt(now time.Time) *hand { return &hand{now: now} }

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *hand) set(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// anyKey is a key that somebody chose.
const anyKey = "0123456789abcdefghijklmnopqrstuv"

// someone is who changes things in these tests.
var someone = store.Write{Actor: "alice (uid 1000)", Origin: "socket"}

// withAudit opens a store, with its database beside it.
func withAudit(t *testing.T, at string, o store.Options) (*store.Store, *database.DB) {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: at, Busy: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := store.Open(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

// audited is what was done, oldest first, without ids and hashes; and the chain holds.
func audited(t *testing.T, db *database.DB, q audit.Query) []audit.Entry {
	t.Helper()
	entries, err := audit.List(t.Context(), db, q)
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(t.Context(), db, nil)
	if err != nil || report.Broken != nil {
		t.Fatalf("the audit does not hold: %+v, %v", report.Broken, err)
	}
	slices.Reverse(entries)
	for i := range entries {
		entries[i].ID, entries[i].Hash = 0, [32]byte{}
	}
	return entries
}

// sidecars are stores on one PostgreSQL database, with one clock.
func sidecars(t *testing.T, n int, o store.Options) []*store.Store {
	t.Helper()
	source := postgrestest.Shared(t).Database(t)
	all := make([]*store.Store, n)
	for i := range all {
		all[i], _ = withAudit(t, source, o)
	}
	return all
}
