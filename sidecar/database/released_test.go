package database_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/store"
	"github.com/tollgate/tollgate/sidecar/usage"
)

// A store of each version that was released, with what the sidecars of all versions until then
// wrote into it, is one of the newest version, and nothing of it is lost. What version N
// wrote is testdata/released/N.sql: its rows have N in their names.
func TestStoresOfEveryReleasedVersion(t *testing.T) {
	for version := int64(1); version <= database.Version(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			inBoth(t, func(t *testing.T, c database.Config) {
				before := time.Now()
				made(t, c.Source, version, before)
				m := migrated{t: t, source: c.Source, version: version, from: before}
				m.db = opened(t, c)
				m.until = time.Now()
				var err error
				m.store, err = store.Open(t.Context(), m.db, store.Options{})
				must(t, err)
				m.identity()
				m.subscriptions()
				m.resources()
				m.denials()
				m.reports()
				m.limits()
				m.management()
				m.usage()
				m.revoked()
			})
		})
	}
}

var blobLiteral = regexp.MustCompile(`\bx'([0-9a-f]*)'`)

// made makes a store of a version with that version's migrations alone.
func made(t *testing.T, source string, version int64, now time.Time) {
	t.Helper()
	driver, dialect, folder := "sqlite", goose.DialectSQLite3, "sqlite"
	if strings.Contains(source, "://") {
		driver, dialect, folder = "pgx", goose.DialectPostgres, "postgres"
	}
	db, err := sql.Open(driver, source)
	must(t, err)
	defer db.Close()
	p, err := goose.NewProvider(dialect, db, os.DirFS(filepath.Join("migrations", folder)))
	must(t, err)
	for v := int64(1); v <= version; v++ {
		_, err := p.UpTo(t.Context(), v)
		must(t, err)
		text, err := os.ReadFile(filepath.Join("testdata", "released", fmt.Sprintf("%05d.sql", v)))
		must(t, err) // a migration comes with what it is tested with
		text = bytes.ReplaceAll(text, []byte("{now}"), fmt.Append(nil, now.UnixMilli()))
		if driver == "pgx" {
			text = blobLiteral.ReplaceAll(text, []byte(`'\x$1'`))
		}
		for _, statement := range strings.Split(string(text), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%05d.sql: %v in\n%s", v, err, statement)
			}
		}
	}
}

// migrated is a store of an earlier version, opened.
type migrated struct {
	t           *testing.T
	source      string
	version     int64
	from, until time.Time // around the migration
	db          *database.DB
	store       *store.Store
}

func (m *migrated) identity() {
	pepper := make([]byte, 32)
	for i := range pepper {
		pepper[i] = byte(i)
	}
	if m.store.ID() != "0123456789abcdef0123456789abcdef" || !bytes.Equal(m.store.Pepper(), pepper) {
		m.t.Errorf("it is the store %s", m.store.ID())
	}
	for content, want := range map[string]uint64{"content": 41, "other": 42} {
		if content == "other" {
			continue // after the same one
		}
		r, err := m.store.Revise(m.t.Context(), sha256.Sum256([]byte(content)))
		if err != nil || r.Number != want {
			m.t.Errorf("revision of the same content: %v, %v, want %d", r, err, want)
		}
	}
	r, err := m.store.Revise(m.t.Context(), sha256.Sum256([]byte("other")))
	if err != nil || r.Number != 42 {
		m.t.Errorf("revision of other content: %v, %v, want 42", r, err)
	}
}

