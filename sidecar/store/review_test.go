package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// keeping is the demo's file applied as a sidecar does when it starts.
func keeping(t *testing.T, s *store.Store) store.Plan {
	t.Helper()
	a := file(demo())
	a.Conflicts = store.ConflictsKeep
	return applied(t, s, a)
}

// forced takes over.
func forced() store.Write {
	w := someone
	w.TakeOver = true
	return w
}

// alices are the keys of the demo's alice.
var alices = map[string]string{"alice-primary": "first", "alice-secondary": "second"}

func TestARevokedKeyDoesNotComeBack(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		for name, end := range map[string]func(*store.Store) (string, error){
			"revoked": func(s *store.Store) (string, error) {
				return "secondary second", s.RevokeKey(t.Context(), "alice", primary, forced())
			},
			"replaced": func(s *store.Store) (string, error) {
				_, err := s.RegenerateKey(t.Context(), "alice", store.KeyChange{Slot: primary, Value: anyKey}, forced())
				return "primary new, secondary second", err
			},
			"deleted with its subscription": func(s *store.Store) (string, error) {
				if err := s.RevokeKey(t.Context(), "alice", secondary, forced()); err != nil {
					return "", err
				}
				return "", s.DeleteSubscription(t.Context(), "alice", forced())
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := fresh(t, source)
				keeping(t, s)
				want, err := end(s)
				if err != nil {
					t.Fatal(err)
				}
				names := map[string]string{"alice-primary": "first", "alice-secondary": "second", anyKey: "new"}
				for round := range 2 {
					plan := keeping(t, s)
					if got := keyring(found(t, s, "alice"), names, time.Now()); got != want {
						t.Errorf("round %d: keys %s, want %s", round, got, want)
					}
					if k := kept(plan); !slices.Contains(k, "key alice primary of ") || !strings.Contains(plan.Kept[0].Error(), "was revoked or replaced") {
						t.Errorf("round %d: kept %q", round, k)
					}
				}
				if _, err := s.Apply(t.Context(), file(demo())); !strings.Contains(fmt.Sprint(err), `key "alice primary" was revoked`) {
					t.Errorf("where conflicts are refused: %v", err)
				}
				elsewhere := demo()
				elsewhere.Subscriptions = append(elsewhere.Subscriptions[1:], catalog.Subscription{Name: "eve", Developer: "bob@example.org", AllAPIs: true, State: "active", PrimaryKey: env("A1")})
				a := file(elsewhere)
				a.Conflicts = store.ConflictsKeep
				if applied(t, s, a); len(found(t, s, "eve").Keys) != 0 {
					t.Error("another subscription got the key")
				}
				back := file(demo())
				back.Conflicts = store.ConflictsTakeOver
				applied(t, s, back)
				if got := keyring(found(t, s, "alice"), names, time.Now()); got != "primary first, secondary second" {
					t.Errorf("taken over: keys %s", got)
				}
				if plan := keeping(t, s); len(plan.Changes)+len(plan.Kept) != 0 {
					t.Errorf("after it was taken over: %v, %v", steps(plan), kept(plan))
				}
				without := demo() // it is the file's again, to leave out and to bring back
				without.Subscriptions[0].PrimaryKey = nil
				applied(t, s, file(without))
				if plan := applied(t, s, file(demo())); len(plan.Changes) != 1 || len(plan.Kept) != 0 {
					t.Errorf("brought back by the file: %v, %v", steps(plan), kept(plan))
				}
			})
		}
	})
}

