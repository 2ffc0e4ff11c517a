package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

// steps are a plan's changes in short.
func steps(plan store.Plan) (all []string) {
	for _, c := range plan.Changes {
		all = append(all, strings.TrimSpace(c.Action+" "+c.Kind+" "+c.Name))
	}
	return all
}

// kept are a plan's conflicts in short.
func kept(plan store.Plan) (all []string) {
	for _, k := range plan.Kept {
		all = append(all, k.Kind+" "+k.Name+" of "+k.Source)
	}
	return all
}

// applied is the plan of an application that works.
func applied(t *testing.T, s *store.Store, a store.Application) store.Plan {
	t.Helper()
	plan, err := s.Apply(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// of is an application of a part by another file, which is not the operator's, and prunes.
func of(name, part string) store.Application {
	return store.Application{Catalog: parsed(part), Secrets: keys, Prune: true, Write: store.Write{Actor: "token:ci", Source: store.FileSource(name)}}
}

// exported is what a store exports, as JSON.
func exported(t *testing.T, s *store.Store) string {
	t.Helper()
	c, err := s.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		told := 0
		s, db := withAudit(t, source(t), store.Options{OnChange: func() { told++ }})
		want := []string{"create organization", "create api Demo", "create group beta", "create product Starter", "create product Unlimited",
			"create developer alice@example.org", "create developer bob@example.org", "create subscription alice", "create subscription bob"}
		dry := file(demo())
		dry.DryRun = true
		if diff := cmp.Diff(want, steps(applied(t, s, dry))); diff != "" {
			t.Errorf("dry run (-want +got):\n%s", diff)
		}
		if got := exported(t, s); strings.Contains(got, "Demo") || len(audited(t, db, audit.Query{})) != 0 {
			t.Errorf("the dry run changed the store: %s", got)
		}
		if diff := cmp.Diff(want, steps(applied(t, s, file(demo())))); diff != "" {
			t.Errorf("first (-want +got):\n%s", diff)
		}
		before := exported(t, s)
		if plan := applied(t, s, file(demo())); len(plan.Changes)+len(plan.Kept) != 0 {
			t.Errorf("second: %v", steps(plan))
		}
		if n := len(audited(t, db, audit.Query{})); n != len(want) || told != 1 {
			t.Errorf("%d entries audited, told of %d changes; want %d, 1", n, told, len(want))
		}
		if diff := cmp.Diff(before, exported(t, s)); diff != "" {
			t.Errorf("the second changed the store:\n%s", diff)
		}
	})
}

// The plan of a dry run is that of the application after it, with what is there before and
// after.
func TestADryRunSaysWhatApplyDoes(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		applied(t, s, file(demo()))
		create(t, s, store.KindGroup, groupSpec)
		changed := demo()
		changed.Organization.URL = "https://demo.example"
		changed.APIs[0].Description = "For everyone."
		changed.Products = changed.Products[1:]
		changed.Groups = append(changed.Groups, catalog.Group{Name: "Testers", Description: "Mine."})
		changed.Developers[1].Groups = []string{"beta"}
		changed.Subscriptions = changed.Subscriptions[:1]
		changed.Subscriptions[0].SecondaryKey = nil
		a := file(changed)
		a.Conflicts, a.DryRun = store.ConflictsKeep, true
		dry := applied(t, s, a)
		want := []string{"delete subscription bob", "delete product Starter", "update organization", "update api Demo", "update developer bob@example.org", "update subscription alice"}
		if diff := cmp.Diff(want, steps(dry)); diff != "" {
			t.Errorf("dry run (-want +got):\n%s", diff)
		}
		a.DryRun = false
		if diff := cmp.Diff(dry, applied(t, s, a)); diff != "" {
			t.Errorf("plan (-dry run +applied):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"group Testers of "}, kept(dry)); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		alice := dry.Changes[5]
		if got := string(alice.Before); got != `{"name":"alice","developer":"alice@example.org","product":"Unlimited","state":"active","primary_key":true,"secondary_key":true}` {
			t.Errorf("before: %s", got)
		}
		if got := string(alice.After); got != `{"name":"alice","developer":"alice@example.org","product":"Unlimited","state":"active","primary_key":true,"changed_keys":["secondary"]}` {
			t.Errorf("after: %s", got)
		}
		bob := dry.Changes[4]
		if string(bob.Before) != `{"email":"bob@example.org"}` || string(bob.After) != `{"email":"bob@example.org","groups":["beta"]}` || len(dry.Changes[0].After) != 0 {
			t.Errorf("bob: %s, then %s", bob.Before, bob.After)
		}
	})
}

