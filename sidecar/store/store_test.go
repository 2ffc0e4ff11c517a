package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/store"
)

// secrets answers env references from a map.
type secrets map[string]string

func (s secrets) Read(ref catalog.Secret) (string, error) {
	if v, ok := s[ref.Env]; ok {
		return v, nil
	}
	return "", fmt.Errorf("environment variable %s is not set", ref.Env)
}

func env(name string) *catalog.Secret { return &catalog.Secret{Env: name} }

// source makes a database, and says where it is.
type source func(*testing.T) string

// inBoth runs a test on each dialect.
func inBoth(t *testing.T, f func(*testing.T, source)) {
	t.Run("SQLite", func(t *testing.T) {
		f(t, func(t *testing.T) string { return filepath.Join(t.TempDir(), "s.db") })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		server := postgrestest.Shared(t)
		f(t, func(t *testing.T) string { return server.Database(t) })
	})
}

// connect opens a store until the test ends, or end is called.
func connect(t *testing.T, at string, o store.Options) (s *store.Store, end func()) {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: at})
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	if s, err = store.Open(t.Context(), db, o); err != nil {
		t.Fatal(err)
	}
	return s, end
}

func opened(t *testing.T, at string, o store.Options) *store.Store {
	t.Helper()
	s, _ := connect(t, at, o)
	return s
}

func fresh(t *testing.T, source source) *store.Store {
	t.Helper()
	return opened(t, source(t), store.Options{})
}

var keys = secrets{"A1": "alice-primary", "A2": "alice-secondary", "B1": "bob-primary"}

const demoFile = `
organization: {name: Demo, administrator: admin@example.org}
apis:
  - {name: Demo, suffix: demo, backend: {url: "https://backend.example"}, operations: [{name: Read, method: GET, template: /}]}
products:
  - {name: Starter, apis: [Demo]}
  - {name: Unlimited, apis: [Demo]}
groups: [{name: beta}]
developers: [{email: alice@example.org, name: Alice, groups: [beta]}, {email: bob@example.org}]
subscriptions:
  - {name: alice, developer: alice@example.org, product: Unlimited, primary_key: {env: A1}, secondary_key: {env: A2}}
  - {name: bob, developer: bob@example.org, api: Demo, state: suspended, primary_key: {env: B1}}
`

func demo() *catalog.Catalog { return parsed(demoFile) }

// parsed is a catalog, or a part of one.
func parsed(file string) *catalog.Catalog {
	c, mistakes := catalog.Parse("f", []byte(file), catalog.Options{Partial: true, Known: func(string, string) bool { return true }})
	if mistakes != nil {
		panic(fmt.Sprint(mistakes))
	}
	return c
}

// byFile is how the file that the sidecar was started with changes things.
var byFile = store.Write{Actor: "file:demo.yaml", Origin: "file", Source: store.FileSource("demo.yaml"), Operator: true}

// file is an application of the demo's file.
func file(c *catalog.Catalog) store.Application {
	return store.Application{Catalog: c, Secrets: keys, Write: byFile}
}

// apply says whether it changed anything.
func apply(t *testing.T, s *store.Store, c *catalog.Catalog) bool {
	t.Helper()
	plan, err := s.Apply(t.Context(), file(c))
	if err != nil {
		t.Fatal(err)
	}
	return len(plan.Changes) > 0
}

func subscriptions(t *testing.T, s *store.Store) map[string]store.Subscription {
	t.Helper()
	all, err := s.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]store.Subscription{}
	for _, sub := range all {
		named[sub.Name] = sub
	}
	return named
}

