package store_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

func submit(call string, sub uint32, id string) store.Submit {
	return store.Submit{Call: call, Subscription: sub, Backend: "https://b", API: "Demo", Operation: "BES Submit",
		Resource: wire.Resource{Kind: "job", Scope: map[string]string{"workspace": "w", "service": "s"}, ID: id}}
}

func TestAResourceKeepsItsFirstOwner(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		for _, step := range []struct {
			name   string
			submit store.Submit
			want   error
		}{
			{"first", submit("c1", 1, "j"), nil},
			{"repeated", submit("c1", 1, "j"), nil},
			{"another call of the same subscription", submit("c2", 1, "j"), store.ErrConflict},
			{"another subscription", submit("c3", 2, "j"), store.ErrConflict},
			{"another subscription, same call id", submit("c1", 2, "j"), store.ErrConflict},
			{"another job", submit("c2", 2, "k"), nil},
		} {
			if err := s.Own(t.Context(), step.submit); !errors.Is(err, step.want) {
				t.Errorf("%s: %v, want %v", step.name, err, step.want)
			}
		}
		elsewhere := submit("", 0, "j").Resource
		elsewhere.Scope = map[string]string{"workspace": "w2", "service": "s"}
		for name, tc := range map[string]struct {
			backend  string
			resource wire.Resource
			owner    uint32
			known    bool
		}{
			"owned":               {"https://b", submit("", 0, "j").Resource, 1, true},
			"other job":           {"https://b", submit("", 0, "k").Resource, 2, true},
			"unknown id":          {"https://b", submit("", 0, "x").Resource, 0, false},
			"another workspace":   {"https://b", elsewhere, 0, false},
			"another backend":     {"https://b2", submit("", 0, "j").Resource, 0, false},
			"another kind":        {"https://b", wire.Resource{Kind: "model", Scope: submit("", 0, "").Resource.Scope, ID: "j"}, 0, false},
			"letter case differs": {"https://b", submit("", 0, "J").Resource, 0, false},
		} {
			owner, known, err := s.Owner(t.Context(), tc.backend, tc.resource)
			if err != nil || owner != tc.owner || known != tc.known {
				t.Errorf("%s: Owner = %d, %v, %v, want %d, %v", name, owner, known, err, tc.owner, tc.known)
			}
		}
	})
}

func TestASubmitWithoutAKeyIsNobodys(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		if err := s.Own(t.Context(), submit("c", 0, "j")); err != nil {
			t.Fatal(err)
		}
		if _, known, err := s.Owner(t.Context(), "https://b", submit("", 0, "j").Resource); known || err != nil {
			t.Errorf("known = %v, %v, want false", known, err)
		}
		if err := s.Own(t.Context(), submit("c2", 3, "j")); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a later claim: %v, want ErrConflict", err)
		}
	})
}

// The catalog may move an API to another backend between a submit and its answer.
func TestAResourceStandsUnderTheBackendOfItsIntent(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		for range 2 {
			if err := s.Intend(t.Context(), submit("c", 1, "")); err != nil {
				t.Fatal(err)
			}
		}
		moved := submit("c", 1, "j")
		moved.Backend = ""
		if err := s.Own(t.Context(), moved); err != nil {
			t.Fatal(err)
		}
		if owner, _, err := s.Owner(t.Context(), "https://b", moved.Resource); owner != 1 || err != nil {
			t.Errorf("Owner = %d, %v, want 1", owner, err)
		}
		moved.Call = "never announced"
		if err := s.Own(t.Context(), moved); !errors.Is(err, store.ErrNoIntent) {
			t.Errorf("without an intent and a backend: %v, want ErrNoIntent", err)
		}
	})
}

// A path may carry a key by mistake.
func TestNoPathValueInAnyFile(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		s := opened(t, at, store.Options{})
		const planted = "mistyped-secret-key"
		owned := submit("c", 1, "planted-job")
		owned.Resource.Scope = map[string]string{"workspace": planted, "service": "s"}
		if err := errors.Join(s.Intend(t.Context(), owned), s.Own(t.Context(), owned)); err != nil {
			t.Fatal(err)
		}
		if owner, _, err := s.Owner(t.Context(), owned.Backend, owned.Resource); owner != 1 || err != nil {
			t.Errorf("Owner = %d, %v, want 1", owner, err)
		}
		held := content(t, at)
		if bytes.Contains(held, []byte(planted)) {
			t.Error("the database contains a value of the path in clear")
		}
		if !bytes.Contains(held, []byte(owned.Resource.ID)) { // or this test looks at the wrong bytes
			t.Error("it does not contain the job's id")
		}
	})
}

func TestUsageIsTakenOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		report := wire.UsageReport{VM: "a", Sequence: 7, Denials: []wire.Denial{{Call: "c", Reason: "key_unknown", Status: 401}}}
		var got []bool
		for _, r := range []wire.UsageReport{report, report, {VM: "a", Sequence: 6}, {VM: "b", Sequence: 7}, {VM: "a", Sequence: 9}} {
			first, err := s.TakeUsage(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, first)
		}
		if diff := cmp.Diff([]bool{true, false, false, true, true}, got); diff != "" {
			t.Errorf("first (-want +got):\n%s", diff)
		}
	})
}

func TestExplain(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		place := source(t)
		s := opened(t, place, store.Options{})
		apply(t, s, demo())
		at := time.UnixMilli(1_900_000_000_123).UTC()
		rules := []store.Rule{{Path: "data.tollgate.access.deny", File: "access.rego", Line: 12, Reason: "job_not_found"}}
		decision := store.Decision{ID: "d1", Call: "c1", Time: at, Status: 404, Reasons: []string{"job_not_found"}, Subscription: 2, API: "Demo",
			Operation: "BES Status", Policy: "p1", Rules: rules}
		if err := s.Record(t.Context(), []store.Decision{decision, {ID: "d2", Call: "c4", Time: at, Status: 403}}); err != nil {
			t.Fatal(err)
		}
		denials := []wire.Denial{
			{Call: "c2", TimeMillis: at.UnixMilli() + 1, Status: 401, Reason: "key_unknown", API: "Demo"},
			{Call: "c3", TimeMillis: at.UnixMilli() + 2, Status: 404, Reason: "denied", Decision: "d1", Subscription: 2, API: "Demo", Operation: "BES Status"},
		}
		if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: 1, Denials: denials}); err != nil {
			t.Fatal(err)
		}
		byPolicy := store.Explanation{Request: "c1", Time: at, Status: 404, Reasons: []string{"job_not_found"}, API: "Demo", Operation: "BES Status",
			Subscription: 2, SubscriptionName: "bob", Decision: "d1", Policy: "p1", Rules: rules}
		kept := byPolicy
		kept.Request, kept.Time = "c3", at.Add(2*time.Millisecond)
		for name, tc := range map[string]struct {
			id   string
			want []store.Explanation
			err  error
		}{
			"denied by the filter":       {"c2", []store.Explanation{{Request: "c2", Time: at.Add(time.Millisecond), Status: 401, Reasons: []string{"key_unknown"}, API: "Demo"}}, nil},
			"denied by a kept decision":  {"c3", []store.Explanation{kept}, nil},
			"not reported by the filter": {"c1", []store.Explanation{byPolicy}, nil},
			"by decision":                {"d1", []store.Explanation{kept}, nil},
			"by unreported decision":     {"d2", []store.Explanation{{Request: "c4", Time: at, Status: 403, Reasons: []string{}, Decision: "d2"}}, nil},
			"unknown":                    {"c9", nil, store.ErrUnknown},
			"empty":                      {"", nil, store.ErrUnknown},
		} {
			t.Run(name, func(t *testing.T) {
				log, err := store.OpenLog(t.Context(), place)
				if err != nil {
					t.Fatal(err)
				}
				defer log.Close()
				got, err := log.Explain(t.Context(), tc.id)
				if !errors.Is(err, tc.err) {
					t.Fatalf("err = %v, want %v", err, tc.err)
				}
				if diff := cmp.Diff(tc.want, got, cmp.Transformer("rules", func(r []store.Rule) []store.Rule { return append([]store.Rule{}, r...) })); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestPruneBoundsTheRecord(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		now := time.UnixMilli(1_900_000_000_000)
		place := source(t)
		s := opened(t, place, store.Options{Now: func() time.Time { return now }, Keep: 100})
		record := func(calls ...wire.Denial) {
			t.Helper()
			if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: uint64(len(calls)) + uint64(now.UnixMilli()), Denials: calls}); err != nil {
				t.Fatal(err)
			}
		}
		record(wire.Denial{Call: "old", TimeMillis: now.UnixMilli()})
		if err := s.Record(t.Context(), []store.Decision{{ID: "d-old", Time: now}}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(store.KeepFor + time.Millisecond)
		many := make([]wire.Denial, 101)
		for i := range many {
			many[i] = wire.Denial{Call: "new", TimeMillis: now.UnixMilli()}
		}
		many[0].Call, many[1].Call = "first", "second"
		record(many...)
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		log, err := store.OpenLog(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for id, want := range map[string]error{"old": store.ErrUnknown, "d-old": store.ErrUnknown, "first": store.ErrUnknown, "second": nil, "new": nil} {
			if _, err := log.Explain(t.Context(), id); !errors.Is(err, want) {
				t.Errorf("explaining %s: %v, want %v", id, err, want)
			}
		}
	})
}

// denied is a report of denials of these calls.
func denied(calls ...string) wire.UsageReport {
	r := wire.UsageReport{VM: "vm", Sequence: 1}
	for _, call := range calls {
		r.Denials = append(r.Denials, wire.Denial{Call: call, Reason: "rate_limited", Limit: "minute", Status: 429})
	}
	return r
}
