package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

// Specs of one object of each kind, in the order in which they need one another.
const (
	organizationSpec = `{"name": "Demo", "administrator": "a@example.org"}`
	apiSpec          = `{"name": "A", "suffix": "a", "backend": {"url": "HTTPS://A.example:443/"}, "operations": [{"name": "Read", "method": "GET", "template": "/"}]}`
	groupSpec        = `{"name": "Testers"}`
	productSpec      = `{"name": "P", "apis": ["A"], "groups": ["Testers"]}`
	developerSpec    = `{"email": "ada@example.org", "groups": ["Testers", "Guests"]}`
)

// create makes an object that the test needs.
func create(t *testing.T, s *store.Store, kind store.Kind, spec string) store.Object {
	t.Helper()
	o, err := s.Create(t.Context(), kind, []byte(spec), someone)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// everything creates one object of each kind.
func everything(t *testing.T, s *store.Store) {
	t.Helper()
	create(t, s, store.KindOrganization, organizationSpec)
	create(t, s, store.KindAPI, apiSpec)
	create(t, s, store.KindGroup, groupSpec)
	create(t, s, store.KindProduct, productSpec)
	create(t, s, store.KindDeveloper, developerSpec)
}

// newSubscription makes an active subscription.
func newSubscription(t *testing.T, s *store.Store, c catalog.Subscription) store.Subscription {
	t.Helper()
	c.State = "active"
	sub, err := s.CreateSubscription(t.Context(), c, someone)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestAnObjectFromBeginningToEnd(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		changes := 0
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now, OnChange: func() { changes++ }})
		everything(t, s)
		ctx := t.Context()
		if change, configured, err := s.Change(ctx); change != 5 || configured != 4 || err != nil || changes != 5 {
			t.Errorf("change %d, configured %d, %v, told of %d; want 5, 4, 5: a developer is no configuration", change, configured, err, changes)
		}
		if _, err := s.Create(ctx, store.KindAPI, []byte(apiSpec), someone); !errors.Is(err, store.ErrExists) {
			t.Errorf("a second one: %v", err)
		}
		made, err := s.Object(ctx, store.KindAPI, "A")
		if err != nil || made.Revision != 2 || !made.Created.Equal(noon) || made.Source != "" {
			t.Errorf("made %+v, %v", made, err)
		}
		clock.pass(1)
		if same, err := s.Replace(ctx, store.KindAPI, "A", []byte(apiSpec), someone); err != nil || same.Revision != 2 || changes != 5 {
			t.Errorf("the same again: revision %d, %v, told of %d changes", same.Revision, err, changes)
		}
		clock.pass(1e9)
		match := someone
		match.Match = made.Revision
		other := strings.Replace(apiSpec, `"suffix": "a"`, `"suffix": "b"`, 1)
		changed, err := s.Replace(ctx, store.KindAPI, "A", []byte(other), match)
		if err != nil || changed.Revision != 3 || !changed.Updated.After(changed.Created) || !changed.Created.Equal(noon) {
			t.Errorf("changed %+v, %v", changed, err)
		}
		if change, configured, err := s.Change(ctx); change != 6 || configured != 6 || err != nil {
			t.Errorf("change %d, configured %d, %v; want 6, 6", change, configured, err)
		}
		if _, err := s.Replace(ctx, store.KindAPI, "A", []byte(apiSpec), match); !errors.Is(err, store.ErrMoved) {
			t.Errorf("changing what moved: %v", err)
		}
		match.Match = 3
		if err := s.Delete(ctx, store.KindGroup, "Testers", match); !errors.As(err, new(*store.InUseError)) {
			t.Errorf("deleting what is needed: %v", err)
		}
		match.Match = 7
		if err := s.Delete(ctx, store.KindDeveloper, "ada@example.org", match); !errors.Is(err, store.ErrMoved) {
			t.Errorf("deleting what moved: %v", err)
		}
		for _, name := range []struct {
			kind store.Kind
			name string
		}{{store.KindDeveloper, "ada@example.org"}, {store.KindProduct, "P"}, {store.KindGroup, "Testers"}, {store.KindAPI, "A"}} {
			if err := s.Delete(ctx, name.kind, name.name, someone); err != nil {
				t.Errorf("deleting %v: %v", name, err)
			}
			if _, err := s.Object(ctx, name.kind, name.name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%v after it was deleted: %v", name, err)
			}
			if err := s.Delete(ctx, name.kind, name.name, someone); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("deleting %v again: %v", name, err)
			}
		}
		if err := s.Delete(ctx, store.KindOrganization, "", someone); !errors.As(err, new(*store.InUseError)) {
			t.Errorf("deleting the organization: %v", err)
		}
		if _, err := s.Replace(ctx, store.KindGroup, "Testers", []byte(groupSpec), someone); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("changing what is gone: %v", err)
		}
		var actions []string
		for _, e := range audited(t, db, audit.Query{}) {
			actions = append(actions, e.Action+" "+e.Name)
		}
		want := []string{"organization.create ", "api.create A", "group.create Testers", "product.create P", "developer.create ada@example.org",
			"api.update A", "developer.delete ada@example.org", "product.delete P", "group.delete Testers", "api.delete A"}
		if diff := cmp.Diff(want, actions); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsStoredIsWhatParseGives(t *testing.T) {
	s := opened(t, t.TempDir()+"/s.db", store.Options{Catalog: catalog.Options{
		AllowBackends: []string{"localhost"}, BackendOverrides: map[string]string{"A": "http://localhost:9/", "Later": "http://localhost"}}})
	everything(t, s)
	o, err := s.Object(t.Context(), store.KindAPI, "A")
	if err != nil {
		t.Fatal(err)
	}
	var api catalog.API
	if err := json.Unmarshal(o.Spec, &api); err != nil {
		t.Fatal(err)
	}
	if api.Backend.URL != "https://a.example" || api.Keys.Header != catalog.DefaultKeyHeader || !api.SubscriptionRequired {
		t.Errorf("stored: %s", o.Spec)
	}
	c, err := s.Config(t.Context())
	if err != nil || c.APIs[0].Backend.URL != "http://localhost:9" || c.Organization.Name != "Demo" || len(c.Developers) != 0 {
		t.Errorf("configuration: %+v, %v", c, err)
	}
	exported, err := s.Export(t.Context())
	if err != nil || exported.APIs[0].Backend.URL != "https://a.example" || len(exported.Developers) != 1 {
		t.Errorf("export: %+v, %v", exported, err)
	}
}