func TestConflicts(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		// What the API made, then what a file declares of it.
		prepared := func(t *testing.T) *store.Store {
			s := fresh(t, source)
			everything(t, s)
			create(t, s, store.KindGroup, `{"name": "Same"}`)
			newSubscription(t, s, catalog.Subscription{Name: "ada", Developer: "ada@example.org", Product: "P"})
			newSubscription(t, s, catalog.Subscription{Name: "same", Developer: "ada@example.org", Product: "P"})
			return s
		}
		const declared = `
groups: [{name: Testers, description: Of the file.}, {name: Same}, {name: New}]
developers: [{email: ada@example.org, name: Ada, groups: [Testers, Guests]}]
subscriptions:
  - {name: ada, developer: ada@example.org, product: P, state: suspended}
  - {name: same, developer: ada@example.org, product: P}
  - {name: new, developer: ada@example.org, product: P}
`
		conflicts := []string{"group Testers of ", "developer ada@example.org of ", "subscription ada of "}
		for mode, test := range map[store.Conflicts]struct {
			steps, kept []string
			refused     bool
		}{
			store.ConflictsRefuse: {nil, conflicts, true},
			"":                    {nil, conflicts, true},
			store.ConflictsKeep:   {[]string{"create group New", "create subscription new"}, conflicts, false},
			store.ConflictsTakeOver: {[]string{"update group Testers", "adopt group Same", "create group New", "update developer ada@example.org",
				"update subscription ada", "adopt subscription same", "create subscription new"}, nil, false},
		} {
			t.Run(string(mode), func(t *testing.T) {
				s := prepared(t)
				before := exported(t, s)
				a := of("ci.yaml", declared)
				a.Conflicts = mode
				plan, err := s.Apply(t.Context(), a)
				if diff := cmp.Diff(test.kept, kept(plan)); diff != "" {
					t.Errorf("conflicts (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.steps, steps(plan)); diff != "" {
					t.Errorf("changes (-want +got):\n%s", diff)
				}
				var managed *store.ManagedError
				if errors.As(err, &managed) != test.refused {
					t.Errorf("error %v", err)
				}
				if test.refused {
					for _, name := range []string{`group "Testers"`, `developer "ada@example.org"`, `subscription "ada"`} {
						if !strings.Contains(err.Error(), name) {
							t.Errorf("error %q does not name %s", err, name)
						}
					}
					if diff := cmp.Diff(before, exported(t, s)); diff != "" {
						t.Errorf("what was refused changed the store:\n%s", diff)
					}
					return
				}
				a.Conflicts = store.ConflictsKeep
				if again := applied(t, s, a); len(again.Changes) != 0 {
					t.Errorf("once more: %v", steps(again))
				}
			})
		}
	})
}

