package store_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

// version4 makes a database as the tollgate of that schema left it, with these statements.
func version4(t *testing.T, at string, statements ...string) {
	t.Helper()
	driver, dialect, folder := "sqlite", goose.DialectSQLite3, "sqlite"
	if strings.HasPrefix(at, "postgres") {
		driver, dialect, folder = "pgx", goose.DialectPostgres, "postgres"
	}
	db, err := sql.Open(driver, at)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	old := fstest.MapFS{}
	files := os.DirFS("../database/migrations/" + folder)
	names, err := fs.Glob(files, "0000[1-4]_*.sql")
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = &fstest.MapFile{Data: text}
	}
	p, err := goose.NewProvider(dialect, db, old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// digestLiteral is a key's digest as the dialect of a source writes bytes.
func digestLiteral(at, key string) string {
	digest := sha256.Sum256([]byte(key))
	text := hex.EncodeToString(digest[:])
	if strings.HasPrefix(at, "postgres") {
		return `'\x` + text + `'`
	}
	return `x'` + text + `'`
}

// old is a store of version 4: the demo, a subscription that the file has dropped since, one
// that was removed, and one with a name that is not ASCII.
func old(t *testing.T, at string) {
	t.Helper()
	version4(t, at,
		`INSERT INTO developer (email, name, groups) VALUES ('alice@example.org', 'Alice', '["beta"]'), ('bob@example.org', '', '[]')`,
		`INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started) VALUES
			(3, 'alice', 'alice@example.org', 'product', 'Unlimited', 2, 0, '{}', 7, 0, 1700000000000),
			(4, 'bob', 'bob@example.org', 'api', 'Demo', 3, 0, '{}', 1, 1, 1700000001000),
			(5, 'dropped', 'bob@example.org', 'all_apis', '', 2, 0, '{}', 1, 0, 1700000002000),
			(6, 'Рау', 'bob@example.org', 'all_apis', '', 2, 0, '{}', 1, 0, 1700000003000)`,
		`INSERT INTO key (subscription, slot, digest) VALUES (3, 1, `+digestLiteral(at, keys["A1"])+`), (3, 2, `+digestLiteral(at, keys["A2"])+
			`), (5, 1, `+digestLiteral(at, "dropped")+`)`)
}

func TestAStoreOfVersion4IsAdopted(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		old(t, at)
		s, db := withAudit(t, at, store.Options{})
		before := subscriptions(t, s)
		alice := before["alice"]
		if len(before) != 3 || alice.ID != 3 || alice.Revision != 7 || alice.Source != "file:" || len(alice.Keys) != 2 ||
			alice.Developer.Name != "Alice" || !slices.Equal(alice.Developer.Groups, []string{"beta"}) || alice.Started.UnixMilli() != 1700000000000 {
			t.Fatalf("migrated: %+v", before)
		}
		// A file that is not the operator's takes what it declares, and leaves the rest.
		a := of("part.yaml", `subscriptions: [{name: dropped, developer: bob@example.org, all_apis: true, primary_key: {env: D}}]`)
		a.Secrets = secrets{"D": "dropped"}
		if plan := applied(t, s, a); len(plan.Changes)+len(plan.Kept) != 0 {
			t.Errorf("a part that says what is there: %v, %v", steps(plan), kept(plan))
		}
		if got := subscriptions(t, s); len(got) != 3 || got["dropped"].Source != "file:part.yaml" || got["dropped"].Keys[0].Source != "file:part.yaml" || got["dropped"].Revision != 1 {
			t.Errorf("after a part: %+v", got)
		}
		if change, _, err := s.Change(t.Context()); change != 0 || err != nil || len(audited(t, db, audit.Query{})) != 0 {
			t.Errorf("which file manages something is no change: %d, %v", change, err)
		}
		// The operator's is what made it all.
		plan := applied(t, s, file(demo()))
		want := []string{"delete subscription Рау", "create organization", "create api Demo", "create group beta", "create product Starter", "create product Unlimited", "create subscription bob"}
		if !slices.Equal(steps(plan), want) {
			t.Errorf("changes %v, want %v", steps(plan), want)
		}
		got := subscriptions(t, s)
		if got["alice"].Revision != 7 || got["alice"].Source != byFile.Source || got["alice"].Keys[0].Source != byFile.Source {
			t.Errorf("alice: %+v", got["alice"])
		}
		if got["bob"].ID != 4 || got["bob"].Revision != 2 || got["bob"].Started.UnixMilli() != 1700000001000 {
			t.Errorf("bob, who is back: %+v", got["bob"])
		}
		if plan := applied(t, s, file(demo())); len(plan.Changes) != 0 {
			t.Errorf("once more: %v", steps(plan))
		}
	})
}

func TestNamesOfVersion4GetTheirLooks(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		old(t, at)
		s := opened(t, at, store.Options{})
		for name, fault := range map[string]bool{"Pay": true, "alice 2": false} {
			_, err := s.CreateSubscription(t.Context(), catalog.Subscription{Name: name, Developer: "bob@example.org", AllAPIs: true, State: "active"}, someone)
			if (err != nil) != fault {
				t.Errorf("%s: %v", name, err)
			}
		}
		// What is read can be sent back.
		o, err := s.Object(t.Context(), store.KindDeveloper, "bob@example.org")
		if err != nil {
			t.Fatal(err)
		}
		if same, err := s.Replace(t.Context(), store.KindDeveloper, o.Name, o.Spec, someone); err != nil || same.Revision != 1 {
			t.Errorf("%s sent back: %+v, %v", o.Spec, same, err)
		}
	})
}

// Names that look alike from before that was refused are in nobody's way.
func TestLookAlikesOfVersion4Stay(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		version4(t, at, `INSERT INTO developer (email, name, groups) VALUES ('bob@example.org', '', '[]')`,
			`INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started) VALUES
				(1, 'Рау', 'bob@example.org', 'all_apis', '', 2, 0, '{}', 1, 0, 0), (2, 'Pay', 'bob@example.org', 'all_apis', '', 2, 0, '{}', 1, 0, 0)`)
		s := opened(t, at, store.Options{})
		plan := applied(t, s, of("part.yaml", `subscriptions: [{name: new, developer: bob@example.org, all_apis: true}, {name: Pay, developer: bob@example.org, all_apis: true, state: suspended}]`))
		if want := []string{"create subscription new", "update subscription Pay"}; !slices.Equal(steps(plan), want) {
			t.Errorf("changes %v, want %v", steps(plan), want)
		}
	})
}