// A file that still declares the key that is on its way out ends neither it nor the new one.
func TestAFileLeavesAGraceAlone(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		keeping(t, s)
		if _, err := s.RegenerateKey(t.Context(), "alice", store.KeyChange{Slot: primary, Value: anyKey, Grace: time.Hour}, forced()); err != nil {
			t.Fatal(err)
		}
		before := found(t, s, "alice")
		for range 2 {
			plan := keeping(t, s)
			if diff := cmp.Diff(before, found(t, s, "alice")); diff != "" || len(before.Keys) != 3 {
				t.Errorf("%d keys (-before +after):\n%s", len(before.Keys), diff)
			}
			if diff := cmp.Diff([]string{"key alice primary of "}, kept(plan)); diff != "" || len(plan.Changes) != 0 {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		}
		clock.pass(2 * time.Hour)
		if n, err := s.DropExpiredKeys(t.Context()); n != 1 || err != nil {
			t.Errorf("%d dropped, %v", n, err)
		}
		keeping(t, s)
		if got := keyring(found(t, s, "alice"), map[string]string{anyKey: "new", "alice-secondary": "second"}, clock.Now()); got != "primary new, secondary second" {
			t.Errorf("after the grace: %s", got)
		}
		declares := demo()
		declares.Subscriptions[0].PrimaryKey = env("NEW")
		a := file(declares)
		a.Secrets = secrets{"NEW": anyKey, "A2": "alice-secondary", "B1": "bob-primary"}
		if plan := applied(t, s, a); len(plan.Changes)+len(plan.Kept) != 0 {
			t.Errorf("a file that declares the new key: %v, %v", steps(plan), kept(plan))
		}
	})
}

func TestAKeyIsNeverGivenAgain(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		for name, end := range map[string]func(*store.Store, *hand) error{
			"revoked": func(s *store.Store, _ *hand) error { return s.RevokeKey(t.Context(), "a", primary, someone) },
			"replaced": func(s *store.Store, _ *hand) error {
				_, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary}, someone)
				return err
			},
			"expired": func(s *store.Store, clock *hand) error {
				_, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary, Grace: time.Hour}, someone)
				clock.pass(2 * time.Hour)
				n, dropping := s.DropExpiredKeys(t.Context())
				if n != 1 {
					err = fmt.Errorf("%d keys dropped", n)
				}
				return errors.Join(err, dropping)
			},
			"deleted": func(s *store.Store, _ *hand) error { return s.DeleteSubscription(t.Context(), "a", someone) },
			"taken over by a file": func(s *store.Store, _ *hand) error {
				a := of("a.yaml", `{developers: [{email: ada@example.com}], subscriptions: [{name: a, developer: ada@example.com, product: Starter, primary_key: {env: A1}}]}`)
				a.Conflicts = store.ConflictsTakeOver
				_, err := s.Apply(t.Context(), a)
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				clock := handAt(noon)
				s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
				subscribe(t, s, wants("a", "Starter"))
				subscribe(t, s, wants("b", "Unlimited"))
				act(t, s, "b", store.Approve)
				regenerate(t, s, "a", store.KeyChange{Slot: primary, Value: anyKey})
				if err := end(s, clock); err != nil {
					t.Fatal(err)
				}
				if _, err := s.RegenerateKey(t.Context(), "b", store.KeyChange{Slot: primary, Value: anyKey}, someone); field(err) != "value" {
					t.Errorf("another one got it: %v", err)
				}
				a := of("b.yaml", `{developers: [{email: cy@example.com}], subscriptions: [{name: c, developer: cy@example.com, all_apis: true, primary_key: {env: K}}]}`)
				a.Secrets, a.Conflicts = secrets{"K": anyKey}, store.ConflictsKeep
				if plan := applied(t, s, a); len(found(t, s, "c").Keys) != 0 || len(plan.Kept) != 1 {
					t.Errorf("a file got it: kept %v", kept(plan))
				}
			})
		}
	})
}

// A file may go back to a key that it had itself.
func TestAFileGoesBackToItsKey(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		other := demo()
		other.Subscriptions[0].PrimaryKey, other.Subscriptions[0].SecondaryKey = env("B2"), nil
		for _, c := range []*catalog.Catalog{demo(), other, demo()} {
			a := file(c)
			a.Secrets = secrets{"A1": "alice-primary", "A2": "alice-secondary", "B1": "bob-primary", "B2": "bob-secondary"}
			if plan := applied(t, s, a); len(plan.Kept) != 0 {
				t.Errorf("kept %v", kept(plan))
			}
		}
		if got := keyring(found(t, s, "alice"), alices, time.Now()); got != "primary first, secondary second" {
			t.Errorf("keys %s", got)
		}
	})
}