func TestTakenOverAndBack(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		applied(t, s, file(demo()))
		ctx := t.Context()
		edit := []byte(`{"name": "beta", "description": "By hand."}`)
		var managed *store.ManagedError
		if _, err := s.Replace(ctx, store.KindGroup, "beta", edit, someone); !errors.As(err, &managed) || managed.Source != byFile.Source {
			t.Fatalf("a change by hand: %v", err)
		}
		if err := s.Delete(ctx, store.KindProduct, "Starter", someone); !errors.As(err, &managed) {
			t.Fatalf("deleting by hand: %v", err)
		}
		if same, err := s.Replace(ctx, store.KindGroup, "beta", []byte(`{"name": "beta"}`), someone); err != nil || same.Source != byFile.Source {
			t.Errorf("the same by hand: %+v, %v", same, err)
		}
		force := someone
		force.TakeOver = true
		if o, err := s.Replace(ctx, store.KindGroup, "beta", edit, force); err != nil || o.Source != "" || o.Revision != 2 {
			t.Fatalf("taking over: %+v, %v", o, err)
		}
		if _, err := s.Replace(ctx, store.KindGroup, "beta", edit, someone); err != nil {
			t.Errorf("a change of what was taken over: %v", err)
		}
		if _, err := s.Apply(ctx, file(demo())); !errors.As(err, &managed) || managed.Name != "beta" || managed.Source != "" {
			t.Errorf("the file, refused: %v", err)
		}
		a := file(demo())
		a.Conflicts = store.ConflictsTakeOver
		if diff := cmp.Diff([]string{"update group beta"}, steps(applied(t, s, a))); diff != "" {
			t.Errorf("taking back (-want +got):\n%s", diff)
		}
		if plan := applied(t, s, file(demo())); len(plan.Changes) != 0 {
			t.Errorf("once more: %v", steps(plan))
		}
		// Of two files, each has its own.
		if _, err := s.Apply(ctx, of("other.yaml", `groups: [{name: beta, description: Other.}]`)); !errors.As(err, &managed) || managed.Source != byFile.Source {
			t.Errorf("another file: %v", err)
		}
		if plan := applied(t, s, of("other.yaml", `groups: [{name: beta}, {name: Other}]`)); len(plan.Changes) != 1 {
			t.Errorf("another file that says the same: %v", steps(plan))
		}
		if diff := cmp.Diff([]string{"delete group Other"}, steps(applied(t, s, of("other.yaml", `{}`)))); diff != "" {
			t.Errorf("a file without anything (-want +got):\n%s", diff)
		}
	})
}

// Who changes a subscription of a file takes its keys over with it.
func TestASubscriptionIsTakenOverWithItsKeys(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		applied(t, s, file(demo()))
		clock.pass(time.Hour)
		force := someone
		force.TakeOver = true
		var managed *store.ManagedError
		if _, err := s.Act(t.Context(), "alice", store.Suspend, "too many calls", someone); !errors.As(err, &managed) {
			t.Errorf("suspending by hand: %v", err)
		}
		if _, err := s.Act(t.Context(), "alice", store.Suspend, "too many calls", force); err != nil {
			t.Fatal(err)
		}
		stands := func(step, source, note string, revision uint32) {
			t.Helper()
			alice := subscriptions(t, s)["alice"]
			if alice.Source != source || alice.Note != note || alice.Revision != revision || len(alice.Keys) != 2 {
				t.Errorf("%s: %+v", step, alice)
			}
			for _, k := range alice.Keys {
				if k.Source != source || !k.Created.Equal(noon) {
					t.Errorf("%s: a key of %q, made at %s", step, k.Source, k.Created)
				}
			}
		}
		stands("taken over", "", "too many calls", 2)
		a := file(demo())
		a.Conflicts = store.ConflictsKeep
		if plan := applied(t, s, a); len(plan.Changes) != 0 || !slices.Equal(kept(plan), []string{"subscription alice of "}) {
			t.Errorf("the file: %v, kept %v", steps(plan), kept(plan))
		}
		alice := &a.Catalog.Subscriptions[0]
		alice.PrimaryKey, alice.SecondaryKey = alice.SecondaryKey, alice.PrimaryKey
		a.Conflicts = store.ConflictsTakeOver
		applied(t, s, a)
		stands("taken back, keys in each other's slots", byFile.Source, "", 3)
	})
}

