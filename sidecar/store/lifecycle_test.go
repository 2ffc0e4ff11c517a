package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

// stocked gives a store an API, three products and two developers: Starter allows one
// subscription, Unlimited wants approval, and Hidden is not published.
func stocked(t testing.TB, s *store.Store) *store.Store {
	t.Helper()
	for _, o := range []struct {
		kind store.Kind
		spec string
	}{
		{store.KindAPI, `{"name":"Demo","suffix":"demo","backend":{"url":"https://demo.example.com"},"operations":[{"name":"Score","method":"POST","template":"/score"}]}`},
		{store.KindProduct, `{"name":"Starter","apis":["Demo"],"subscriptions_limit":1}`},
		{store.KindProduct, `{"name":"Unlimited","apis":["Demo"],"approval_required":true}`},
		{store.KindProduct, `{"name":"Hidden","apis":["Demo"],"published":false}`},
		{store.KindDeveloper, `{"email":"ada@example.org","name":"Ada","groups":["Developers"]}`},
		{store.KindDeveloper, `{"email":"bob.b+x@example.org"}`},
	} {
		if _, err := s.Create(t.Context(), o.kind, []byte(o.spec), someone); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// wants is a subscription of Ada's to a product.
func wants(name, product string) catalog.Subscription {
	return catalog.Subscription{Name: name, Developer: "ada@example.org", Product: product}
}

func subscribe(t testing.TB, s *store.Store, d catalog.Subscription) store.Subscription {
	t.Helper()
	sub, err := s.CreateSubscription(t.Context(), d, someone)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func act(t testing.TB, s *store.Store, name string, actions ...store.Action) store.Subscription {
	t.Helper()
	var sub store.Subscription
	for _, action := range actions {
		var err error
		if sub, err = s.Act(t.Context(), name, action, "", someone); err != nil {
			t.Fatal(err)
		}
	}
	return sub
}

func found(t testing.TB, s *store.Store, name string) store.Subscription {
	t.Helper()
	sub, err := s.FindSubscription(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// field is the field of the only mistake of an *InvalidError, or the error's text.
func field(err error) string {
	var wrong *store.InvalidError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &wrong) && len(wrong.Mistakes) == 1:
		return wrong.Mistakes[0].Field
	}
	return err.Error()
}

func TestLifeCycle(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
		// Each state: how it is reached, which acts it allows, and what it says to others.
		for state, tc := range map[string]struct {
			path  []store.Action
			acts  map[store.Action]wire.State
			says  string
			after time.Duration
		}{
			"submitted": {nil, map[store.Action]wire.State{store.Approve: wire.StateActive, store.Reject: wire.StateRejected, store.Cancel: wire.StateCancelled},
				"is submitted and cannot be %s: it can be approved, rejected or cancelled", 0},
			"active": {[]store.Action{store.Approve}, map[store.Action]wire.State{store.Suspend: wire.StateSuspended, store.Cancel: wire.StateCancelled},
				"is active and cannot be %s: it can be suspended or cancelled", 0},
			"suspended": {[]store.Action{store.Approve, store.Suspend}, map[store.Action]wire.State{store.Resume: wire.StateActive, store.Cancel: wire.StateCancelled},
				"is suspended and cannot be %s: it can be resumed or cancelled", 0},
			"rejected":  {[]store.Action{store.Reject}, nil, "is rejected and cannot be %s: that is final", 0},
			"cancelled": {[]store.Action{store.Approve, store.Cancel}, nil, "is cancelled and cannot be %s: that is final", 0},
			"expired": {[]store.Action{store.Approve}, map[store.Action]wire.State{store.Suspend: wire.StateSuspended, store.Cancel: wire.StateCancelled},
				"is expired and cannot be %s: it can be suspended or cancelled, or get a later expiry", time.Hour},
		} {
			for i, action := range store.Actions {
				name := fmt.Sprintf("%s-%s", state, action)
				end := clock.Now().Add(time.Hour)
				d := wants(name, "Unlimited")
				d.ExpiresAt = &end
				sub := subscribe(t, s, d)
				if len(tc.path) > 0 {
					sub = act(t, s, name, tc.path...)
				}
				clock.pass(tc.after)
				if got := store.StateName(sub.StateAt(clock.Now())); got != state {
					t.Fatalf("%s is %s", name, got)
				}
				got, err := s.Act(t.Context(), name, action, "because", someone)
				want, allowed := tc.acts[action]
				if !allowed {
					done := []string{"approved", "rejected", "suspended", "resumed", "cancelled"}[i]
					if code(err) != "state_conflict" || !strings.Contains(err.Error(), fmt.Sprintf(`subscription %q `+tc.says, name, done)) {
						t.Errorf("%s: %v", name, err)
					}
					if diff := cmp.Diff(sub, found(t, s, name)); diff != "" {
						t.Errorf("%s: what was refused changed (-before +after):\n%s", name, diff)
					}
					continue
				}
				sub.State, sub.Revision, sub.Note, sub.Updated = want, sub.Revision+1, "because", clock.Now()
				if diff := cmp.Diff(sub, got); diff != "" || err != nil {
					t.Errorf("%s (-want +got): %v\n%s", name, err, diff)
				}
				if diff := cmp.Diff(sub, found(t, s, name)); diff != "" {
					t.Errorf("%s, read (-want +got):\n%s", name, diff)
				}
			}
		}
	})
}

func TestActsAreAudited(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		stocked(t, s)
		subscribe(t, s, wants("a", "Unlimited"))
		act(t, s, "a", store.Approve)
		clock.pass(time.Minute)
		if _, err := s.Act(t.Context(), "1", store.Cancel, "moved away", store.Write{Actor: "token:ci", Origin: "192.0.2.7"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Act(t.Context(), "a", store.Cancel, "", someone); err == nil {
			t.Fatal("cancelled twice")
		}
		submitted := `{"name":"a","developer":"ada@example.org","product":"Unlimited","state":"submitted"}`
		active, cancelled := strings.Replace(submitted, "submitted", "active", 1), strings.Replace(submitted, `submitted"`, `cancelled","note":"moved away"`, 1)
		entry := audit.Entry{Time: noon, Actor: someone.Actor, Origin: "socket", Kind: "subscription", Name: "a"}
		create, approve, cancel := entry, entry, entry
		create.Action, create.After = "subscription.create", submitted
		approve.Action, approve.Before, approve.After = "subscription.approve", submitted, active
		cancel.Action, cancel.Before, cancel.After = "subscription.cancel", active, cancelled
		cancel.Time, cancel.Actor, cancel.Origin = noon.Add(time.Minute), "token:ci", "192.0.2.7"
		if diff := cmp.Diff([]audit.Entry{create, approve, cancel}, audited(t, db, audit.Query{Kind: "subscription"})); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
}

func TestWrongActs(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		sub := subscribe(t, s, wants("a", "Unlimited"))
		do := func(name string, action store.Action, note string, w store.Write) error {
			_, err := s.Act(t.Context(), name, action, note, w)
			return err
		}
		if err := do("nobody", store.Approve, "", someone); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("nobody's: %v", err)
		}
		if err := do("a", "delete", "", someone); field(err) != "action" {
			t.Errorf("unknown act: %v", err)
		}
		for _, note := range []string{strings.Repeat("n", 1025), "a\x00", "a\x1b[31m", "a\xff"} {
			if err := do("a", store.Approve, note, someone); field(err) != "note" {
				t.Errorf("note %q: %v", note, err)
			}
		}
		if err := do("a", store.Approve, "", store.Write{Match: 7}); !errors.Is(err, store.ErrMoved) {
			t.Errorf("another revision: %v", err)
		}
		if diff := cmp.Diff(sub, found(t, s, "a")); diff != "" {
			t.Errorf("it changed (-before +after):\n%s", diff)
		}
		if err := do("a", store.Approve, strings.Repeat("é", 1024)+"", store.Write{Match: 1}); err != nil {
			t.Error(err)
		}
		if err := do("1", store.Suspend, "two\nlines\tof it", store.Write{Match: 2}); err != nil {
			t.Error(err)
		}
	})
}