// large stores so many APIs of a megabyte each, and one more of so many bytes, as nobody may
// by himself.
func large(t *testing.T, db *database.DB, n, more int) {
	t.Helper()
	for i := range n + 1 {
		size := 1_000_000
		if i == n {
			size = more
		}
		spec := fmt.Sprintf(`{"name":"big%d","suffix":"big%d","backend":{"url":"https://b.example","timeout":"1m0s","authorization":"pass"},"definition":{"x":"%s"},"operations":[{"name":"R","method":"GET","template":"/"}]}`,
			i, i, strings.Repeat("x", size))
		if err := execute(t, db, `INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated) VALUES ('api', ?, ?, ?, '', 1, 1, 0, 0)`,
			fmt.Sprint("big", i), fmt.Sprint("big", i), spec); err != nil {
			t.Fatal(err)
		}
	}
}

// What JSON may write longer than it is, is no longer in the store than it was on the way in,
// and what does not fit with the rest is refused rather than stored.
func TestWhatIsStoredCanBeRead(t *testing.T) {
	s, db := withAudit(t, t.TempDir()+"/s.db", store.Options{})
	create(t, s, store.KindOrganization, organizationSpec)
	large(t, db, 16, 670_000) // which leaves about 100,000 bytes
	product := func(name, less string) []byte {
		return fmt.Appendf(nil, `{"name":"%s","apis":[],"terms":"%s"}`, name, strings.Repeat(less+"&>", 20_000))
	}
	for name, less := range map[string]string{"P": "<", "Q": `\u003c`} {
		o, err := s.Create(t.Context(), store.KindProduct, product(name, less), someone)
		if err != nil || len(o.Spec) > 61_000 {
			t.Fatalf("a text of 60,000 bytes is stored as %d: %v", len(o.Spec), err)
		}
		if c, err := s.Config(t.Context()); err != nil || len(c.APIs) != 17 || len(c.Products) != 1 {
			t.Errorf("the configuration cannot be read: %v", err)
		}
		if _, err := s.Create(t.Context(), store.KindProduct, product("R", "<"), someone); !strings.Contains(fmt.Sprint(err), "bytes together, and may be 16777216") {
			t.Errorf("one more: %v", err)
		}
		if _, err := s.Apply(t.Context(), of("big.yaml", "products: ["+string(product("R", "<"))+"]")); !strings.Contains(fmt.Sprint(err), "bytes together, and may be 16777216") {
			t.Errorf("applying one more: %v", err)
		}
		if err := s.Delete(t.Context(), store.KindProduct, name, someone); err != nil {
			t.Error(err)
		}
	}
}

// A store in which earlier versions wrote more than a catalog file may have is read all the
// same, and shrinks.
func TestAnOversizeStoreIsRead(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		s, db := withAudit(t, at, store.Options{})
		everything(t, s)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		text := func(n int, escape bool) string {
			b, _ := json.Marshal(map[string]any{"name": "T", "terms": strings.Repeat(`<\u003c`, n)})
			if !escape {
				b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte(`\u003c`), []byte("<")), []byte(`\<`), []byte(`\\u003c`))
			}
			return string(b)
		}
		must(execute(t, db, `UPDATE object SET spec = ? WHERE name = 'P'`, text(100, true)))
		s = reopened(t, db)
		o, err := s.Object(t.Context(), store.KindProduct, "P")
		must(err)
		var was, is struct{ Terms string }
		must(json.Unmarshal([]byte(text(100, true)), &was))
		must(json.Unmarshal(o.Spec, &is))
		if was != is || len(is.Terms) != 700 || strings.Contains(strings.ReplaceAll(string(o.Spec), `\\`, ``), `\u`) {
			t.Errorf("stored %.100s", o.Spec)
		}
		// And what is too large however it is written can be read.
		large(t, db, 17, 1_000_000)
		must(execute(t, db, `UPDATE object SET spec = '{"name":"P","apis":["A"]}' WHERE name = 'P'`))
		if c, err := s.Config(t.Context()); err != nil || len(c.APIs) != 19 {
			t.Errorf("%v", err)
		}
	})
}