func TestApplyKeepsWhatTheCatalogDeclares(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		now := time.Date(2026, 11, 23, 12, 0, 0, 123_000_000, time.UTC)
		clock := now
		s := opened(t, source(t), store.Options{Now: func() time.Time { return clock }})
		at := time.Date(2030, 1, 2, 3, 4, 5, 999_000_000, time.UTC)
		c := demo()
		c.Subscriptions[0].ExpiresAt = &at
		c.Subscriptions[0].Attributes = map[string]string{"tier": "gold"}
		c.Subscriptions = append(c.Subscriptions, catalog.Subscription{Name: "all", Developer: "bob@example.org", AllAPIs: true,
			PrimaryKey: &catalog.Secret{SHA256: strings.Repeat("ab", 32)}})
		if !apply(t, s, c) {
			t.Error("first Apply reported no change")
		}
		digest := sha256.Sum256([]byte("alice-primary"))
		digest2 := sha256.Sum256([]byte("alice-secondary"))
		digest3 := sha256.Sum256([]byte("bob-primary"))
		var known [32]byte
		_, _ = hex.Decode(known[:], []byte(strings.Repeat("ab", 32)))
		bob := store.Developer{Email: "bob@example.org", Groups: []string{}}
		key := func(slot wire.Slot, digest [32]byte) store.Key {
			return store.Key{Slot: slot, Digest: digest, Source: byFile.Source, Created: now}
		}
		want := map[string]store.Subscription{
			"alice": {ID: 1, Name: "alice", Scope: store.Scope{Kind: store.ScopeProduct, Name: "Unlimited"}, State: wire.StateActive,
				Expires: uint32(at.Unix()), Attributes: map[string]string{"tier": "gold"},
				Developer: store.Developer{Email: "alice@example.org", Name: "Alice", Groups: []string{"beta"}},
				Keys:      []store.Key{key(wire.SlotPrimary, digest), key(wire.SlotSecondary, digest2)}},
			"bob": {ID: 2, Name: "bob", Scope: store.Scope{Kind: store.ScopeAPI, Name: "Demo"}, State: wire.StateSuspended,
				Attributes: map[string]string{}, Developer: bob, Keys: []store.Key{key(wire.SlotPrimary, digest3)}},
			"all": {ID: 3, Name: "all", Scope: store.Scope{Kind: store.ScopeAllAPIs}, State: wire.StateActive,
				Attributes: map[string]string{}, Developer: bob, Keys: []store.Key{key(wire.SlotPrimary, known)}},
		}
		for name, sub := range want {
			sub.Revision, sub.Started, sub.Updated, sub.Source = 1, now, now, byFile.Source
			want[name] = sub
		}
		if diff := cmp.Diff(want, subscriptions(t, s)); diff != "" {
			t.Errorf("subscriptions (-want +got):\n%s", diff)
		}
		clock = now.Add(time.Hour)
		if apply(t, s, c) {
			t.Error("second Apply of the same catalog reported a change")
		}
		if diff := cmp.Diff(want, subscriptions(t, s)); diff != "" {
			t.Errorf("after a second Apply (-want +got):\n%s", diff)
		}
	})
}

func TestExpiryNeverBecomesNever(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		for name, tc := range map[string]struct {
			at   time.Time
			want uint32
		}{
			"epoch":        {time.Unix(0, 0), 1},
			"before 1970":  {time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), 1},
			"beyond 2106":  {time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 1<<32 - 1},
			"a part of 1s": {time.Unix(100, 999_999_999), 100},
		} {
			t.Run(name, func(t *testing.T) {
				s, c := fresh(t, source), demo()
				c.Subscriptions[0].ExpiresAt = &tc.at
				apply(t, s, c)
				if got := subscriptions(t, s)["alice"].Expires; got != tc.want {
					t.Errorf("Expires = %d, want %d", got, tc.want)
				}
			})
		}
	})
}