func TestWhatAFileDropsGoes(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		applied(t, s, file(demo()))
		create(t, s, store.KindGroup, groupSpec)
		create(t, s, store.KindDeveloper, developerSpec)
		newSubscription(t, s, catalog.Subscription{Name: "by hand", Developer: "ada@example.org", AllAPIs: true})
		only := parsed(`organization: {name: Demo, administrator: admin@example.org}`)
		want := []string{"delete subscription alice", "delete subscription bob", "delete developer alice@example.org", "delete developer bob@example.org",
			"delete product Starter", "delete product Unlimited", "delete group beta", "delete api Demo"}
		if diff := cmp.Diff(want, steps(applied(t, s, file(only)))); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		c, err := s.Export(t.Context())
		if err != nil || len(c.Groups) != 1 || len(c.Developers) != 1 || len(c.Subscriptions) != 1 || len(c.APIs)+len(c.Products) != 0 {
			t.Errorf("left: %+v, %v", c, err)
		}
		if plan := applied(t, s, file(parsed(`{}`))); len(plan.Changes) != 0 {
			t.Errorf("a file without the organization: %v", steps(plan))
		}
	})
}

// The whole of what would be is checked, with what others have made.
func TestApplyChecksWhatWouldBe(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		applied(t, s, file(demo()))
		create(t, s, store.KindProduct, `{"name": "One", "apis": ["Demo"], "subscriptions_limit": 1, "groups": ["beta"]}`)
		create(t, s, store.KindDeveloper, `{"email": "ada@example.org", "groups": ["beta"]}`)
		newSubscription(t, s, catalog.Subscription{Name: "ada", Developer: "ada@example.org", Product: "One"})
		newSubscription(t, s, catalog.Subscription{Name: "Pay", Developer: "ada@example.org", Product: "Starter"})
		issued, err := s.ShowKeys(t.Context(), "ada", someone)
		if err != nil {
			t.Fatal(err)
		}
		keys := secrets{"A1": "x", "ADA": issued.Primary}
		_, retiring := s.RegenerateKey(t.Context(), "Pay", store.KeyChange{Slot: wire.SlotPrimary, Value: anyKey}, someone)
		if retiring != nil {
			t.Fatal(retiring)
		}
		without := func(drop string) store.Application {
			if !strings.Contains(demoFile, drop) {
				t.Fatalf("the demo has no %q", drop)
			}
			return file(parsed(strings.Replace(demoFile, drop, "", 1)))
		}
		for name, test := range map[string]struct {
			a    store.Application
			want []string
		}{
			"a suffix of another source": {of("b.yaml", `apis: [{name: B, suffix: demo, backend: {url: "https://b.example"}, operations: [{name: Read, method: GET, template: /}]}]`),
				[]string{`apis[0].suffix: "demo" is the suffix of API "Demo" as well, for every host`}},
			"an unknown product": {of("b.yaml", `subscriptions: [{name: s, developer: ada@example.org, product: None}]`),
				[]string{`subscriptions[0].product: subscription "s": there is no product "None"`}},
			"an unknown API": {of("b.yaml", `{products: [{name: Q, apis: [Demo, None]}], subscriptions: [{name: s, developer: a@b, api: None}]}`),
				[]string{`products[0].apis[1]: there is no API "None"`, `subscriptions[0].developer: subscription "s": there is no developer "a@b"`,
					`subscriptions[0].api: subscription "s": there is no api "None"`}},
			"an unknown group": {of("b.yaml", `developers: [{email: a@b, groups: [Guests, None]}]`),
				[]string{`developers[0].groups[1]: there is no group "None"`}},
			"an address of another source": {of("b.yaml", `developers: [{email: ADA@example.org}]`),
				[]string{`developers[0].email: "ADA@example.org" is the e-mail address of the developer "ada@example.org" as well`}},
			"more than a product allows": {of("b.yaml", `subscriptions: [{name: s, developer: ada@example.org, product: One}]`),
				[]string{`subscriptions[0]: subscription "s": ada@example.org would have 2 subscriptions to the product "One", which allows each developer 1`}},
			"a look-alike": {of("b.yaml", `subscriptions: [{name: Рау, developer: ada@example.org, product: Starter}]`),
				[]string{`subscriptions[0]: "Рау" looks like "Pay"; use a name that people can tell from it`}},
			"a key of another source": {store.Application{Catalog: parsed(`subscriptions: [{name: s, developer: ada@example.org, product: Starter, primary_key: {env: ADA}}]`), Secrets: keys, Write: byOther},
				[]string{`subscriptions[0]: subscriptions "ada" and "s" have the same key: a key names one subscription`}},
			"a group that is needed":     {without(`groups: [{name: beta}]`), []string{`products["One"].groups[0]: there is no group "beta"`, `groups["beta"]: cannot go: group "beta" is needed by developer ada@example.org`}},
			"a product that is needed":   {without(`  - {name: Starter, apis: [Demo]}`), []string{`products["Starter"]: cannot go: product "Starter" is needed by subscription Pay`}},
			"a source without a name":    {of("", `{}`), []string{`source: must be the name of a file, of at most 255 bytes`}},
			"keys that cannot be read":   {store.Application{Catalog: demo(), Write: byFile}, []string{`subscriptions[0].primary_key: subscription "alice": environment variable A1 cannot be read here`}},
			"the API as the application": {store.Application{Catalog: demo(), Secrets: keys, Write: someone}, []string{`source: must be the name of a file`}},
		} {
			t.Run(name, func(t *testing.T) {
				before := exported(t, s)
				_, err := s.Apply(t.Context(), test.a)
				var invalid *store.InvalidError
				if !errors.As(err, &invalid) {
					t.Fatalf("error %v, want an *InvalidError", err)
				}
				for _, want := range test.want {
					if !strings.Contains(invalid.Error(), want) {
						t.Errorf("mistakes %s\nlack    %s", invalid, want)
					}
				}
				dry := test.a
				dry.DryRun = true
				if _, again := s.Apply(t.Context(), dry); again == nil || again.Error() != err.Error() {
					t.Errorf("the dry run says %v", again)
				}
				if diff := cmp.Diff(before, exported(t, s)); diff != "" {
					t.Errorf("what was refused changed the store:\n%s", diff)
				}
			})
		}
	})
}

