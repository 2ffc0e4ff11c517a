package main

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

var limitedText = strings.Replace(catalogText, "{name: Starter, apis: [Demo]}",
	"{name: Starter, apis: [Demo], limits: [{name: minute, kind: rate, amount: 5, window: 1m}]}", 1)

func (s *served) filter(vm string) *filter {
	return &filter{socket: filepath.Join(s.dir, "s.sock"), vm: vm}
}

func (s *served) admin() *admin.Client {
	return admin.NewSocketClient(filepath.Join(s.dir, "a.sock"), 10*time.Second)
}

// room calls until there is an answer from the ledger.
func (s *served) room(f *filter) wire.Answer {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		a, err := f.call(1, 1)
		if err == nil && a.Error == "" {
			return a
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no usable answer: %+v, %v; the log:\n%s", a, err, s.log)
		}
	}
}

func TestServeTellsFiltersOfAReset(t *testing.T) {
	s := startServeOn(t, "", limitedText)
	before := s.next()
	if a, err := s.filter("a").call(1, 1); err != nil || len(a.Leases) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := s.admin().Reset(t.Context(), admin.Reset{Subscription: "alice"}); err != nil {
		t.Fatal(err)
	}
	if after := s.next(); after.Resets <= before.Resets {
		t.Errorf("resets %d after %d", after.Resets, before.Resets)
	}
}

// Two sidecars on one PostgreSQL share every limit, and what is done about it.
func TestTwoSidecarsShareLimits(t *testing.T) {
	server := postgrestest.Start(t)
	source := server.Database(t)
	sidecars := []*served{startServeOn(t, source, limitedText), startServeOn(t, source, limitedText)}
	before := sidecars[1].next()
	if first := sidecars[0].next(); first.Revision != before.Revision {
		t.Errorf("two sidecars of one store hand out %v and %v", first.Revision, before.Revision)
	}
	answers := make([]wire.Answer, 20)
	errs := make([]error, len(answers))
	var calling sync.WaitGroup
	for i := range answers {
		calling.Go(func() { answers[i], errs[i] = sidecars[i%2].filter([]string{"a", "b"}[i%2]).call(1, i) })
	}
	calling.Wait()
	passed := 0
	for i, a := range answers {
		if errs[i] != nil || a.Error != "" || a.Exhausted == nil && len(a.Leases) != 1 {
			t.Errorf("%+v, %v", a, errs[i])
		}
		if a.Exhausted == nil {
			passed++
		}
	}
	if passed != 5 {
		t.Errorf("%d of 20 passed, want 5", passed)
	}

	// What one is told to reset, the filters of the other hear of.
	if _, err := sidecars[0].admin().Reset(t.Context(), admin.Reset{Subscription: "alice"}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); sidecars[1].next().Resets <= before.Resets; {
		if time.Now().After(deadline) {
			t.Fatal("the other sidecar's filters are not told")
		}
	}
	for i, s := range sidecars {
		counters, err := s.admin().Limits(t.Context(), "alice")
		if err != nil || len(counters.Counters) != 1 || counters.Counters[0].Used != 0 || counters.Counters[0].Left != 5 {
			t.Errorf("sidecar %d shows %+v, %v", i, counters, err)
		}
	}

	// PostgreSQL gone and back: both go on.
	server.Stop()
	for i, s := range sidecars {
		if a, err := s.filter("c").call(1, 1); err != nil || a.Error != "ledger_unavailable" || a.Status != 503 {
			t.Errorf("sidecar %d without PostgreSQL: %+v, %v", i, a, err)
		}
	}
	server.Restart()
	for i, s := range sidecars {
		if a := s.room(s.filter("d")); len(a.Leases) != 1 {
			t.Errorf("sidecar %d with PostgreSQL again: %+v", i, a)
		}
	}
}
