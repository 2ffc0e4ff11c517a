package store_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

const primary, secondary = wire.SlotPrimary, wire.SlotSecondary

func regenerate(t testing.TB, s *store.Store, name string, change store.KeyChange) string {
	t.Helper()
	key, err := s.RegenerateKey(t.Context(), name, change, someone)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyring says which keys a subscription has, and until when: "primary one, primary old
// 1h0m0s". names are the names of known keys.
func keyring(sub store.Subscription, names map[string]string, now time.Time) string {
	var all []string
	for _, k := range sub.Keys {
		text := "primary"
		if k.Slot == secondary {
			text = "secondary"
		}
		name := "?"
		for key, n := range names {
			if apikey.Digest(key) == k.Digest {
				name = n
			}
		}
		text += " " + name
		if k.Expires != 0 {
			text += " " + time.Unix(int64(k.Expires), 0).Sub(now).String()
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func TestKeysAreShownOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		stocked(t, s)
		subscribe(t, s, wants("a", "Unlimited"))
		if _, err := s.ShowKeys(t.Context(), "a", someone); code(err) != "state_conflict" || !strings.Contains(err.Error(), "is submitted and cannot be given keys: it can be approved") {
			t.Errorf("before approval: %v", err)
		}
		act(t, s, "a", store.Approve)
		if _, err := s.ShowKeys(t.Context(), "a", store.Write{Match: 1}); !errors.Is(err, store.ErrMoved) {
			t.Errorf("another revision: %v", err)
		}
		issued, err := s.ShowKeys(t.Context(), "a", someone)
		if err != nil {
			t.Fatal(err)
		}
		if !apikey.WellFormed(issued.Primary) || !apikey.WellFormed(issued.Secondary) || issued.Primary == issued.Secondary {
			t.Errorf("keys %q and %q", issued.Primary, issued.Secondary)
		}
		want := []store.Key{{Slot: primary, Digest: apikey.Digest(issued.Primary), Created: noon}, {Slot: secondary, Digest: apikey.Digest(issued.Secondary), Created: noon}}
		got := found(t, s, "a")
		if diff := cmp.Diff(want, got.Keys); diff != "" || !got.Shown || got.Revision != 3 {
			t.Errorf("shown %v, revision %d, keys (-want +got):\n%s", got.Shown, got.Revision, diff)
		}
		refused := func(when string) {
			t.Helper()
			if issued, err := s.ShowKeys(t.Context(), "a", someone); code(err) != "keys_shown" || issued != (store.Issued{}) {
				t.Errorf("%s: %v", when, err)
			}
		}
		refused("again")
		if err := s.RevokeKey(t.Context(), "a", primary, someone); err != nil {
			t.Fatal(err)
		}
		refused("with an empty slot")
		entries := audited(t, db, audit.Query{Action: "key.show_once"})
		base := `{"name":"a","developer":"ada@example.org","product":"Unlimited","state":"active"}`
		entry := audit.Entry{Time: noon, Actor: someone.Actor, Origin: "socket", Action: "key.show_once", Kind: "subscription", Name: "a", Before: base,
			After: strings.TrimSuffix(base, "}") + `,"primary_key":true,"secondary_key":true,"changed_keys":["primary","secondary"]}`}
		if diff := cmp.Diff([]audit.Entry{entry}, entries); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
}

func TestShowingKeysReplacesNone(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		subscribe(t, s, wants("a", "Starter"))
		key := regenerate(t, s, "a", store.KeyChange{Slot: secondary})
		issued, err := s.ShowKeys(t.Context(), "a", someone)
		if err != nil || issued.Primary == "" || issued.Secondary != "" {
			t.Fatalf("issued %d and %d characters, %v", len(issued.Primary), len(issued.Secondary), err)
		}
		if got := keyring(found(t, s, "a"), map[string]string{key: "old", issued.Primary: "new"}, noon); got != "primary new, secondary old" {
			t.Errorf("keys: %s", got)
		}
		subscribe(t, s, wants("b", "Unlimited"))
		act(t, s, "b", store.Approve)
		regenerate(t, s, "b", store.KeyChange{Slot: primary})
		regenerate(t, s, "b", store.KeyChange{Slot: secondary})
		if _, err := s.ShowKeys(t.Context(), "b", someone); code(err) != "keys_shown" {
			t.Errorf("both slots have keys: %v", err)
		}
	})
}

// Keys can be had from approval on until the end, whether or not they work meanwhile.
func TestKeysAndStates(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
		for state, tc := range map[string]struct {
			path    []store.Action
			expired bool
			want    string
		}{
			"submitted": {nil, false, "state_conflict"},
			"active":    {[]store.Action{store.Approve}, false, ""},
			"expired":   {[]store.Action{store.Approve}, true, ""},
			"suspended": {[]store.Action{store.Approve, store.Suspend}, false, ""},
			"rejected":  {[]store.Action{store.Reject}, false, "state_conflict"},
			"cancelled": {[]store.Action{store.Approve, store.Cancel}, false, "state_conflict"},
		} {
			d := wants(state, "Unlimited")
			end := clock.Now().Add(time.Hour)
			if tc.expired {
				d.ExpiresAt = &end
			}
			subscribe(t, s, d)
			act(t, s, state, tc.path...)
			clock.pass(2 * time.Hour)
			if _, err := s.ShowKeys(t.Context(), state, someone); code(err) != tc.want {
				t.Errorf("%s: showing: %v", state, err)
			}
			if _, err := s.RegenerateKey(t.Context(), state, store.KeyChange{Slot: primary}, someone); code(err) != tc.want {
				t.Errorf("%s: regenerating: %v", state, err)
			}
		}
		// A key can be revoked whatever the state.
		act(t, s, "suspended", store.Cancel)
		if err := s.RevokeKey(t.Context(), "suspended", primary, someone); err != nil {
			t.Error(err)
		}
	})
}