var byOther = store.Write{Actor: "token:ci", Source: store.FileSource("b.yaml")}

// A product's limit refuses what is new, not what is there.
func TestALowerLimitTakesNothingAway(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		c := demo()
		c.Subscriptions = append(c.Subscriptions, catalog.Subscription{Name: "two", Developer: "alice@example.org", Product: "Unlimited", State: "active"})
		applied(t, s, file(c))
		lower := parsed(strings.Replace(demoFile, "{name: Unlimited,", "{name: Unlimited, subscriptions_limit: 1,", 1))
		lower.Subscriptions = c.Subscriptions
		applied(t, s, file(lower))
		lower.Subscriptions[2].State = "suspended" // which counts as well
		applied(t, s, file(lower))
		lower.Subscriptions[2].State = "cancelled"
		applied(t, s, file(lower))
		lower.Subscriptions[2].State = "active"
		if _, err := s.Apply(t.Context(), file(lower)); !errors.As(err, new(*store.InvalidError)) {
			t.Errorf("a second one again: %v", err)
		}
		at := time.Now().Add(-time.Hour)
		lower.Subscriptions[2].ExpiresAt = &at // so it does not count
		applied(t, s, file(lower))
	})
}

func TestAFileAndTheAPIShareASubscriptionsKeys(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		ctx := t.Context()
		one := demo()
		one.Subscriptions[0].SecondaryKey = nil
		applied(t, s, file(one))
		made, err := s.RegenerateKey(ctx, "alice", store.KeyChange{Slot: wire.SlotSecondary}, someone)
		if err != nil {
			t.Fatalf("a key for a slot that is not the file's: %v", err)
		}
		hasKeys := func(step string, want ...string) {
			t.Helper()
			var got, digests []string
			for _, k := range subscriptions(t, s)["alice"].Keys {
				if k.Expires == 0 {
					got = append(got, fmt.Sprintf("%d %x %s", k.Slot, k.Digest, k.Source))
				}
			}
			for i := 0; i < len(want); i += 3 {
				digests = append(digests, fmt.Sprintf("%s %x %s", want[i], apikey.Digest(want[i+1]), want[i+2]))
			}
			if diff := cmp.Diff(digests, got); diff != "" {
				t.Errorf("%s: keys (-want +got):\n%s", step, diff)
			}
		}
		hasKeys("made", "1", keys["A1"], byFile.Source, "2", made, "")
		if plan := applied(t, s, file(one)); len(plan.Changes)+len(plan.Kept) != 0 {
			t.Errorf("the file once more: %v, %v", steps(plan), kept(plan))
		}
		other := demo()
		other.Subscriptions[0].SecondaryKey, other.Subscriptions[0].PrimaryKey = nil, env("A2")
		applied(t, s, file(other))
		hasKeys("the file's other key", "1", keys["A2"], byFile.Source, "2", made, "")

		both := file(demo())
		var managed *store.ManagedError
		if _, err := s.Apply(ctx, both); !errors.As(err, &managed) || managed.Kind != "key" || managed.Name != "alice secondary" || managed.Source != "" {
			t.Errorf("a file's key where the API made one: %v", err)
		}
		both.Catalog.Subscriptions[0].SecondaryKey = env("C")
		both.Secrets = secrets{"A1": keys["A1"], "B1": keys["B1"], "C": "another"}
		both.Conflicts = store.ConflictsKeep
		if plan := applied(t, s, both); !slices.Equal(kept(plan), []string{"key alice secondary of "}) {
			t.Errorf("kept: %v", kept(plan))
		}
		hasKeys("kept", "1", keys["A1"], byFile.Source, "2", made, "")
		both.Conflicts = store.ConflictsTakeOver
		applied(t, s, both)
		hasKeys("taken over", "1", keys["A1"], byFile.Source, "2", "another", byFile.Source)

		if _, err := s.RegenerateKey(ctx, "alice", store.KeyChange{Slot: wire.SlotPrimary}, someone); !errors.As(err, &managed) {
			t.Errorf("another key for a slot of the file's: %v", err)
		}
		force := someone
		force.TakeOver = true
		rotated, err := s.RegenerateKey(ctx, "alice", store.KeyChange{Slot: wire.SlotPrimary, Grace: time.Hour}, force)
		if err != nil {
			t.Fatal(err)
		}
		hasKeys("rotated", "1", rotated, "", "2", "another", byFile.Source)
		both.Conflicts = store.ConflictsKeep
		applied(t, s, both)
		hasKeys("rotated and kept", "1", rotated, "", "2", "another", byFile.Source)
		both.Conflicts = store.ConflictsTakeOver
		applied(t, s, both) // the key on its way out is the file's again
		hasKeys("back", "1", keys["A1"], byFile.Source, "2", "another", byFile.Source)
		if n := len(subscriptions(t, s)["alice"].Keys); n != 2 {
			t.Errorf("%d keys, want 2", n)
		}

		both.Catalog.Subscriptions[0].PrimaryKey, both.Catalog.Subscriptions[0].SecondaryKey = nil, nil
		applied(t, s, both)
		hasKeys("a file without keys")
	})
}