func TestRevisionMovesWithWhatHangsOnASubscription(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := time.Unix(2_000_000_000, 0)
		for name, tc := range map[string]struct {
			change     func(*catalog.Catalog)
			alice, bob uint32
		}{
			"nothing":       {func(*catalog.Catalog) {}, 1, 1},
			"state":         {func(c *catalog.Catalog) { c.Subscriptions[0].State = "suspended" }, 2, 1},
			"expiry":        {func(c *catalog.Catalog) { c.Subscriptions[0].ExpiresAt = &at }, 2, 1},
			"scope":         {func(c *catalog.Catalog) { c.Subscriptions[0].Product = "Starter" }, 2, 1},
			"attributes":    {func(c *catalog.Catalog) { c.Subscriptions[0].Attributes = map[string]string{"a": "b"} }, 2, 1},
			"owner":         {func(c *catalog.Catalog) { c.Subscriptions[0].Developer = "bob@example.org" }, 2, 1},
			"groups":        {func(c *catalog.Catalog) { c.Developers[0].Groups = nil }, 2, 1},
			"person's name": {func(c *catalog.Catalog) { c.Developers[1].Name = "Robert" }, 1, 2},
			"key gone":      {func(c *catalog.Catalog) { c.Subscriptions[0].SecondaryKey = nil }, 2, 1},
			"keys swapped": {func(c *catalog.Catalog) {
				c.Subscriptions[0].PrimaryKey, c.Subscriptions[1].PrimaryKey = c.Subscriptions[1].PrimaryKey, c.Subscriptions[0].PrimaryKey
			}, 2, 2},
			"slots swapped": {func(c *catalog.Catalog) {
				a := &c.Subscriptions[0]
				a.PrimaryKey, a.SecondaryKey = a.SecondaryKey, a.PrimaryKey
			}, 2, 1},
			"order of the file": {func(c *catalog.Catalog) {
				c.Subscriptions[0], c.Subscriptions[1] = c.Subscriptions[1], c.Subscriptions[0]
			}, 1, 1},
		} {
			t.Run(name, func(t *testing.T) {
				s, c := fresh(t, source), demo()
				apply(t, s, c)
				tc.change(c)
				changed := apply(t, s, c)
				got := subscriptions(t, s)
				if got["alice"].Revision != tc.alice || got["bob"].Revision != tc.bob {
					t.Errorf("revisions = %d, %d, want %d, %d", got["alice"].Revision, got["bob"].Revision, tc.alice, tc.bob)
				}
				if want := tc.alice+tc.bob > 2; changed != want {
					t.Errorf("changed = %v, want %v", changed, want)
				}
				if got["alice"].ID != 1 || got["bob"].ID != 2 {
					t.Errorf("ids = %d, %d, want 1, 2", got["alice"].ID, got["bob"].ID)
				}
			})
		}
	})
}

func TestAnIdentityIsNeverGivenToAnother(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s, c := fresh(t, source), demo()
		apply(t, s, c)
		without := demo()
		without.Subscriptions = without.Subscriptions[:1]
		apply(t, s, without)
		if got := subscriptions(t, s); len(got) != 1 {
			t.Fatalf("after removing bob: %v", got)
		}
		apply(t, s, c)
		if got := subscriptions(t, s)["bob"]; got.ID != 2 || got.Revision <= 2 {
			t.Errorf("bob came back as id %d, revision %d; want id 2 and a revision beyond the removal's", got.ID, got.Revision)
		}
		apply(t, s, without)
		taken := demo()
		taken.Subscriptions[1].Developer = "alice@example.org"
		apply(t, s, taken)
		if got := subscriptions(t, s)["bob"].ID; got != 3 {
			t.Errorf("another developer's bob has id %d, want 3: id 2 owns the first bob's jobs", got)
		}
	})
}