func TestExpiryIsChangedAndRevives(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		stocked(t, s)
		subscribe(t, s, wants("a", "Starter"))
		change := func(c store.SubscriptionChange) (store.Subscription, error) {
			return s.ChangeSubscription(t.Context(), "a", c, someone)
		}
		in := func(d time.Duration) *time.Time { at := clock.Now().Add(d); return &at }
		sub, err := change(store.SubscriptionChange{Expires: in(time.Hour)})
		if err != nil || int64(sub.Expires) != noon.Add(time.Hour).Unix() || sub.Revision != 2 || sub.State != wire.StateActive {
			t.Fatalf("expiry set: %+v, %v", sub, err)
		}
		for name, tc := range map[string]store.SubscriptionChange{
			"now": {Expires: in(0)}, "the past": {Expires: in(-time.Hour)}, "before 1970": {Expires: in(-100 * 365 * 24 * time.Hour)},
			"after 2106": {Expires: in(100 * 365 * 24 * time.Hour)}, "parts of seconds": {Expires: in(time.Hour + time.Millisecond)},
			"both": {Expires: in(time.Hour), NoExpiry: true},
		} {
			if _, err := change(tc); field(err) != "expires_at" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if again, err := change(store.SubscriptionChange{Expires: in(time.Hour)}); err != nil || again.Revision != 2 {
			t.Errorf("the same: revision %d, %v", again.Revision, err)
		}
		clock.pass(time.Hour - time.Second)
		if got := found(t, s, "a"); got.StateAt(clock.Now()) != wire.StateActive {
			t.Error("it expired a second early")
		}
		clock.pass(time.Second)
		if got := found(t, s, "a"); got.StateAt(clock.Now()) != wire.StateExpired || got.State != wire.StateActive {
			t.Error("it did not expire")
		}
		// What was read can be sent back, though it has passed.
		if sub, err = change(store.SubscriptionChange{Expires: in(0), Attributes: map[string]string{"a": "b"}}); err != nil || sub.Revision != 3 {
			t.Errorf("an attribute of an expired one: %+v, %v", sub, err)
		}
		if sub, err = change(store.SubscriptionChange{Expires: in(time.Minute)}); err != nil || sub.StateAt(clock.Now()) != wire.StateActive {
			t.Errorf("a later expiry: %+v, %v", sub, err)
		}
		if sub, err = change(store.SubscriptionChange{NoExpiry: true}); err != nil || sub.Expires != 0 {
			t.Errorf("no expiry: %+v, %v", sub, err)
		}
		if n := len(audited(t, db, audit.Query{Action: "subscription.update"})); n != 4 {
			t.Errorf("%d changes audited, want 4", n)
		}
		// An expired one makes room, and cannot come back where the room is taken.
		if _, err := change(store.SubscriptionChange{Expires: in(time.Second)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateSubscription(t.Context(), wants("b", "Starter"), someone); code(err) != "subscriptions_limit" {
			t.Errorf("a second one: %v", err)
		}
		clock.pass(time.Second)
		subscribe(t, s, wants("b", "Starter"))
		if _, err := change(store.SubscriptionChange{NoExpiry: true}); code(err) != "subscriptions_limit" {
			t.Errorf("reviving beside another: %v", err)
		}
		act(t, s, "a", store.Cancel)
		for _, c := range []store.SubscriptionChange{{NoExpiry: true}, {Attributes: map[string]string{"x": "y"}}, {}} {
			if _, err := change(c); code(err) != "state_conflict" {
				t.Errorf("changing a cancelled one: %v", err)
			}
		}
	})
}

func TestAttributesAreReplaced(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		d := wants("a", "Starter")
		d.Attributes = map[string]string{"tier": "gold", "seats": "5"}
		subscribe(t, s, d)
		for _, step := range []struct {
			change, want map[string]string
			revision     uint32
		}{
			{nil, map[string]string{"tier": "gold", "seats": "5"}, 1},
			{map[string]string{"tier": "silver\nand more"}, map[string]string{"tier": "silver\nand more"}, 2},
			{map[string]string{}, map[string]string{}, 3},
			{map[string]string{}, map[string]string{}, 3},
		} {
			if _, err := s.ChangeSubscription(t.Context(), "a", store.SubscriptionChange{Attributes: step.change}, someone); err != nil {
				t.Fatal(err)
			}
			got := found(t, s, "a")
			if diff := cmp.Diff(step.want, got.Attributes); diff != "" || got.Revision != step.revision {
				t.Errorf("revision %d, want %d, attributes (-want +got):\n%s", got.Revision, step.revision, diff)
			}
		}
		for name, attributes := range map[string]map[string]string{
			"no name": {"": "x"}, "long name": {strings.Repeat("n", 129): "x"}, "long value": {"x": strings.Repeat("v", 1025)}, "control": {"x": "a\x00"},
			"delete": {"x": "\x7f"}, "invisible": {"a\u200bb": "x"}, "bytes": {"x": "\xff"},
		} {
			_, err := s.ChangeSubscription(t.Context(), "a", store.SubscriptionChange{Attributes: attributes}, someone)
			if !strings.HasPrefix(field(err), "attributes") {
				t.Errorf("%s: field %q", name, field(err))
			}
		}
	})
}