func execute(t *testing.T, db *database.DB, statement string, arguments ...any) error {
	t.Helper()
	return db.Transact(t.Context(), "testing", func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), statement, arguments...)
		return err
	})
}

// reopened is a store whose sidecar starts again.
func reopened(t *testing.T, db *database.DB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), db, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAPublisherNamesNoSecret(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		publisher := store.Write{Actor: "token:pub", Limited: true, TakeOver: true}
		keyed := func(url, env string) string {
			return fmt.Sprintf(`{"name": "A", "suffix": "a", "backend": {"url": %q, "authorization": "inject", "key": {"env": %q}}, "operations": [{"name": "Read", "method": "GET", "template": "/"}]}`, url, env)
		}
		refused := func(what, at string, err error) {
			t.Helper()
			if field(err) != at || !strings.Contains(err.Error(), "only an administrator may name a secret, or change the URL to which one is sent") {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := s.Create(t.Context(), store.KindAPI, []byte(keyed("https://a.example", "K")), publisher)
		refused("creating", "backend.key", err)
		create(t, s, store.KindAPI, keyed("https://a.example", "K"))
		for what, spec := range map[string]string{"another URL": keyed("https://evil.example", "K"), "another path": keyed("https://a.example/x", "K"), "another secret": keyed("https://a.example", "L")} {
			_, err := s.Replace(t.Context(), store.KindAPI, "A", []byte(spec), publisher)
			refused(what, "backend.key", err)
			a := of("p.yaml", "apis: ["+spec+"]")
			a.Write = publisher
			a.Source = store.FileSource("p.yaml")
			_, err = s.Apply(t.Context(), a)
			refused("applying "+what, "apis[0].backend.key", err)
		}
		other := strings.Replace(keyed("HTTPS://A.example:443/", "K"), `"suffix": "a"`, `"suffix": "b"`, 1)
		if _, err := s.Replace(t.Context(), store.KindAPI, "A", []byte(other), publisher); err != nil {
			t.Errorf("another suffix: %v", err)
		}
		a := of("p.yaml", "apis: ["+strings.Replace(other, `"suffix": "b"`, `"suffix": "c"`, 1)+"]")
		a.Write = publisher
		a.Source = store.FileSource("p.yaml")
		if _, err := s.Apply(t.Context(), a); err != nil {
			t.Errorf("applying another suffix: %v", err)
		}
		if _, err := s.Replace(t.Context(), store.KindAPI, "A", []byte(apiSpec), publisher); err != nil {
			t.Errorf("no secret any more: %v", err)
		}
		_, err = s.Replace(t.Context(), store.KindAPI, "A", []byte(other), publisher)
		refused("a secret where there was none", "backend.key", err)
	})
}