func (m *migrated) subscriptions() {
	t := m.t
	subs, err := m.store.Subscriptions(t.Context())
	must(t, err)
	if int64(len(subs)) != m.version {
		t.Fatalf("%d subscriptions, want %d", len(subs), m.version)
	}
	for i, got := range subs {
		n := i + 1
		source := map[bool]string{true: store.FileSource("")}[n <= 4]
		if n == 6 {
			source = store.FileSource("demo.yaml")
		}
		started := time.UnixMilli(1_700_000_000_000 + int64(n)).UTC()
		if n == 1 && m.version == 1 { // it was not recorded
			if started = got.Started; started.Before(m.from.Truncate(time.Millisecond)) || started.After(m.until) {
				t.Errorf("it started %v, want between %v and %v", started, m.from, m.until)
			}
		} else if n == 1 {
			started = got.Started
		}
		want := store.Subscription{ID: uint32(n), Revision: uint32(n), Name: fmt.Sprint("sub-", n), Scope: store.Scope{Kind: store.ScopeProduct, Name: "Starter"},
			State: wire.StateActive, Expires: 4_000_000_000, Attributes: map[string]string{"tier": fmt.Sprint("gold ", n)},
			Developer: store.Developer{Email: fmt.Sprintf("dev-%d@example.org", n), Name: fmt.Sprintf(`Déve "%d"`, n), Groups: []string{"beta", "Developers"}},
			Started:   started, Source: source, Updated: started, Shown: n >= 5}
		for slot := range 2 {
			key := store.Key{Slot: wire.Slot(slot + 1), Digest: [32]byte(bytes.Repeat([]byte{byte(slot*16 + n)}, 32)), Source: source, Created: started}
			if n >= 5 {
				key.Created = time.UnixMilli(1_700_000_000_000).UTC()
				if slot == 0 {
					key.Used = time.UnixMilli(1_700_000_001_000).UTC()
				}
			}
			want.Keys = append(want.Keys, key)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("subscription %d (-want +got):\n%s", n, diff)
		}
	}
}

func (m *migrated) resources() {
	for n := uint32(1); int64(n) <= m.version; n++ {
		r := wire.Resource{Kind: "job", ID: fmt.Sprint("job-", n), Scope: map[string]string{"workspace": "w"}}
		if owner, known, err := m.store.Owner(m.t.Context(), "https://backend.example.com", r); err != nil || !known || owner != n {
			m.t.Errorf("job-%d is of %d, %v, %v", n, owner, known, err)
		}
	}
}

func (m *migrated) denials() {
	t := m.t
	log, err := store.OpenLog(t.Context(), m.source)
	must(t, err)
	defer log.Close()
	for n := uint32(1); int64(n) <= m.version; n++ {
		found, err := log.Explain(t.Context(), fmt.Sprint("denied-", n))
		must(t, err)
		want := store.Explanation{Request: fmt.Sprint("denied-", n), Time: time.UnixMilli(m.from.UnixMilli()).UTC(), Status: 403, Reasons: []string{"not_yours"},
			API: "Demo", Operation: "Submit", Subscription: n, SubscriptionName: fmt.Sprint("sub-", n), Decision: fmt.Sprint("decision-", n), Policy: "policy-1",
			Rules: []store.Rule{{Path: "data.tollgate.access.deny", File: "access.rego", Line: 12, Reason: "not_yours"}}}
		if n >= 4 {
			want.Limit = "week"
		}
		if len(found) != 1 {
			t.Fatalf("denied-%d: %d explanations", n, len(found))
		}
		found[0].Time = found[0].Time.UTC()
		if diff := cmp.Diff(want, found[0]); diff != "" {
			t.Errorf("denied-%d (-want +got):\n%s", n, diff)
		}
	}
}

// reports were taken once, and are not taken again.
func (m *migrated) reports() {
	for n := uint64(1); int64(n) <= m.version; n++ {
		vm := fmt.Sprint("worker-", n)
		for sequence, want := range map[uint64]bool{n: false, n + 1: false} {
			if first, err := m.store.TakeUsage(m.t.Context(), wire.UsageReport{VM: vm, Sequence: sequence}); err != nil || first != want {
				m.t.Errorf("report %d of %s: taken anew: %v, %v", sequence, vm, first, err)
			}
		}
		if first, err := m.store.TakeUsage(m.t.Context(), wire.UsageReport{VM: vm, Sequence: n + 2}); err != nil || !first {
			m.t.Errorf("report %d of %s is not taken: %v", n+2, vm, err)
		}
	}
}