func TestAKeyIsReplacedAtOnceOrWithAGrace(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon.Add(400 * time.Millisecond))
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		stocked(t, s)
		subscribe(t, s, wants("a", "Starter"))
		issued, err := s.ShowKeys(t.Context(), "a", someone)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]string{issued.Primary: "p0", issued.Secondary: "s0"}
		are := func(want string) {
			t.Helper()
			if got := keyring(found(t, s, "a"), names, noon); got != want {
				t.Errorf("keys: %s\nwant: %s", got, want)
			}
		}
		replace := func(slot wire.Slot, grace time.Duration, name string) {
			t.Helper()
			names[regenerate(t, s, "a", store.KeyChange{Slot: slot, Grace: grace})] = name
		}
		replace(primary, 0, "p1")
		are("primary p1, secondary s0")
		replace(primary, time.Hour, "p2") // never a part of a second too early
		are("primary p2, primary p1 1h0m1s, secondary s0")
		replace(primary, time.Minute, "p3")
		are("primary p3, primary p2 1m1s, primary p1 1h0m1s, secondary s0")
		replace(secondary, 30*24*time.Hour, "s1")
		are("primary p3, primary p2 1m1s, primary p1 1h0m1s, secondary s1, secondary s0 720h0m1s")
		replace(primary, 0, "p4") // ends p3, and leaves the others their time
		are("primary p4, primary p2 1m1s, primary p1 1h0m1s, secondary s1, secondary s0 720h0m1s")
		clock.pass(2 * time.Minute)
		replace(primary, 0, "p5") // tidies up what has ended
		are("primary p5, primary p1 1h0m1s, secondary s1, secondary s0 720h0m1s")
		if err := s.RevokeKey(t.Context(), "a", primary, someone); err != nil {
			t.Fatal(err)
		}
		are("secondary s1, secondary s0 720h0m1s")
		if err := s.RevokeKey(t.Context(), "a", primary, someone); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revoking twice: %v", err)
		}
		replace(primary, time.Hour, "p6")
		are("primary p6, secondary s1, secondary s0 720h0m1s")
		revoked := audited(t, db, audit.Query{Action: "key.revoke"})
		if len(revoked) != 1 || !strings.Contains(revoked[0].Before, `"primary_key":true,"secondary_key":true`) ||
			!strings.Contains(revoked[0].After, `"secondary_key":true,"changed_keys":["primary"]`) {
			t.Errorf("audit of revoking: %+v", revoked)
		}
		if n := len(audited(t, db, audit.Query{Action: "key.regenerate"})); n != 7 {
			t.Errorf("%d regenerated, as audited, want 7", n)
		}
	})
}