func TestExportAppliedIsTheSameExport(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		c := demo()
		at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		c.Subscriptions[1].ExpiresAt, c.Subscriptions[1].Attributes = &at, map[string]string{"tier": "gold"}
		c.APIs[0].Definition = catalog.Definition{"x": []any{json.Number("1.50"), nil, "\uFEFF"}}
		applied(t, s, file(c))
		everything2 := []struct {
			kind store.Kind
			spec string
		}{{store.KindAPI, apiSpec}, {store.KindGroup, groupSpec}, {store.KindProduct, productSpec}, {store.KindDeveloper, developerSpec}}
		for _, o := range everything2 {
			create(t, s, o.kind, o.spec)
		}
		newSubscription(t, s, catalog.Subscription{Name: "ada", Developer: "ada@example.org", Product: "P"})
		if _, err := s.ShowKeys(t.Context(), "ada", someone); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RegenerateKey(t.Context(), "ada", store.KeyChange{Slot: wire.SlotPrimary, Grace: time.Hour}, someone); err != nil {
			t.Fatal(err)
		}
		first := exported(t, s)
		for _, name := range []string{`"alice"`, `"ada"`, `"gold"`, `"2030-01-02T03:04:05Z"`, `"sha256"`} {
			if !strings.Contains(first, name) {
				t.Errorf("the export lacks %s: %s", name, first)
			}
		}
		if n := strings.Count(first, `"sha256"`); n != 5 {
			t.Errorf("%d keys exported, want 5: the one on its way out is none of them", n)
		}
		again, mistakes := catalog.Parse("export", []byte(first), catalog.Options{})
		if mistakes != nil {
			t.Fatal(mistakes)
		}
		other := fresh(t, source)
		applied(t, other, store.Application{Catalog: again, Write: byFile})
		if diff := cmp.Diff(first, exported(t, other)); diff != "" {
			t.Errorf("exports (-first +second):\n%s", diff)
		}
	})
}

