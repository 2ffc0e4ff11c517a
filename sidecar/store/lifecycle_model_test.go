package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

// model is what the subscriptions of one developer have to be: the life cycle once more, as
// the brief of an administrator would say it.
type model struct {
	store *store.Store
	clock *hand
	email string
	subs  map[string]*modelSub
	made  int
}

type modelSub struct {
	product string
	state   string // submitted, active, suspended, rejected or cancelled
	expires time.Time
	shown   bool
	// keys are those of a slot: the first lasts where it has no end.
	keys     map[wire.Slot][]modelKey
	revision uint32
}

type modelKey struct {
	clear string
	ends  time.Time // zero: it lasts
}

func (m *modelSub) expired(now time.Time) bool {
	return m.state == "active" && m.ended(now)
}

func (m *modelSub) ended(now time.Time) bool {
	return !m.expires.IsZero() && !now.Before(m.expires)
}

func (m *modelSub) counts(now time.Time) bool {
	return m.state != "rejected" && m.state != "cancelled" && !m.ended(now)
}

func (m *modelSub) approved() bool { return m.state == "active" || m.state == "suspended" }

func (m *modelSub) lasting(slot wire.Slot) bool {
	return slices.ContainsFunc(m.keys[slot], func(k modelKey) bool { return k.ends.IsZero() })
}

// room says whether the developer may have one more that counts: Starter allows one.
func (m *model) room(product string) bool {
	n := 0
	for _, sub := range m.subs {
		if sub.product == product && sub.counts(m.clock.Now()) {
			n++
		}
	}
	return product != "Starter" || n < 1
}

// any draws one of the subscriptions; nil where there is none.
func (m *model) any(t *rapid.T) (string, *modelSub) {
	if len(m.subs) == 0 {
		t.Skip("no subscription")
	}
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(m.subs))).Draw(t, "name")
	return name, m.subs[name]
}

