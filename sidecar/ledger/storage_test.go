package ledger_test

import (
	"path/filepath"
	"testing"

	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/ledger/conformance"
	"github.com/tollgate/tollgate/sidecar/ledger/memory"
)

// storages are all storages that have to conform.
var storages = map[string]func(*testing.T) conformance.Setup{
	"memory":   inMemory,
	"sqlite":   inSQLite,
	"postgres": inPostgres,
}

func inMemory(t *testing.T) conformance.Setup {
	var storage *memory.Storage
	return func(c *conformance.Clock, o ledger.Options) *ledger.Ledger {
		if storage == nil {
			storage = memory.New(func() ledger.Reading { return ledger.Reading{T: c.Now().UnixMilli(), Timeline: "1", Shared: true} })
		}
		return ledger.New(storage, o)
	}
}

func inSQLite(t *testing.T) conformance.Setup {
	db := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	return func(_ *conformance.Clock, o ledger.Options) *ledger.Ledger { return openLedger(t, db, o) }
}

func inPostgres(t *testing.T) conformance.Setup {
	db := open(t, postgrestest.Shared(t).Database(t))
	return func(_ *conformance.Clock, o ledger.Options) *ledger.Ledger { return openLedger(t, db, o) }
}

func open(t testing.TB, source string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: source})
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

func openLedger(t testing.TB, db *database.DB, o ledger.Options) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestConformance(t *testing.T) {
	for name, storage := range storages {
		t.Run(name, func(t *testing.T) { conformance.Run(t, storage) })
	}
}

func TestMain(m *testing.M) { main(m) }