func TestApplyRefusesWholeWithEveryMistake(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		for name, tc := range map[string]struct {
			change func(*catalog.Catalog)
			want   []string
		}{
			"not set": {func(c *catalog.Catalog) {
				c.Subscriptions[0].PrimaryKey = env("NOPE")
				c.Subscriptions[1].PrimaryKey = env("NADA")
			},
				[]string{`subscriptions[0].primary_key: subscription "alice": environment variable NOPE is not set`, `subscriptions[1].primary_key: subscription "bob": environment variable NADA is not set`}},
			"shared":     {func(c *catalog.Catalog) { c.Subscriptions[1].PrimaryKey = env("A2") }, []string{`subscriptions "alice" and "bob" have the same key`}},
			"both slots": {func(c *catalog.Catalog) { c.Subscriptions[0].SecondaryKey = env("A1") }, []string{`subscription "alice": primary_key and secondary_key are the same key`}},
			"too long":   {func(c *catalog.Catalog) { c.Subscriptions[0].PrimaryKey = env("LONG") }, []string{"environment variable LONG", "1 to 256 characters, this one has 257"}},
			"a space":    {func(c *catalog.Catalog) { c.Subscriptions[0].PrimaryKey = env("SPACE") }, []string{"environment variable SPACE", "without spaces; character 7"}},
			"not ASCII":  {func(c *catalog.Catalog) { c.Subscriptions[0].PrimaryKey = env("UTF8") }, []string{"environment variable UTF8", "printable ASCII"}},
			"digest":     {func(c *catalog.Catalog) { c.Subscriptions[0].PrimaryKey = &catalog.Secret{SHA256: "abcd"} }, []string{"sha256 is not 64 hexadecimal digits"}},
			"state":      {func(c *catalog.Catalog) { c.Subscriptions[0].State = "paused" }, []string{`unknown state "paused"`}},
			"developer":  {func(c *catalog.Catalog) { c.Subscriptions[0].Developer = "x" }, []string{`subscriptions[0].developer: subscription "alice": there is no developer "x"`}},
		} {
			t.Run(name, func(t *testing.T) {
				s := fresh(t, source)
				apply(t, s, demo())
				before := subscriptions(t, s)
				c := demo()
				c.Subscriptions = append(c.Subscriptions, catalog.Subscription{Name: "new", Developer: "bob@example.org", AllAPIs: true})
				tc.change(c)
				planted := secrets{"A1": keys["A1"], "A2": keys["A2"], "B1": keys["B1"],
					"LONG": strings.Repeat("k", 257), "SPACE": "secret key", "UTF8": "schlüssel"}
				_, err := s.Apply(t.Context(), store.Application{Catalog: c, Secrets: planted, Write: byFile})
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range tc.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error %q lacks %q", err, want)
					}
				}
				for _, key := range planted {
					if strings.Contains(err.Error(), key) {
						t.Errorf("error %q contains a key", err)
					}
				}
				if diff := cmp.Diff(before, subscriptions(t, s)); diff != "" {
					t.Errorf("the refused catalog changed the store (-before +after):\n%s", diff)
				}
			})
		}
	})
}

func TestReviseMovesWithContentOnly(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at, ctx := source(t), t.Context()
		a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
		var got []uint64
		var ids []string
		for _, contents := range [][][32]byte{{a, a, b, a}, {a, b}} { // the second after a restart
			s, end := connect(t, at, store.Options{})
			for _, content := range contents {
				r, err := s.Revise(ctx, content)
				if err != nil {
					t.Fatal(err)
				}
				got, ids = append(got, r.Number), append(ids, r.Store)
			}
			end()
		}
		if diff := cmp.Diff([]uint64{1, 1, 2, 3, 3, 4}, got); diff != "" {
			t.Errorf("numbers (-want +got):\n%s", diff)
		}
		for _, id := range ids {
			if id != ids[0] || len(id) != 32 {
				t.Errorf("store ids %q: want one of 32 hexadecimal digits", ids)
				break
			}
		}
	})
}

func TestNoKeyInAnyFile(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		s := opened(t, at, store.Options{})
		apply(t, s, demo())
		if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "vm", Sequence: 1, Denials: []wire.Denial{{Call: "c", Reason: "key_unknown"}}}); err != nil {
			t.Fatal(err)
		}
		held := content(t, at)
		for _, key := range keys {
			if bytes.Contains(held, []byte(key)) {
				t.Error("the database contains a key in clear")
			}
		}
		if digest := apikey.Digest(keys["A1"]); !bytes.Contains(held, digest[:]) { // or this test looks at the wrong bytes
			t.Error("it does not contain the key's digest")
		}
	})
}