func TestKeysOnTheirWayOutAreBounded(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
		subscribe(t, s, wants("a", "Starter"))
		for range store.MaxRetiring + 1 {
			regenerate(t, s, "a", store.KeyChange{Slot: primary, Grace: time.Hour})
		}
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary, Grace: time.Hour}, someone); code(err) != "keys_retiring" {
			t.Errorf("one more: %v", err)
		}
		regenerate(t, s, "a", store.KeyChange{Slot: secondary, Grace: time.Hour})
		regenerate(t, s, "a", store.KeyChange{Slot: primary})
		if got := len(found(t, s, "a").Keys); got != store.MaxRetiring+2 {
			t.Errorf("%d keys", got)
		}
		clock.pass(time.Hour)
		regenerate(t, s, "a", store.KeyChange{Slot: primary, Grace: time.Hour})
	})
}

func TestChosenKeys(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		subscribe(t, s, wants("a", "Starter"))
		subscribe(t, s, wants("b", "Unlimited"))
		act(t, s, "b", store.Approve)
		chosen := anyKey[:31] + "~"
		longest := strings.Repeat(anyKey, 8)
		if got := regenerate(t, s, "a", store.KeyChange{Slot: primary, Value: chosen}); got != chosen {
			t.Errorf("got %q", got)
		}
		regenerate(t, s, "a", store.KeyChange{Slot: secondary, Value: longest})
		names := map[string]string{chosen: "chosen", longest: "longest"}
		for name, tc := range map[string]struct {
			of     string
			change store.KeyChange
			field  string
		}{
			"short":         {"a", store.KeyChange{Slot: primary, Value: chosen[1:]}, "value"},
			"long":          {"a", store.KeyChange{Slot: primary, Value: longest + "!"}, "value"},
			"monotonous":    {"a", store.KeyChange{Slot: primary, Value: strings.Repeat("123456789", 5)}, "value"},
			"a blank":       {"a", store.KeyChange{Slot: primary, Value: chosen + " x"}, "value"},
			"a line break":  {"a", store.KeyChange{Slot: primary, Value: chosen + "\n"}, "value"},
			"not ASCII":     {"a", store.KeyChange{Slot: primary, Value: chosen + "é"}, "value"},
			"the same":      {"a", store.KeyChange{Slot: primary, Value: chosen}, "value"},
			"with a grace":  {"a", store.KeyChange{Slot: primary, Value: chosen, Grace: time.Hour}, "value"},
			"the other's":   {"a", store.KeyChange{Slot: secondary, Value: chosen}, "value"},
			"another's":     {"b", store.KeyChange{Slot: primary, Value: longest}, "value"},
			"no slot":       {"a", store.KeyChange{}, "slot"},
			"another slot":  {"a", store.KeyChange{Slot: 3}, "slot"},
			"a long grace":  {"a", store.KeyChange{Slot: primary, Grace: store.MaxGrace + 1}, "grace"},
			"a grace below": {"a", store.KeyChange{Slot: primary, Grace: -1}, "grace"},
		} {
			key, err := s.RegenerateKey(t.Context(), tc.of, tc.change, someone)
			if field(err) != tc.field || key != "" {
				t.Errorf("%s: %v", name, err)
			}
			if v := tc.change.Value; v != "" && strings.Contains(err.Error(), v) {
				t.Errorf("%s: the error repeats the key", name)
			}
		}
		if err := s.RevokeKey(t.Context(), "a", 3, someone); field(err) != "slot" {
			t.Errorf("revoking another slot: %v", err)
		}
		if got := keyring(found(t, s, "a"), names, noon); got != "primary chosen, secondary longest" {
			t.Errorf("keys: %s", got)
		}
		for _, name := range []string{"nobody", "99"} {
			if _, err := s.RegenerateKey(t.Context(), name, store.KeyChange{Slot: primary}, someone); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary}, store.Write{Match: 1}); !errors.Is(err, store.ErrMoved) {
			t.Errorf("another revision: %v", err)
		}
		if err := s.RevokeKey(t.Context(), "a", primary, store.Write{Match: 1}); !errors.Is(err, store.ErrMoved) {
			t.Errorf("revoking at another revision: %v", err)
		}
	})
}