func TestOnlyWhoPrunesDeletes(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		applied(t, s, file(demo()))
		before := exported(t, s)
		want := []string{"delete subscription alice", "delete subscription bob", "delete developer alice@example.org", "delete developer bob@example.org",
			"delete product Starter", "delete product Unlimited", "delete group beta", "delete api Demo"}
		a := of("demo.yaml", `groups: [{name: mine}]`)
		for _, dry := range []bool{true, false} {
			a.Prune, a.DryRun = false, dry
			plan := applied(t, s, a)
			var unpruned []string
			for _, c := range plan.Unpruned {
				unpruned = append(unpruned, c.Action+" "+c.Kind+" "+c.Name)
				if len(c.Before) == 0 || len(c.After) != 0 {
					t.Errorf("%s: before %q, after %q", c.Name, c.Before, c.After)
				}
			}
			if diff := cmp.Diff(want, unpruned); diff != "" {
				t.Errorf("unpruned (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"create group mine"}, steps(plan)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		}
		if diff := cmp.Diff(strings.Replace(before, "\"groups\": [\n  {", "\"groups\": [\n  {\n   \"name\": \"beta\"\n  },\n  {", 1), strings.Replace(exported(t, s), `"name": "mine"`, `"name": "beta"`, 1)); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		a.Prune = true
		plan := applied(t, s, a)
		if diff := cmp.Diff(want, steps(plan)); diff != "" || len(plan.Unpruned) != 0 {
			t.Errorf("pruned (-want +got):\n%s%v", diff, plan.Unpruned)
		}
	})
}

func TestACreationWhoseAnswerWasLost(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		ctx := t.Context()
		once := &store.OnceKey{Actor: "token:ci", Key: "k"}
		w := someone
		w.Once = once
		request := [32]byte{1}
		ask := func() error {
			_, err := s.Once(ctx, once.Actor, once.Key, request)
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(ctx, store.KindGroup, []byte(`{"name":"a","nonsense":1}`), w); err == nil {
			t.Fatal("nonsense was created")
		}
		if code(ask()) != "idempotency_key_busy" {
			t.Error("what failed counts as done")
		}
		if _, err := s.Create(ctx, store.KindGroup, []byte(groupSpec), w); err != nil {
			t.Fatal(err)
		}
		// And then the connection breaks, the sidecar is killed, or the answer cannot be kept.
		for _, after := range []time.Duration{0, 2 * store.KeepReservation} {
			clock.pass(after)
			if err := ask(); code(err) != "idempotency_answer_lost" {
				t.Errorf("after %v: %v", after, err)
			}
		}
		if err := s.Unanswered(ctx, once.Actor, once.Key); err != nil || code(ask()) != "idempotency_answer_lost" {
			t.Errorf("given up: %v, %v", err, ask())
		}
		if _, err := s.Once(ctx, once.Actor, once.Key, [32]byte{2}); code(err) != "idempotency_key_reused" {
			t.Errorf("another request: %v", err)
		}
		if err := s.Answered(ctx, once.Actor, once.Key, store.Answer{Status: 201, Body: []byte("b")}); err != nil {
			t.Fatal(err)
		}
		if answer, err := s.Once(ctx, once.Actor, once.Key, request); err != nil || answer == nil || answer.Status != 201 {
			t.Errorf("answered late: %+v, %v", answer, err)
		}
	})
}

func TestARevisionIsNotThatOfAnEarlierOne(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		first := create(t, s, store.KindGroup, groupSpec)
		if err := s.Delete(t.Context(), store.KindGroup, first.Name, someone); err != nil {
			t.Fatal(err)
		}
		second := create(t, s, store.KindGroup, groupSpec)
		w := someone
		w.Match = first.Revision
		if _, err := s.Replace(t.Context(), store.KindGroup, first.Name, []byte(`{"name":"Testers","description":"x"}`), w); !errors.Is(err, store.ErrMoved) {
			t.Errorf("revision %d, then %d: %v", first.Revision, second.Revision, err)
		}
		if got, err := s.Object(t.Context(), store.KindGroup, first.Name); err != nil || got.Revision != second.Revision || second.Revision <= first.Revision {
			t.Errorf("created with revision %d, read with %d, %v", second.Revision, got.Revision, err)
		}
	})
}