func TestAnEmptyStoreIsAnEmptyCatalog(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		want := &catalog.Catalog{APIs: []catalog.API{}, Products: []catalog.Product{}, Groups: []catalog.Group{},
			Developers: []catalog.Developer{}, Subscriptions: []catalog.Subscription{}}
		for name, read := range map[string]func() (*catalog.Catalog, error){
			"Config": func() (*catalog.Catalog, error) { return s.Config(t.Context()) },
			"Export": func() (*catalog.Catalog, error) { return s.Export(t.Context()) },
		} {
			got, err := read()
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
		}
	})
}

func TestMistakesNameTheObjectsOwnFields(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		everything(t, s)
		create(t, s, store.KindAPI, strings.NewReplacer(`"A"`, `"Другой"`, `"suffix": "a"`, `"suffix": "other"`).Replace(apiSpec))
		api := func(old, new string) string {
			return strings.Replace(strings.NewReplacer(`"A"`, `"B"`, `"suffix": "a"`, `"suffix": "b"`).Replace(apiSpec), old, new, 1)
		}
		for name, test := range map[string]struct {
			kind store.Kind
			spec string
			want string
		}{
			"no JSON":              {store.KindAPI, `{"name": }`, `is not JSON: `},
			"not UTF-8":            {store.KindAPI, "{\"name\": \"\xff\"}", `is not UTF-8`},
			"YAML that closes":     {store.KindAPI, `x"}]}`, `is not JSON: `},
			"null":                 {store.KindAPI, `null`, `has no value; write a mapping with the fields name, `},
			"a list":               {store.KindProduct, `[]`, `must be a mapping with the fields name, `},
			"nothing":              {store.KindProduct, `{}`, `apis: is missing; every product needs it; name: is missing; every product needs it`},
			"a name that is null":  {store.KindGroup, `{"name": null}`, `name: has no value; write text, or remove the field`},
			"a backend":            {store.KindAPI, api("HTTPS://A.example:443/", "ftp://x"), `backend.url: must begin with https:// or http://`},
			"a loopback backend":   {store.KindAPI, api("A.example:443/", "localhost"), `backend.url: localhost is `},
			"an unknown field":     {store.KindAPI, api(`"url":`, `"place": 1, "url":`), `backend.place: unknown field "place"; known are `},
			"a field twice":        {store.KindAPI, api(`"url":`, `"url": "https://x.example", "url":`), `backend.url: stands twice`},
			"an operation's field": {store.KindAPI, api(`"GET"`, `"get"`), `operations[0].method: must be in upper case: GET`},
			"another's suffix":     {store.KindAPI, api(`"suffix": "b"`, `"suffix": "a"`), `suffix: "a" is the suffix of API "A" as well, for every host`},
			"a look-alike": {store.KindAPI, strings.NewReplacer(`"A"`, `"А"`, `"suffix": "a"`, `"suffix": "c"`).Replace(apiSpec), // Cyrillic
				`name: "А" looks like "A"; use a name that people can tell from it`},
			"an unknown API":       {store.KindProduct, `{"name": "Q", "apis": ["B"]}`, `apis[0]: there is no API "B"; did you mean "A"?`},
			"an unknown group":     {store.KindProduct, `{"name": "Q", "apis": [], "groups": ["X"]}`, `groups[0]: there is no group "X"; known are Testers`},
			"a developer's group":  {store.KindDeveloper, `{"email": "b@example.org", "groups": ["Guests", "X"]}`, `groups[1]: there is no group "X"`},
			"an address":           {store.KindDeveloper, `{"email": "b"}`, `email: must be an e-mail address, like ada@example.com`},
			"an address in use":    {store.KindDeveloper, `{"email": "ADA@example.org"}`, `email: "ADA@example.org" is the e-mail address of the developer "ada@example.org" as well`},
			"half a character":     {store.KindGroup, `{"name": "x", "description": "\ud83d"}`, `has half a character`},
			"halves that are none": {store.KindGroup, `{"name": "x", "description": "\ud83dx\ude00"}`, `has half a character`},
			"a bidi character":     {store.KindGroup, `{"name": "a\u202eb"}`, `name: must have printable characters and single spaces only; U+202E is neither`},
			"a very long name":     {store.KindGroup, `{"` + strings.Repeat("x", 5000) + `": 1}`, `not YAML`},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := s.Create(t.Context(), test.kind, []byte(test.spec), someone)
				var invalid *store.InvalidError
				if !errors.As(err, &invalid) {
					t.Fatalf("error %v, want an *InvalidError", err)
				}
				if got := invalid.Error(); !strings.HasPrefix(got, test.want) && (name != "a very long name" || !strings.Contains(got, test.want)) {
					t.Errorf("mistakes %s, want %s...", got, test.want)
				}
			})
		}
		_, err := s.Replace(t.Context(), store.KindAPI, "A", []byte(strings.Replace(apiSpec, `"A"`, `"B"`, 1)), someone)
		var invalid *store.InvalidError
		if !errors.As(err, &invalid) || invalid.Mistakes[0].Field != "name" {
			t.Errorf("another name: %v", err)
		}
		if _, err := s.Create(t.Context(), "thing", []byte(`{}`), someone); err == nil {
			t.Error("a thing was created")
		}
	})
}