// A file that gives a subscription, but not this slot's key, leaves the key to the API.
func TestWhoseKeysThoseOfAFileAre(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		file := store.Write{Actor: "file:a.yaml", Source: store.FileSource("a.yaml")}
		if _, err := s.CreateSubscription(t.Context(), wants("a", "Starter"), file); err != nil {
			t.Fatal(err)
		}
		of := anyKey
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary, Value: of}, file); err != nil {
			t.Fatal(err)
		}
		var managed *store.ManagedError
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary}, someone); !errors.As(err, &managed) || managed.Kind != "key" || managed.Source != "file:a.yaml" {
			t.Errorf("regenerating the file's key: %v", err)
		}
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary, Grace: time.Hour}, someone); !errors.As(err, &managed) {
			t.Errorf("with a grace: %v", err)
		}
		if err := s.RevokeKey(t.Context(), "a", primary, someone); !errors.As(err, &managed) {
			t.Errorf("revoking the file's key: %v", err)
		}
		issued, err := s.ShowKeys(t.Context(), "a", someone)
		if err != nil || issued.Primary != "" || issued.Secondary == "" {
			t.Errorf("showing: %v", err)
		}
		second := regenerate(t, s, "a", store.KeyChange{Slot: secondary})
		got := found(t, s, "a")
		if got.Source != "file:a.yaml" || got.Keys[0].Source != "file:a.yaml" || got.Keys[1].Source != "" {
			t.Errorf("sources: %q, %q, %q", got.Source, got.Keys[0].Source, got.Keys[1].Source)
		}
		if keys := keyring(got, map[string]string{of: "file's", second: "second"}, noon); keys != "primary file's, secondary second" {
			t.Errorf("keys: %s", keys)
		}
		over := someone
		over.TakeOver = true
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary}, over); err != nil {
			t.Error(err)
		}
		if got := found(t, s, "a"); got.Source != "file:a.yaml" || got.Keys[0].Source != "" {
			t.Errorf("sources after taking the key over: %q, %q", got.Source, got.Keys[0].Source)
		}
	})
}

func TestEndedKeysAreDropped(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		var changes int
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now, OnChange: func() { changes++ }})
		stocked(t, s)
		for _, name := range []string{"a", "b", "c"} {
			subscribe(t, s, wants(name, "Unlimited"))
			act(t, s, name, store.Approve)
			regenerate(t, s, name, store.KeyChange{Slot: primary})
		}
		regenerate(t, s, "a", store.KeyChange{Slot: primary, Grace: time.Hour})
		regenerate(t, s, "a", store.KeyChange{Slot: primary, Grace: 2 * time.Hour})
		regenerate(t, s, "b", store.KeyChange{Slot: primary, Grace: time.Hour})
		changes = 0
		was, _, err := s.Change(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entries := len(audited(t, db, audit.Query{Limit: 1000}))
		before := map[string]store.Subscription{"a": found(t, s, "a"), "b": found(t, s, "b"), "c": found(t, s, "c")}
		for _, step := range []struct {
			pass          time.Duration
			dropped, left int // left: keys of all
			changed       string
		}{{time.Hour - time.Second, 0, 6, ""}, {time.Second, 2, 4, "a b"}, {0, 0, 4, ""}, {time.Hour, 1, 3, "a"}, {1000 * time.Hour, 0, 3, ""}} {
			clock.pass(step.pass)
			if n, err := s.DropExpiredKeys(t.Context()); err != nil || n != step.dropped {
				t.Errorf("dropped %d, %v, want %d", n, err, step.dropped)
			}
			var changed []string
			if was, err = s.Changed(t.Context(), was, func(sub store.Subscription, removed bool) error {
				changed = append(changed, sub.Name)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(changed, " "); got != step.changed {
				t.Errorf("changed: %q, want %q", got, step.changed)
			}
			left := 0
			for name, old := range before {
				now := found(t, s, name)
				left += len(now.Keys)
				old.Keys = now.Keys
				if diff := cmp.Diff(old, now); diff != "" {
					t.Errorf("%s changed besides its keys:\n%s", name, diff)
				}
			}
			if left != step.left {
				t.Errorf("%d keys left, want %d", left, step.left)
			}
		}
		if n := len(audited(t, db, audit.Query{Limit: 1000})); n != entries || changes != 2 {
			t.Errorf("%d new audit entries, told of %d changes, want 0 and 2", n-entries, changes)
		}
	})
}