func TestADeletedSubscriptionIsGone(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s, db := withAudit(t, source(t), store.Options{})
		stocked(t, s)
		subscribe(t, s, wants("a", "Starter"))
		issued, err := s.ShowKeys(t.Context(), "a", someone)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteSubscription(t.Context(), "a", store.Write{Match: 1}); !errors.Is(err, store.ErrMoved) {
			t.Errorf("another revision: %v", err)
		}
		if err := s.DeleteSubscription(t.Context(), "a", someone); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteSubscription(t.Context(), "a", someone); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("twice: %v", err)
		}
		for _, name := range []string{"a", "1"} {
			if _, err := s.FindSubscription(t.Context(), name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if subs, err := s.ListSubscriptions(t.Context(), store.SubscriptionQuery{}); err != nil || len(subs) != 0 {
			t.Errorf("listed: %v, %v", subs, err)
		}
		again := subscribe(t, s, wants("a", "Starter"))
		if again.ID != 2 || len(again.Keys) != 0 || again.Shown {
			t.Errorf("another one of the name: %+v", again)
		}
		// Its keys are given to nobody again.
		if _, err := s.RegenerateKey(t.Context(), "a", store.KeyChange{Slot: wire.SlotPrimary, Value: issued.Primary}, someone); field(err) != "value" {
			t.Errorf("a key of what was deleted: %v", err)
		}
		if n := len(audited(t, db, audit.Query{Action: "subscription.delete", Name: "a"})); n != 1 {
			t.Errorf("%d deletions audited, want 1", n)
		}
	})
}