func TestTextsArriveAsTheyWereSent(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		for i, spec := range []string{
			`{"name": "G%d", "description": "\ud83d\ude00 \u00e9\t\n\"\\ \/ \\ud83d"}`,
			"{\"name\": \"G%d\",\t\"description\":\r\n \"😀 é\\t\\n\\\"\\\\ / \\\\ud83d\"}",
		} {
			o := create(t, s, store.KindGroup, fmt.Sprintf(spec, i))
			var g catalog.Group
			if err := json.Unmarshal(o.Spec, &g); err != nil || g.Description != "😀 é\t\n\"\\ / \\ud83d" {
				t.Errorf("description %q, %v", g.Description, err)
			}
			if again, err := s.Replace(t.Context(), store.KindGroup, o.Name, o.Spec, someone); err != nil || again.Revision != o.Revision {
				t.Errorf("what was read, sent back: revision %d, %v", again.Revision, err)
			}
		}
		definition := strings.Replace(apiSpec, `"suffix"`, `"definition": {"x": ["\u0000\u007f\ufeff\u2028", 1.50, null], "200": {}}, "suffix"`, 1)
		o := create(t, s, store.KindAPI, definition)
		if again, err := s.Replace(t.Context(), store.KindAPI, "A", o.Spec, someone); err != nil || again.Revision != o.Revision {
			t.Errorf("a definition, sent back: revision %d, %v", again.Revision, err)
		}
		if !strings.Contains(string(o.Spec), `"definition":{"200":{},"x":["\u0000\u007f\ufeff\u2028",1.50,null]}`) {
			t.Errorf("stored %s", o.Spec)
		}
	})
}