func TestTheAuditOfAnApplicationHoldsNoSecret(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s, db := withAudit(t, source(t), store.Options{})
		applied(t, s, file(demo()))
		swapped := demo()
		swapped.Subscriptions[0].PrimaryKey, swapped.Subscriptions[1].PrimaryKey = swapped.Subscriptions[1].PrimaryKey, swapped.Subscriptions[0].PrimaryKey
		applied(t, s, file(swapped))
		var all strings.Builder
		for _, e := range audited(t, db, audit.Query{}) {
			fmt.Fprintln(&all, e)
			if e.Actor != byFile.Actor || e.Origin != byFile.Origin {
				t.Errorf("audited by %q from %q", e.Actor, e.Origin)
			}
		}
		for name, key := range keys {
			digest := apikey.Digest(key)
			for _, secret := range []string{key, fmt.Sprintf("%x", digest), string(digest[:])} {
				if strings.Contains(all.String(), secret) {
					t.Errorf("the audit holds the key %s", name)
				}
			}
		}
		if !strings.Contains(all.String(), `"primary_key":true`) || !strings.Contains(all.String(), `"changed_keys":["primary"]`) {
			t.Errorf("the audit does not say that there are keys: %s", &all)
		}
	})
}

func TestSidecarsApplyAtOnce(t *testing.T) {
	all := several(t, 4)
	together(all, func(i int, s *store.Store) {
		for n := range 10 {
			part := fmt.Sprintf(`{groups: [{name: g%d-%d}, {name: shared}], developers: [{email: d%d@example.org, groups: [g%d-%d]}],
				subscriptions: [{name: s%d, developer: d%d@example.org, all_apis: true, attributes: {n: "%d"}}]}`, i, n, i, i, n, i, i, n)
			if _, err := s.Apply(t.Context(), of(fmt.Sprint(i, ".yaml"), part)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	c, err := all[0].Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Groups) != 5 || len(c.Developers) != 4 || len(c.Subscriptions) != 4 {
		t.Errorf("%d groups, %d developers, %d subscriptions; want 5, 4, 4", len(c.Groups), len(c.Developers), len(c.Subscriptions))
	}
	ids := map[uint32]bool{}
	for _, sub := range subscriptions(t, all[1]) {
		ids[sub.ID] = true
		if sub.Revision != 10 || sub.Attributes["n"] != "9" {
			t.Errorf("%s: revision %d, attributes %v", sub.Name, sub.Revision, sub.Attributes)
		}
	}
	if len(ids) != 4 {
		t.Errorf("ids: %v", ids)
	}
	change, configured, err := all[2].Change(t.Context())
	if err != nil || change != 40 || configured != 40 {
		t.Errorf("change %d, configured %d, %v; want 40, 40", change, configured, err)
	}
}
