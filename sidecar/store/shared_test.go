package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/store"
)

// several opens one PostgreSQL database for so many sidecars, all at once and for the first
// time.
func several(t *testing.T, n int) []*store.Store {
	t.Helper()
	at := postgrestest.Shared(t).Database(t)
	all := make([]*store.Store, n)
	var opening sync.WaitGroup
	for i := range all {
		opening.Go(func() {
			db, err := database.Open(t.Context(), database.Config{Source: at, Busy: time.Minute})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { db.Close() })
			if all[i], err = store.Open(t.Context(), db, store.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// together calls f for each store, all at once.
func together(all []*store.Store, f func(i int, s *store.Store)) {
	var running sync.WaitGroup
	for i, s := range all {
		running.Go(func() { f(i, s) })
	}
	running.Wait()
}

func TestSidecarsAreOneStore(t *testing.T) {
	all := several(t, 4)
	for _, s := range all[1:] {
		if s.ID() != all[0].ID() || !bytes.Equal(s.Pepper(), all[0].Pepper()) {
			t.Error("two sidecars on one database have two identities")
		}
	}
	changed := make([]bool, len(all))
	together(all, func(i int, s *store.Store) {
		plan, err := s.Apply(t.Context(), file(demo()))
		if err != nil {
			t.Error(err)
		}
		changed[i] = len(plan.Changes) > 0
	})
	if n := len(slices.DeleteFunc(changed, func(c bool) bool { return !c })); n != 1 {
		t.Errorf("%d sidecars changed the store, want 1", n)
	}
	want := subscriptions(t, all[0])
	if want["alice"].ID != 1 || want["bob"].ID != 2 || want["alice"].Revision != 1 || want["bob"].Revision != 1 {
		t.Errorf("ids and revisions: %v", want)
	}
	for _, s := range all[1:] {
		if diff := cmp.Diff(want, subscriptions(t, s)); diff != "" {
			t.Errorf("two sidecars see (-one +other):\n%s", diff)
		}
	}
}

func TestNoRevisionIsGivenTwice(t *testing.T) {
	const each = 25
	all := several(t, 4)
	var mu sync.Mutex
	held := map[uint64]string{}
	together(all, func(i int, s *store.Store) {
		for n := range each {
			r, err := s.Revise(t.Context(), sha256.Sum256([]byte(fmt.Sprint(i, n))))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if other, taken := held[r.Number]; taken {
				t.Errorf("revision %d is %s and %s", r.Number, other, r.Content)
			}
			held[r.Number] = r.Content
			mu.Unlock()
		}
	})
	for n := range uint64(each * len(all)) {
		if held[n+1] == "" {
			t.Errorf("revision %d is nobody's", n+1)
		}
	}
}

// While a catalog is rolled out, sidecars hold different ones for a moment.
func TestConcurrentCatalogsLeaveAWholeOne(t *testing.T) {
	const each = 25
	all := several(t, 4)
	swapped := func() *catalog.Catalog {
		c := demo()
		c.Subscriptions[0].PrimaryKey, c.Subscriptions[1].PrimaryKey = c.Subscriptions[1].PrimaryKey, c.Subscriptions[0].PrimaryKey
		return c
	}
	smaller := func() *catalog.Catalog {
		c := swapped()
		c.Subscriptions, c.Developers = c.Subscriptions[:1], c.Developers[:1]
		return c
	}
	catalogs := []func() *catalog.Catalog{demo, swapped, smaller}
	together(all, func(i int, s *store.Store) {
		for n := range each {
			if _, err := s.Apply(t.Context(), file(catalogs[(i+n)%len(catalogs)]())); err != nil {
				t.Error(err)
				return
			}
		}
	})
	got := subscriptions(t, all[0])
	for _, s := range all { // whichever was last, each sees it, and applying it changes nothing
		if diff := cmp.Diff(got, subscriptions(t, s)); diff != "" {
			t.Errorf("two sidecars see (-one +other):\n%s", diff)
		}
	}
	if !slices.ContainsFunc(catalogs, func(c func() *catalog.Catalog) bool {
		alone := opened(t, filepath.Join(t.TempDir(), "s.db"), store.Options{})
		apply(t, alone, c())
		return cmp.Equal(got, subscriptions(t, alone), cmpopts.IgnoreFields(store.Subscription{}, "Revision", "Started", "Updated"), cmpopts.IgnoreFields(store.Key{}, "Created"))
	}) {
		t.Errorf("the store holds none of the catalogs: %v", got)
	}
	apply(t, all[0], demo())
	if got := subscriptions(t, all[1]); got["alice"].ID != 1 || got["bob"].ID != 2 {
		t.Errorf("ids = %d, %d, want 1, 2", got["alice"].ID, got["bob"].ID)
	}
}

// The server dies while a sidecar works, and the sidecar goes on by itself.
func TestWhatWasAcknowledgedSurvivesTheServer(t *testing.T) {
	server := postgrestest.Start(t)
	s := opened(t, server.URL, store.Options{})
	var number uint64
	for round := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var acknowledged []string
		err := work(ctx, s, func(line string) {
			acknowledged = append(acknowledged, line)
			if len(acknowledged) == 5+3*round {
				go server.Kill()
			}
		})
		cancel()
		if !database.Unavailable(err) {
			t.Errorf("round %d: %v, want an error that is Unavailable", round, err)
		}
		server.Kill() // waits for the other one
		server.Restart()
		number = acknowledge(t, s, acknowledged, number)
	}
}

func TestASubscriptionKeepsItsStart(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		first := time.Date(2026, 1, 1, 0, 0, 0, 999_999_999, time.UTC)
		now := first
		s := opened(t, source(t), store.Options{Now: func() time.Time { return now }})
		apply(t, s, demo())
		without, moved := demo(), demo()
		without.Subscriptions = without.Subscriptions[:1]
		moved.Subscriptions[1].Developer = "alice@example.org"
		for _, step := range []struct {
			name    string
			catalog *catalog.Catalog
			started time.Time // of bob; zero: he is not there
		}{
			{"first", demo(), first.Truncate(time.Millisecond)},
			{"removed", without, time.Time{}},
			{"back", demo(), first.Truncate(time.Millisecond)},
			{"removed again", without, time.Time{}},
			{"another developer's", moved, first.Add(4 * time.Hour).Truncate(time.Millisecond)},
		} {
			apply(t, s, step.catalog)
			got := subscriptions(t, s)
			if !got["bob"].Started.Equal(step.started) {
				t.Errorf("%s: bob started %v, want %v", step.name, got["bob"].Started, step.started)
			}
			if !got["alice"].Started.Equal(first.Truncate(time.Millisecond)) {
				t.Errorf("%s: alice started %v, want %v", step.name, got["alice"].Started, first)
			}
			now = now.Add(time.Hour)
		}
	})
}

// A client may put anything into what is recorded; it must not spoil the rows beside it.
func TestHostileTextIsRecorded(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		s := opened(t, at, store.Options{})
		hostile := "a\x00b\xff"
		report := denied(hostile, "plain")
		if _, err := s.TakeUsage(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		if err := s.Record(t.Context(), []store.Decision{{ID: "d1", Call: hostile, Reasons: []string{hostile}, Detail: hostile}, {ID: "d2", Call: "c2"}}); err != nil {
			t.Fatal(err)
		}
		log, err := store.OpenLog(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for _, id := range []string{hostile, "plain", "d1", "d2"} {
			if _, err := log.Explain(t.Context(), id); err != nil {
				t.Errorf("explaining %q: %v", id, err)
			}
		}
		if err := s.Own(t.Context(), submit("c", 1, hostile)); err == nil {
			t.Error("an id that is no text was recorded")
		}
		if _, known, err := s.Owner(t.Context(), "https://b", submit("", 0, hostile).Resource); known || err != nil {
			t.Errorf("owner of an id that is no text: %v, %v, want none", known, err)
		}
	})
}