func TestWhatIsNeededStays(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		everything(t, s)
		create(t, s, store.KindAPI, strings.NewReplacer(`"A"`, `"B"`, `"suffix": "a"`, `"suffix": "b"`).Replace(apiSpec))
		create(t, s, store.KindDeveloper, `{"email": "bob@example.org"}`)
		for i := range 12 {
			newSubscription(t, s, catalog.Subscription{Name: fmt.Sprintf("s%02d", i), Developer: "bob@example.org", Product: "P"})
		}
		newSubscription(t, s, catalog.Subscription{Name: "of B", Developer: "bob@example.org", API: "B"})
		many := []string{"subscription s00", "subscription s01", "subscription s02", "subscription s03", "subscription s04",
			"subscription s05", "subscription s06", "subscription s07", "subscription s08", "subscription s09"}
		for _, test := range []struct {
			kind store.Kind
			name string
			want store.InUseError
		}{
			{store.KindAPI, "A", store.InUseError{Kind: "api", Name: "A", By: []string{"product P"}}},
			{store.KindAPI, "B", store.InUseError{Kind: "api", Name: "B", By: []string{"subscription of B"}}},
			{store.KindProduct, "P", store.InUseError{Kind: "product", Name: "P", By: many, More: 2}},
			{store.KindGroup, "Testers", store.InUseError{Kind: "group", Name: "Testers", By: []string{"product P", "developer ada@example.org"}}},
			{store.KindDeveloper, "bob@example.org", store.InUseError{Kind: "developer", Name: "bob@example.org", By: append([]string{"subscription of B"}, many[:9]...), More: 3}},
		} {
			var got *store.InUseError
			if err := s.Delete(t.Context(), test.kind, test.name, someone); !errors.As(err, &got) {
				t.Errorf("deleting %s %s: %v", test.kind, test.name, err)
				continue
			}
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Errorf("deleting %s %s (-want +got):\n%s", test.kind, test.name, diff)
			}
		}
		create(t, s, store.KindGroup, `{"name": "Guests"}`) // ada is a member in any case
		if err := s.Delete(t.Context(), store.KindGroup, "Guests", someone); err != nil {
			t.Errorf("deleting a built-in group's description: %v", err)
		}
		if err := s.DeleteSubscription(t.Context(), "of B", someone); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), store.KindAPI, "B", someone); err != nil {
			t.Errorf("deleting what only a removed subscription names: %v", err)
		}
	})
}