// says compares a code, of a *StateError or such, with what has to come.
func says(t *rapid.T, err error, want string) {
	t.Helper()
	got := code(err)
	if errors.Is(err, store.ErrNotFound) {
		got = "not_found"
	}
	if got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

func (m *model) create(t *rapid.T) {
	product := rapid.SampledFrom([]string{"Starter", "Unlimited", "Hidden"}).Draw(t, "product")
	d := wants("", product)
	d.Developer = m.email
	sub := &modelSub{product: product, state: "active", keys: map[wire.Slot][]modelKey{}, revision: 1}
	if rapid.Bool().Draw(t, "ends") {
		sub.expires = m.clock.Now().Truncate(time.Second).Add(seconds(t))
		d.ExpiresAt = &sub.expires
	}
	if product == "Unlimited" {
		sub.state = "submitted"
	}
	want := ""
	switch {
	case product == "Hidden":
		want = "not_published"
	case !m.room(product):
		want = "subscriptions_limit"
	}
	got, err := m.store.CreateSubscription(t.Context(), d, someone)
	says(t, err, want)
	if err == nil {
		m.subs[got.Name] = sub
	}
}

func seconds(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds")) * time.Second
}

func (m *model) act(t *rapid.T) {
	name, sub := m.any(t)
	action := rapid.SampledFrom(store.Actions).Draw(t, "action")
	next := map[string]string{"submitted approve": "active", "submitted reject": "rejected", "submitted cancel": "cancelled", "active suspend": "suspended",
		"active cancel": "cancelled", "suspended resume": "active", "suspended cancel": "cancelled"}[sub.state+" "+string(action)]
	_, err := m.store.Act(t.Context(), name, action, "", someone)
	if next == "" {
		says(t, err, "state_conflict")
		return
	}
	says(t, err, "")
	sub.state = next
	sub.revision++
}

func (m *model) expire(t *rapid.T) {
	name, sub := m.any(t)
	change := store.SubscriptionChange{NoExpiry: rapid.Bool().Draw(t, "none")}
	after := *sub
	after.expires = time.Time{}
	if !change.NoExpiry {
		after.expires = m.clock.Now().Truncate(time.Second).Add(seconds(t))
		change.Expires = &after.expires
	}
	want := ""
	switch now := m.clock.Now(); {
	case sub.state == "rejected" || sub.state == "cancelled":
		want = "state_conflict"
	case sub.ended(now) && !m.room(sub.product):
		want = "subscriptions_limit"
	}
	_, err := m.store.ChangeSubscription(t.Context(), name, change, someone)
	says(t, err, want)
	if err == nil && !after.expires.Equal(sub.expires) {
		after.revision++
		*sub = after
	}
}

func (m *model) show(t *rapid.T) {
	name, sub := m.any(t)
	want := ""
	switch {
	case !sub.approved():
		want = "state_conflict"
	case sub.shown || sub.lasting(primary) && sub.lasting(secondary):
		want = "keys_shown"
	}
	issued, err := m.store.ShowKeys(t.Context(), name, someone)
	says(t, err, want)
	if err != nil {
		return
	}
	sub.shown = true
	sub.revision++
	for slot, key := range map[wire.Slot]string{primary: issued.Primary, secondary: issued.Secondary} {
		if sub.lasting(slot) == (key != "") {
			t.Fatalf("a key of %d characters for a slot that has one: %v", len(key), sub.lasting(slot))
		}
		if key != "" {
			sub.keys[slot] = append(sub.keys[slot], modelKey{clear: key})
		}
	}
}

func (m *model) regenerate(t *rapid.T) {
	name, sub := m.any(t)
	change := store.KeyChange{Slot: rapid.SampledFrom([]wire.Slot{primary, secondary}).Draw(t, "slot"),
		Grace: time.Duration(rapid.IntRange(0, 300).Draw(t, "grace")) * time.Second}
	if rapid.Bool().Draw(t, "chosen") {
		m.made++
		change.Value = fmt.Sprintf("chosen-%s-%025d", m.email, m.made)
	}
	now := m.clock.Now()
	var kept []modelKey
	for _, k := range sub.keys[change.Slot] {
		switch {
		case k.ends.IsZero() && change.Grace > 0:
			kept = append(kept, modelKey{k.clear, now.Add(change.Grace)})
		case !k.ends.IsZero() && now.Before(k.ends):
			kept = append(kept, k)
		}
	}
	want := ""
	switch {
	case !sub.approved():
		want = "state_conflict"
	case len(kept) > store.MaxRetiring:
		want = "keys_retiring"
	}
	key, err := m.store.RegenerateKey(t.Context(), name, change, someone)
	says(t, err, want)
	if err != nil {
		return
	}
	if change.Value != "" && key != change.Value {
		t.Fatal("another key than the one that was chosen")
	}
	sub.keys[change.Slot] = append(kept, modelKey{clear: key})
	sub.revision++
}

func (m *model) revoke(t *rapid.T) {
	name, sub := m.any(t)
	slot := rapid.SampledFrom([]wire.Slot{primary, secondary}).Draw(t, "slot")
	err := m.store.RevokeKey(t.Context(), name, slot, someone)
	if len(sub.keys[slot]) == 0 {
		says(t, err, "not_found")
		return
	}
	says(t, err, "")
	sub.keys[slot] = nil
	sub.revision++
}

func (m *model) drop(t *rapid.T) {
	want := 0
	for _, sub := range m.subs {
		for slot, keys := range sub.keys {
			left := slices.DeleteFunc(slices.Clone(keys), func(k modelKey) bool { return !k.ends.IsZero() && !m.clock.Now().Before(k.ends) })
			want += len(keys) - len(left)
			sub.keys[slot] = left
		}
	}
	if n, err := m.store.DropExpiredKeys(t.Context()); err != nil || n != want {
		t.Fatalf("dropped %d, %v, want %d", n, err, want)
	}
}

func (m *model) remove(t *rapid.T) {
	name, _ := m.any(t)
	if err := m.store.DeleteSubscription(t.Context(), name, someone); err != nil {
		t.Fatal(err)
	}
	delete(m.subs, name)
}

// seen is what can be seen of a subscription.
type seen struct {
	Product, State string
	Expires        int64
	Shown          bool
	Revision       uint32
	Keys           []store.Key // without sources and times
}

// check compares all of the developer's subscriptions with the model.
func (m *model) check(t *rapid.T) {
	now := m.clock.Now()
	want, got := map[string]seen{}, map[string]seen{}
	for name, sub := range m.subs {
		s := seen{Product: sub.product, State: sub.state, Shown: sub.shown, Revision: sub.revision}
		if sub.expired(now) {
			s.State = "expired"
		}
		if !sub.expires.IsZero() {
			s.Expires = sub.expires.Unix()
		}
		for slot, keys := range sub.keys {
			for _, k := range keys {
				key := store.Key{Slot: slot, Digest: apikey.Digest(k.clear)}
				if !k.ends.IsZero() {
					key.Expires = uint32(k.ends.Unix())
				}
				s.Keys = append(s.Keys, key)
			}
		}
		sortKeys(s.Keys)
		want[name] = s
	}
	listed, err := m.store.ListSubscriptions(t.Context(), store.SubscriptionQuery{Developer: m.email})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range listed {
		s := seen{Product: sub.Scope.Name, State: store.StateName(sub.StateAt(now)), Expires: int64(sub.Expires), Shown: sub.Shown, Revision: sub.Revision}
		for _, k := range sub.Keys {
			s.Keys = append(s.Keys, store.Key{Slot: k.Slot, Digest: k.Digest, Expires: k.Expires})
		}
		sortKeys(s.Keys)
		got[sub.Name] = s
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("subscriptions (-want +got):\n%s", diff)
	}
}

func sortKeys(keys []store.Key) {
	slices.SortFunc(keys, func(a, b store.Key) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Expires, b.Expires), slices.Compare(a.Digest[:], b.Digest[:]))
	})
}

func TestTheLifeCycleIsThatOfTheModel(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
		run := 0
		rapid.Check(t, func(t *rapid.T) {
			run++
			m := &model{store: s, clock: clock, email: fmt.Sprintf("d%d@example.org", run), subs: map[string]*modelSub{}}
			if _, err := s.Create(t.Context(), store.KindDeveloper, fmt.Appendf(nil, `{"email":%q}`, m.email), someone); err != nil {
				t.Fatal(err)
			}
			// What earlier runs left behind is not this one's to drop.
			clock.pass(time.Hour)
			if _, err := s.DropExpiredKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Repeat(map[string]func(*rapid.T){
				"":           m.check,
				"create":     m.create,
				"act":        m.act,
				"act again":  m.act,
				"expire":     m.expire,
				"show":       m.show,
				"regenerate": m.regenerate,
				"revoke":     m.revoke,
				"drop":       m.drop,
				"remove":     m.remove,
				"pass":       func(t *rapid.T) { clock.pass(seconds(t)) },
			})
		})
	})
}