func TestWhatTheAPIEndedIsFinal(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		keeping(t, s)
		if _, err := s.Act(t.Context(), "alice", store.Cancel, "fraud", forced()); err != nil {
			t.Fatal(err)
		}
		before := found(t, s, "alice")
		a := file(demo())
		a.Conflicts = store.ConflictsTakeOver
		plan := applied(t, s, a)
		if diff := cmp.Diff(before, found(t, s, "alice")); diff != "" || before.Note != "fraud" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		if len(plan.Kept) != 1 || plan.Kept[0].Name != "alice" || !strings.Contains(plan.Kept[0].Error(), "cancelled, which is final") {
			t.Errorf("kept %v", kept(plan))
		}
		// A file that says so as well makes it its own, and may change its mind.
		cancelled := demo()
		cancelled.Subscriptions[0].State = "cancelled"
		for _, c := range []*catalog.Catalog{cancelled, demo()} {
			a.Catalog = c
			if plan := applied(t, s, a); len(plan.Kept) != 0 {
				t.Errorf("kept %v", kept(plan))
			}
		}
		if got := found(t, s, "alice"); got.State != wire.StateActive {
			t.Errorf("alice is %s", store.StateName(got.State))
		}
	})
}

func TestASubscriptionIsNoNumber(t *testing.T) {
	s := stocked(t, fresh(t, func(t *testing.T) string { return t.TempDir() + "/s.db" }))
	if _, err := s.CreateSubscription(t.Context(), wants("17", "Starter"), someone); field(err) != "name" {
		t.Errorf("17: %v", err)
	}
	create(t, s, store.KindDeveloper, `{"email": "17@example.com"}`)
	create(t, s, store.KindProduct, `{"name": "!", "apis": []}`)
	sub, err := s.CreateSubscription(t.Context(), catalog.Subscription{Developer: "17@example.com", Product: "!"}, someone)
	if err != nil || sub.Name != "subscription-17" {
		t.Errorf("without a name: %q, %v", sub.Name, err)
	}
}