func TestTheGatewayMustBeAbleToRun(t *testing.T) {
	var running *catalog.Catalog
	refuse := errors.New("no route for it")
	var refusing error
	options := store.Options{
		Accept: func(c *catalog.Catalog) error { running = c; return refusing },
		AllowSecret: func(secret catalog.Secret) error {
			if strings.HasPrefix(secret.Env, "TOLLGATE_SECRET_") {
				return nil
			}
			return errors.New("only variables that begin with TOLLGATE_SECRET_")
		},
		Catalog: catalog.Options{BackendOverrides: map[string]string{"A": "https://override.example"}},
	}
	s := opened(t, t.TempDir()+"/s.db", options)
	everything(t, s)
	refusing = refuse
	ctx := t.Context()
	other := strings.NewReplacer(`"A"`, `"B"`, `"suffix": "a"`, `"suffix": "b"`).Replace(apiSpec)
	for name, write := range map[string]func() error{
		"create": func() error { _, err := s.Create(ctx, store.KindAPI, []byte(other), someone); return err },
		"replace": func() error {
			_, err := s.Replace(ctx, store.KindProduct, "P", []byte(`{"name": "P", "apis": []}`), someone)
			return err
		},
		"delete": func() error { return s.Delete(ctx, store.KindProduct, "P", someone) },
		"apply":  func() error { _, err := s.Apply(ctx, file(parsed(`groups: [{name: G}]`))); return err },
	} {
		running = nil
		var invalid *store.InvalidError
		err := write()
		if !errors.As(err, &invalid) || len(invalid.Mistakes) != 1 || invalid.Mistakes[0].Field != "" || invalid.Mistakes[0].Message != refuse.Error() {
			t.Errorf("%s: %v", name, err)
		}
		if running == nil || len(running.APIs) == 0 || running.APIs[0].Backend.URL != "https://override.example" {
			t.Errorf("%s: asked about %+v", name, running)
		}
	}
	if change, _, err := s.Change(ctx); change != 5 || err != nil {
		t.Errorf("after changes that were refused: change %d, %v", change, err)
	}
	create(t, s, store.KindDeveloper, `{"email": "b@example.org"}`) // which is no configuration
	refusing = nil

	secret := func(env string) string {
		return strings.Replace(other, `"backend": {`, `"backend": {"authorization": "inject", "key": {"env": "`+env+`"}, `, 1)
	}
	var invalid *store.InvalidError
	if _, err := s.Create(ctx, store.KindAPI, []byte(secret("PATH")), someone); !errors.As(err, &invalid) || invalid.Mistakes[0].Field != "backend.key" {
		t.Errorf("a secret that is not allowed: %v", err)
	}
	create(t, s, store.KindAPI, secret("TOLLGATE_SECRET_B"))
	// Whoever changes where a key goes is asked for the key as well.
	inject := parsed(strings.Replace(demoFile, `backend: {`, `backend: {authorization: inject, key: {env: PATH}, `, 1))
	a := file(inject)
	a.Operator, a.Conflicts = false, store.ConflictsKeep
	if _, err := s.Apply(ctx, a); !errors.As(err, &invalid) || invalid.Mistakes[0].Field != "apis[0].backend.key" {
		t.Errorf("a secret in a file that is not the operator's: %v", err)
	}
	a.Operator, a.Conflicts = true, store.ConflictsTakeOver
	if _, err := s.Apply(ctx, a); err != nil {
		t.Errorf("the operator's: %v", err)
	}
	moved, err := s.Object(ctx, store.KindAPI, "Demo")
	if err != nil {
		t.Fatal(err)
	}
	w := someone
	w.TakeOver = true
	if _, err := s.Replace(ctx, store.KindAPI, "Demo", []byte(strings.Replace(string(moved.Spec), "https://backend.example", "https://evil.example", 1)), w); !errors.As(err, &invalid) {
		t.Errorf("another backend for the operator's key: %v", err)
	}
}