func TestWhatAFileManagesNeedsTakingOver(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		file := store.Write{Actor: "file:a.yaml", Source: store.FileSource("a.yaml")}
		if _, err := s.CreateSubscription(t.Context(), wants("a", "Unlimited"), file); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Hour).Truncate(time.Second)
		for name, do := range map[string]func(store.Write) error{
			"approve": func(w store.Write) error { _, err := s.Act(t.Context(), "a", store.Approve, "", w); return err },
			"change": func(w store.Write) error {
				_, err := s.ChangeSubscription(t.Context(), "a", store.SubscriptionChange{Expires: &later}, w)
				return err
			},
			"delete": func(w store.Write) error { return s.DeleteSubscription(t.Context(), "a", w) },
		} {
			var managed *store.ManagedError
			if err := do(someone); !errors.As(err, &managed) || managed.Source != "file:a.yaml" || managed.Name != "a" {
				t.Errorf("%s: %v", name, err)
			}
		}
		over := someone
		over.TakeOver = true
		if sub, err := s.Act(t.Context(), "a", store.Approve, "", over); err != nil || sub.Source != "" {
			t.Errorf("taking over: %+v, %v", sub, err)
		}
		act(t, s, "a", store.Suspend)
	})
}

// A file may say that a subscription has expired, whatever its expiry.
func TestWhatAFileCallsExpired(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		var subs []catalog.Subscription
		for _, name := range []string{"a", "b", "c"} {
			d := wants(name, "Unlimited")
			d.State = "expired"
			subs = append(subs, d)
		}
		file := store.Write{Actor: "file:a.yaml", Source: store.FileSource("a.yaml")}
		if _, err := s.Apply(t.Context(), store.Application{Catalog: &catalog.Catalog{Subscriptions: subs}, Write: file}); err != nil {
			t.Fatal(err)
		}
		over := someone
		over.TakeOver = true
		if _, err := s.Act(t.Context(), "a", store.Suspend, "", over); code(err) != "state_conflict" ||
			!strings.HasSuffix(err.Error(), "is expired and cannot be suspended: it can be cancelled, or get a later expiry") {
			t.Errorf("suspending: %v", err)
		}
		if sub, err := s.Act(t.Context(), "a", store.Cancel, "", over); err != nil || sub.State != wire.StateCancelled {
			t.Errorf("cancelling: %v, %v", sub.State, err)
		}
		if sub, err := s.ChangeSubscription(t.Context(), "b", store.SubscriptionChange{Attributes: map[string]string{"a": "b"}}, over); err != nil || sub.State != wire.StateExpired {
			t.Errorf("an attribute: %v, %v", sub.State, err)
		}
		later := time.Now().Add(time.Hour).Truncate(time.Second)
		if sub, err := s.ChangeSubscription(t.Context(), "b", store.SubscriptionChange{Expires: &later}, over); err != nil || sub.State != wire.StateActive {
			t.Errorf("a later expiry: %v, %v", sub.State, err)
		}
		if sub, err := s.ChangeSubscription(t.Context(), "c", store.SubscriptionChange{NoExpiry: true}, over); err != nil || sub.State != wire.StateActive {
			t.Errorf("no expiry: %v, %v", sub.State, err)
		}
	})
}

func TestOfTwoApprovalsOneWins(t *testing.T) {
	all := sidecars(t, 4, store.Options{})
	stocked(t, all[0])
	for i := range 10 {
		name := fmt.Sprintf("a%d", i)
		subscribe(t, all[0], wants(name, "Unlimited"))
		var won, lost atomic.Int32
		together(all, func(_ int, s *store.Store) {
			switch _, err := s.Act(t.Context(), name, store.Approve, "", someone); {
			case err == nil:
				won.Add(1)
			case code(err) == "state_conflict":
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
		if won.Load() != 1 || lost.Load() != 3 {
			t.Errorf("%d approved it, %d were told that it is", won.Load(), lost.Load())
		}
		if got := found(t, all[0], name).Revision; got != 2 {
			t.Errorf("revision %d, want 2", got)
		}
	}
}