func TestKeysAreShownOnceUnderConcurrency(t *testing.T) {
	all := slices.Repeat(sidecars(t, 4, store.Options{}), 2)
	stocked(t, all[0])
	for i := range 5 {
		name := fmt.Sprintf("a%d", i)
		subscribe(t, all[0], wants(name, "Unlimited"))
		act(t, all[0], name, store.Approve)
		issued := make([]store.Issued, len(all))
		together(all, func(i int, s *store.Store) {
			var err error
			if issued[i], err = s.ShowKeys(t.Context(), name, someone); err != nil && code(err) != "keys_shown" {
				t.Error(err)
			}
		})
		got := slices.DeleteFunc(issued, func(i store.Issued) bool { return i == store.Issued{} })
		if len(got) != 1 {
			t.Fatalf("%d got keys", len(got))
		}
		if keys := keyring(found(t, all[0], name), map[string]string{got[0].Primary: "p", got[0].Secondary: "s"}, noon); keys != "primary p, secondary s" {
			t.Errorf("keys: %s", keys)
		}
	}
}

// Whoever regenerates last has the key that works; the others' are on their way out, in
// order, and each is known.
func TestKeysAreRegeneratedUnderConcurrency(t *testing.T) {
	all := slices.Repeat(sidecars(t, 4, store.Options{}), 2)
	stocked(t, all[0])
	for _, tc := range []struct {
		name  string
		grace time.Duration
		want  int
	}{{"at once", 0, 1}, {"with a grace", time.Hour, len(all)}} {
		subscribe(t, all[0], wants(tc.name, "Unlimited"))
		act(t, all[0], tc.name, store.Approve)
		var mu sync.Mutex
		made := map[string]string{}
		together(all, func(i int, s *store.Store) {
			key, err := s.RegenerateKey(t.Context(), tc.name, store.KeyChange{Slot: primary, Grace: tc.grace}, someone)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			made[key] = fmt.Sprint("key", i)
		})
		sub := found(t, all[0], tc.name)
		keys := keyring(sub, made, noon)
		if len(made) != len(all) || len(sub.Keys) != tc.want || strings.Contains(keys, "?") || sub.Keys[0].Expires != 0 {
			t.Errorf("%s: %d made; keys: %s", tc.name, len(made), keys)
		}
	}
}

// One chosen value, for several subscriptions at once, becomes the key of one.
func TestAChosenKeyIsGivenOnce(t *testing.T) {
	all := sidecars(t, 4, store.Options{})
	stocked(t, all[0])
	for i := range all {
		subscribe(t, all[0], wants(fmt.Sprint("a", i), "Unlimited"))
		act(t, all[0], fmt.Sprint("a", i), store.Approve)
	}
	won := make([]bool, len(all))
	together(all, func(i int, s *store.Store) {
		_, err := s.RegenerateKey(t.Context(), fmt.Sprint("a", i), store.KeyChange{Slot: primary, Value: anyKey}, someone)
		if won[i] = err == nil; !won[i] && field(err) != "value" {
			t.Error(err)
		}
	})
	if n := len(slices.DeleteFunc(won, func(w bool) bool { return !w })); n != 1 {
		t.Errorf("%d have the key", n)
	}
}

func TestNoMadeKeyInAnyFile(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		s, db := withAudit(t, at, store.Options{})
		stocked(t, s)
		subscribe(t, s, wants("a", "Starter"))
		issued, err := s.ShowKeys(t.Context(), "a", someone)
		if err != nil {
			t.Fatal(err)
		}
		chosen := "chosen-by-a-person-and-long-enough"
		made := []string{issued.Primary, issued.Secondary, regenerate(t, s, "a", store.KeyChange{Slot: primary, Grace: time.Hour}),
			regenerate(t, s, "a", store.KeyChange{Slot: secondary, Value: chosen, Grace: time.Hour})}
		_, _ = s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: primary, Value: chosen}, someone) // refused
		held, texts := content(t, at), fmt.Sprint(audited(t, db, audit.Query{}))
		for _, key := range made {
			if bytes.Contains(held, []byte(key)) || bytes.Contains(held, []byte(key[3:33])) {
				t.Error("the database contains a key in clear")
			}
			digest := apikey.Digest(key)
			if !bytes.Contains(held, digest[:]) { // or this test looks at the wrong bytes
				t.Error("it does not contain the key's digest")
			}
			if strings.Contains(texts, hex.EncodeToString(digest[:8])) || strings.Contains(texts, base64.StdEncoding.EncodeToString(digest[:9])) {
				t.Error("the audit contains the key's digest")
			}
		}
	})
}