func TestADevelopersSubscriptionsSeeTheChange(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		everything(t, s)
		create(t, s, store.KindDeveloper, `{"email": "bob@example.org"}`)
		newSubscription(t, s, catalog.Subscription{Name: "ada", Developer: "ada@example.org", AllAPIs: true})
		newSubscription(t, s, catalog.Subscription{Name: "bob", Developer: "bob@example.org", AllAPIs: true})
		before, _, err := s.Change(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Replace(t.Context(), store.KindDeveloper, "ada@example.org", []byte(`{"email": "ada@example.org", "name": "Ada"}`), someone); err != nil {
			t.Fatal(err)
		}
		got := changedSince(t, s, before)
		if len(got) != 1 || got[0].Name != "ada" || got[0].Revision != 2 || got[0].Developer.Name != "Ada" || len(got[0].Developer.Groups) != 0 {
			t.Errorf("changed: %+v", got)
		}
		if bob := subscriptions(t, s)["bob"]; bob.Revision != 1 {
			t.Errorf("bob has revision %d", bob.Revision)
		}
	})
}

// changedSince are the subscriptions that changed; a removed one has the state 0.
func changedSince(t *testing.T, s *store.Store, after int64) (all []store.Subscription) {
	t.Helper()
	now, err := s.Changed(t.Context(), after, func(sub store.Subscription, removed bool) error {
		if removed {
			sub.State = 0
		}
		all = append(all, sub)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if change, _, err := s.Change(t.Context()); err != nil || change != now {
		t.Errorf("told up to %d, want %d, %v", now, change, err)
	}
	return all
}

func TestChangedTellsWhatChanged(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		var numbers []int64
		names := func(after int64) (names []string) {
			for _, sub := range changedSince(t, s, after) {
				names = append(names, fmt.Sprint(sub.Name, " ", sub.State, " ", len(sub.Keys)))
			}
			return names
		}
		without := demo()
		without.Subscriptions = without.Subscriptions[:1]
		swapped := demo()
		swapped.Subscriptions[1].State = "active"
		for _, c := range []*catalog.Catalog{demo(), swapped, without} {
			apply(t, s, c)
			n, _, err := s.Change(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, n)
		}
		for _, test := range []struct {
			after int64
			want  []string
		}{{0, []string{"alice 2 2"}}, {numbers[0], []string{"bob 0 0"}}, {numbers[1], []string{"bob 0 0"}}, {numbers[2], nil}, {numbers[2] + 1, nil}} {
			if test.after > numbers[2] { // of a store that was restored
				if now, err := s.Changed(t.Context(), test.after, func(store.Subscription, bool) error { return errors.New("told") }); now != numbers[2] || err != nil {
					t.Errorf("after a restore: %d, %v", now, err)
				}
				continue
			}
			if diff := cmp.Diff(test.want, names(test.after)); diff != "" {
				t.Errorf("after %d (-want +got):\n%s", test.after, diff)
			}
		}
		told := errors.New("enough")
		if _, err := s.Changed(t.Context(), 0, func(store.Subscription, bool) error { return told }); !errors.Is(err, told) {
			t.Errorf("an error of the one that is told: %v", err)
		}
	})
}

func TestObjectsComeInPages(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		everything(t, s)
		for i := range 7 {
			create(t, s, store.KindGroup, fmt.Sprintf(`{"name": "g%d"}`, i))
		}
		var got []string
		for after := ""; ; {
			page, err := s.Objects(t.Context(), store.KindGroup, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page {
				got, after = append(got, o.Name), o.Name
			}
			if len(page) < 3 {
				break
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"Testers", "g0", "g1", "g2", "g3", "g4", "g5", "g6"}, got); diff != "" {
			t.Errorf("groups (-want +got):\n%s", diff)
		}
		one, err := s.Objects(t.Context(), store.KindOrganization, "", 10)
		if err != nil || len(one) != 1 {
			t.Errorf("organizations: %v, %v", one, err)
		}
	})
}