func TestTokensAreSortedByBytes(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		for _, name := range []string{"b", "a-c", "B", "a.b", "ab", "a_"} {
			if _, _, err := s.CreateToken(t.Context(), store.NewToken{Name: name, Role: store.RoleReader}, someone); err != nil {
				t.Fatal(err)
			}
		}
		tokens, err := s.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, token := range tokens {
			names = append(names, token.Name)
		}
		if diff := cmp.Diff([]string{"B", "a-c", "a.b", "a_", "ab", "b"}, names); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A plan is made in nobody's way, and is made anew where the store was changed meanwhile: at
// last within the transaction, so that it ends.
func TestAPlanIsOfTheStoreThatItChanges(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		var s *store.Store
		asked := 0
		s = opened(t, at, store.Options{Accept: func(c *catalog.Catalog) error {
			// On SQLite this would wait for ever for the transaction in which it is asked; and the
			// configuration moves under the first two plans.
			if asked++; asked > 2 {
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return s.Record(ctx, []store.Decision{{ID: fmt.Sprint("d", asked)}})
		}})
		create(t, s, store.KindOrganization, organizationSpec)
		applied(t, s, of("a.yaml", `groups: [{name: g}]`))
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestOthersMoveWhileOnePlans(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		for name, write := range map[string]func(*store.Store) error{
			"an application": func(s *store.Store) error {
				_, err := s.Apply(t.Context(), of("a.yaml", `groups: [{name: mine}]`))
				return err
			},
			"an object": func(s *store.Store) error {
				_, err := s.Create(t.Context(), store.KindGroup, []byte(`{"name":"mine"}`), someone)
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				var s *store.Store
				seen, moves := []int{}, 0
				s = opened(t, source(t), store.Options{Accept: func(c *catalog.Catalog) error {
					if !slices.ContainsFunc(c.Groups, func(g catalog.Group) bool { return g.Name == "mine" }) {
						return nil
					}
					seen = append(seen, len(c.Groups))
					if moves++; moves > 2 {
						return nil
					}
					_, err := s.Create(t.Context(), store.KindGroup, fmt.Appendf(nil, `{"name":"other%d"}`, moves), someone)
					return err
				}})
				if err := write(s); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]int{1, 2, 3}, seen); diff != "" {
					t.Errorf("groups that were accepted (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// An application by one file reads nothing of the subscriptions of another, and heeds them all
// the same.
func TestOthersSubscriptionsAreHeeded(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		applied(t, s, of("apis.yaml", `
apis: [{name: Demo, suffix: demo, backend: {url: "https://backend.example"}, operations: [{name: Read, method: GET, template: /}]}]
products: [{name: Few, apis: [Demo], subscriptions_limit: 2}, {name: Many, apis: [Demo]}]
developers: [{email: ada@example.org}, {email: bob@example.org}]`))
		applied(t, s, of("others.yaml", `subscriptions: [{name: Pay, developer: ada@example.org, product: Few, primary_key: {env: A1}},
			{name: api, developer: bob@example.org, api: Demo}]`))
		for name, tc := range map[string]struct {
			a     store.Application
			wants string
		}{
			"a key":  {of("x.yaml", `subscriptions: [{name: x, developer: ada@example.org, product: Many, primary_key: {env: A1}}]`), `"Pay" and "x" have the same key`},
			"a look": {of("x.yaml", `subscriptions: [{name: арі, developer: ada@example.org, product: Many}]`), `looks like "api"`},
			"a limit": {of("x.yaml", `subscriptions: [{name: x, developer: ada@example.org, product: Few}, {name: y, developer: ada@example.org, product: Few}]`),
				"would have 3 subscriptions"},
			"a product":   {of("apis.yaml", `{apis: [{name: Demo, suffix: demo, backend: {url: "https://backend.example"}, operations: [{name: Read, method: GET, template: /}]}], products: [{name: Many, apis: [Demo]}], developers: [{email: ada@example.org}, {email: bob@example.org}]}`), `product "Few" is needed by subscription Pay`},
			"an API":      {of("apis.yaml", `{products: [{name: Few, apis: []}, {name: Many, apis: []}], developers: [{email: ada@example.org}, {email: bob@example.org}]}`), `api "Demo" is needed by subscription api`},
			"a developer": {of("apis.yaml", `{apis: [{name: Demo, suffix: demo, backend: {url: "https://backend.example"}, operations: [{name: Read, method: GET, template: /}]}], products: [{name: Few, apis: [Demo], subscriptions_limit: 2}, {name: Many, apis: [Demo]}], developers: [{email: ada@example.org}]}`), `developer "bob@example.org" is needed by subscription api`},
		} {
			part := tc.a
			if _, err := s.Apply(t.Context(), part); !strings.Contains(fmt.Sprint(err), tc.wants) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAnApplicationReadsNoOthersSubscriptions(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s, db := withAudit(t, source(t), store.Options{})
		applied(t, s, file(demo()))
		if err := execute(t, db, `UPDATE subscription SET attributes = 'unreadable'`); err != nil {
			t.Fatal(err)
		}
		applied(t, s, of("tiny.yaml", `{groups: [{name: tiny}], developers: [{email: cy@example.org}], subscriptions: [{name: cy, developer: cy@example.org, api: Demo}]}`))
		if _, err := s.Apply(t.Context(), of("tiny.yaml", `subscriptions: [{name: alice, developer: bob@example.org, api: Demo}]`)); err == nil {
			t.Error("a subscription that the file names was not read")
		}
	})
}

// A slot keeps the key that it has where the file goes back to one that was revoked.
func TestAFileThatGoesBackToARevokedKey(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		keeping(t, s)
		if err := s.RevokeKey(t.Context(), "alice", primary, forced()); err != nil {
			t.Fatal(err)
		}
		next := demo()
		next.Subscriptions[0].PrimaryKey = env("NEXT")
		a := file(next)
		a.Secrets = secrets{"NEXT": anyKey, "A2": "alice-secondary", "B1": "bob-primary"}
		applied(t, s, a)
		plan := keeping(t, s)
		if got := keyring(found(t, s, "alice"), map[string]string{anyKey: "next", "alice-secondary": "second"}, time.Now()); got != "primary next, secondary second" || len(plan.Kept) != 1 {
			t.Errorf("keys %s, kept %v", got, kept(plan))
		}
	})
}