func (m *migrated) limits() {
	if m.version < 3 {
		return
	}
	t := m.t
	l, err := ledger.Open(t.Context(), m.db, ledger.Options{Log: slog.New(slog.DiscardHandler), Server: func(now time.Time) time.Time { return now }})
	must(t, err)
	if l.Resets() != 3 {
		t.Errorf("%d resets, want 3", l.Resets())
	}
	adjustments, err := l.Adjustments(t.Context(), ledger.Filter{All: true})
	must(t, err)
	events, err := l.Events(t.Context(), ledger.Filter{All: true})
	must(t, err)
	if want := int(m.version) - 2; len(adjustments) != want || len(events) != want {
		t.Errorf("%d adjustments, %d events, want %d each", len(adjustments), len(events), want)
	}
	counters, err := l.Counters(t.Context(), ledger.Filter{All: true})
	must(t, err)
	got := map[string]int64{}
	for _, c := range counters {
		got[c.Limit.Key+" "+c.Limit.Name] = c.Left
	}
	want := map[string]int64{}
	for n := int64(3); n <= m.version; n++ {
		want[fmt.Sprintf("subscription:%d life", n)] = 10 + 1 - n - 1 // the amount, what was raised, used and is leased
		want[fmt.Sprintf("subscription:%d day", n)] = 10 - n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func (m *migrated) management() {
	if m.version < 5 {
		return
	}
	t, ctx := m.t, m.t.Context()
	report, err := audit.Verify(ctx, m.db, nil)
	if err != nil || report.Broken != nil || report.Rows != 1 {
		t.Errorf("audit: %+v, %v", report, err)
	}
	token, err := m.store.Authenticate(ctx, "tga_QTnrPuUdEox5dRS9XXFq3iJIOzUlPF1P6lOZ")
	if err != nil || token.Name != "ci" || token.Role != "publisher" {
		t.Errorf("token %+v, %v", token, err)
	}
	answer, err := m.store.Once(ctx, "token:ci", "once", sha256.Sum256([]byte("request")))
	if err != nil || answer == nil || answer.Status != 201 || string(answer.Body) != `{"name":"sub-5"}` {
		t.Errorf("answer %+v, %v", answer, err)
	}
	api, err := m.store.Object(ctx, store.KindAPI, "Demo")
	if err != nil || api.Source != store.FileSource("demo.yaml") || api.Revision != 4 || !json.Valid(api.Spec) {
		t.Errorf("API %+v, %v", api, err)
	}
	c, err := m.store.Config(ctx)
	if err != nil || c.Organization.Name != "Example" || len(c.APIs) != 1 || len(c.APIs[0].Operations) != 1 || len(c.Products) != 1 || len(c.Groups) != 1 {
		t.Errorf("configuration %+v, %v", c, err)
	}
}

func (m *migrated) usage() {
	if m.version < 6 {
		return
	}
	report, err := m.store.Usage(m.t.Context(), usage.Query{API: "Demo"})
	if err != nil || len(report.Rows) != 1 || report.Rows[0].Calls != 9 || report.Rows[0].Success != 7 || report.Rows[0].Blocked != 2 || report.Rows[0].Backend.MinMicros != 400 {
		m.t.Errorf("usage %+v, %v", report, err)
	}
}

// revoked keys are given to nobody.
func (m *migrated) revoked() {
	if m.version < 7 {
		return
	}
	change := store.KeyChange{Slot: wire.SlotPrimary, Value: "revoked-in-version-7-0123456789abcdef"}
	if _, err := m.store.RegenerateKey(m.t.Context(), "sub-5", change, store.Write{}); err == nil || !strings.Contains(err.Error(), "value: is in use, or was") {
		m.t.Errorf("a key that was revoked: %v", err)
	}
}

// Whoever adds a migration adds what it is tested with.
func TestEveryMigrationHasRows(t *testing.T) {
	var want, got []string
	for folder, names := range map[string]*[]string{"migrations/sqlite": &want, "testdata/released": &got} {
		entries, err := os.ReadDir(filepath.FromSlash(folder))
		must(t, err)
		for _, e := range entries {
			*names = append(*names, e.Name()[:5])
		}
		slices.Sort(*names)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-migrations +testdata/released):\n%s", diff)
	}
}

// A database that is closed leaves no log beside its file, and no connection in the process.
func TestCloseLeavesTheFileAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	db, err := database.Open(t.Context(), database.Config{Source: path})
	must(t, err)
	tables(t, db)
	number(t, db, `SELECT n FROM t`)
	must(t, db.Close())
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"s.db", "s.db.lock"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestNew(t *testing.T) {
	inBoth(t, func(t *testing.T, c database.Config) {
		c.New = true
		db, err := database.Open(t.Context(), c)
		must(t, err)
		must(t, db.Close())
		if _, err := database.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), database.ErrOccupied.Error()) {
			t.Errorf("err = %v, want ErrOccupied", err)
		}
	})
}
