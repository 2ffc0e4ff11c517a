package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
	"github.com/tollgate/tollgate/sidecar/usage"
)

// called is a row of so many calls at a time, by alice unless changed.
func called(at time.Time, calls int64) wire.UsageRow {
	return wire.UsageRow{Minute: at.Unix() / 60, Subscription: 1, Product: "Unlimited", API: "Demo", Operation: "Execute", Outcome: wire.CallSuccess, Calls: calls,
		RequestBytes: 10 * calls, ResponseBytes: 20 * calls, Total: wire.UsageTimes{Counts: []int64{calls}, SumMicros: 500 * calls, MinMicros: 500, MaxMicros: 500}}
}

// counted is how many calls the store has, per grain.
func counted(t *testing.T, s *store.Store) map[usage.Grain]int64 {
	t.Helper()
	calls := map[usage.Grain]int64{}
	for _, per := range []usage.Grain{usage.Minute, usage.Hour, usage.Day} {
		r, err := s.Usage(t.Context(), usage.Query{Per: per})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Rows {
			calls[per] += row.Calls
		}
	}
	return calls
}

func each(calls int64) map[usage.Grain]int64 {
	return map[usage.Grain]int64{usage.Minute: calls, usage.Hour: calls, usage.Day: calls}
}

func TestUsageIsAddedOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := opened(t, source(t), store.Options{Now: handAt(noon).Now})
		apply(t, s, demo())
		report := func(vm string, sequence uint64, rows ...wire.UsageRow) wire.UsageReport {
			return wire.UsageReport{VM: vm, Sequence: sequence, Rows: rows}
		}
		for _, step := range []struct {
			name   string
			report wire.UsageReport
			first  bool
			calls  int64
		}{
			{"one", report("a", 1, called(noon, 1)), true, 1},
			{"the same again", report("a", 1, called(noon, 1)), false, 1},
			{"another worker's first", report("b", 1, called(noon, 2)), true, 3},
			{"the next, of two minutes", report("a", 2, called(noon, 4), called(noon.Add(-time.Minute), 8)), true, 15},
			{"an earlier one, that was late", report("a", 1, called(noon, 1)), false, 15},
			{"one after a report that was refused", report("a", 4, called(noon, 16)), true, 31},
			{"one without calls", report("a", 5), true, 31},
		} {
			first, err := s.TakeUsage(t.Context(), step.report)
			if err != nil || first != step.first {
				t.Errorf("%s: first %v, %v, want %v", step.name, first, err, step.first)
			}
			if diff := cmp.Diff(each(step.calls), counted(t, s)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.name, diff)
			}
		}
		r, err := s.Usage(t.Context(), usage.Query{By: []usage.Dimension{usage.BySubscription, usage.ByDeveloper}})
		if err != nil || len(r.Rows) != 1 || r.Rows[0].Subscription != "alice" || r.Rows[0].Developer != "alice@example.org" {
			t.Errorf("by subscription and developer: %v, %+v", err, r.Rows)
		}
	})
}

// Several sidecars take the same reports at once, as where a proxy goes from one to the next
// because it got no answer: each report is taken by one of them.
func TestSidecarsTakeAReportOnce(t *testing.T) {
	const workers, reports = 3, 20
	all := several(t, 4)
	apply(t, all[0], demo())
	now := time.Now()
	firsts := make([]int, len(all))
	together(all, func(i int, s *store.Store) {
		for sequence := range uint64(reports) {
			for worker := range workers {
				vm := string(rune('a' + (worker+i)%workers))
				first, err := s.TakeUsage(context.Background(), wire.UsageReport{VM: vm, Sequence: sequence + 1,
					Rows: []wire.UsageRow{called(now, 1), called(now.Add(-time.Minute), 1)}, Keys: []wire.KeyUse{{Subscription: 1, Slot: 1, TimeMillis: now.UnixMilli()}}})
				if err != nil {
					t.Error(err)
					return
				}
				if first {
					firsts[i]++
				}
			}
		}
	})
	total := 0
	for _, n := range firsts {
		total += n
	}
	// A sidecar that is behind finds a later report taken, and takes its own no more: what a
	// worker never does, for it waits for each answer.
	calls := counted(t, all[0])
	if total > workers*reports || calls[usage.Minute] != int64(2*total) {
		t.Errorf("%d reports were taken, of %d; there are %v calls, want %d", total, workers*reports, calls, 2*total)
	}
	if diff := cmp.Diff(each(int64(2*total)), calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLastUseOfKeysMovesForward(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		apply(t, s, demo())
		used := func() map[wire.Slot]time.Time {
			got := map[wire.Slot]time.Time{}
			for _, k := range subscriptions(t, s)["alice"].Keys {
				if got[k.Slot] = k.Used; k.Expires != 0 {
					t.Errorf("key %+v expires", k)
				}
			}
			return got
		}
		before := subscriptions(t, s)["alice"]
		sequence := uint64(0)
		for _, step := range []struct {
			name               string
			uses               []wire.KeyUse
			primary, secondary time.Time
		}{
			{"never", nil, time.Time{}, time.Time{}},
			{"the primary", []wire.KeyUse{{Subscription: 1, Slot: 1, TimeMillis: noon.UnixMilli() - 5000}}, noon.Add(-5 * time.Second), time.Time{}},
			{"both, one of them earlier", []wire.KeyUse{{Subscription: 1, Slot: 2, TimeMillis: noon.UnixMilli() - 9000}, {Subscription: 1, Slot: 1, TimeMillis: noon.UnixMilli() - 9000}},
				noon.Add(-5 * time.Second), noon.Add(-9 * time.Second)},
			{"by a clock that is ahead", []wire.KeyUse{{Subscription: 1, Slot: 1, TimeMillis: noon.UnixMilli() + 60_000}}, noon, noon.Add(-9 * time.Second)},
			{"one on its way out that is gone", []wire.KeyUse{{Subscription: 1, Slot: 2, Expires: 7, TimeMillis: noon.UnixMilli()}}, noon, noon.Add(-9 * time.Second)},
			{"of nobody", []wire.KeyUse{{Subscription: 99, Slot: 2, TimeMillis: noon.UnixMilli()}}, noon, noon.Add(-9 * time.Second)},
		} {
			sequence++
			if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: sequence, Keys: step.uses}); err != nil {
				t.Fatal(err)
			}
			got := used()
			if !got[1].Equal(step.primary) || !got[2].Equal(step.secondary) {
				t.Errorf("%s: used %v, want %v and %v", step.name, got, step.primary, step.secondary)
			}
		}
		if after := subscriptions(t, s)["alice"]; after.Revision != before.Revision || !after.Updated.Equal(before.Updated) {
			t.Errorf("use moved the subscription's revision: %+v, was %+v", after, before)
		}
	})
}

// A key that is on its way out is told from the one that took its place.
func TestAnOldKeyThatIsStillInUse(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		apply(t, s, demo())
		w := someone
		w.TakeOver = true
		if _, err := s.RegenerateKey(t.Context(), "alice", store.KeyChange{Slot: wire.SlotPrimary, Grace: time.Hour}, w); err != nil {
			t.Fatal(err)
		}
		expires := uint32(noon.Add(time.Hour).Unix())
		clock.pass(time.Minute)
		if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: 1, Keys: []wire.KeyUse{{Subscription: 1, Slot: 1, Expires: expires, TimeMillis: noon.UnixMilli() + 1}}}); err != nil {
			t.Fatal(err)
		}
		for _, k := range subscriptions(t, s)["alice"].Keys {
			if old := k.Expires == expires; old != k.Used.Equal(noon.Add(time.Millisecond)) {
				t.Errorf("the key of slot %d that expires at %d was used %v", k.Slot, k.Expires, k.Used)
			}
		}
		if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: 2, Keys: []wire.KeyUse{{Subscription: 1, Slot: 1, TimeMillis: noon.UnixMilli() + 2}}}); err != nil {
			t.Fatal(err)
		}
		for _, k := range subscriptions(t, s)["alice"].Keys {
			if next := k.Expires == 0 && k.Slot == wire.SlotPrimary; next != k.Used.Equal(noon.Add(2*time.Millisecond)) {
				t.Errorf("then the key of slot %d that expires at %d was used %v", k.Slot, k.Expires, k.Used)
			}
		}
	})
}

func TestPruneForgetsUsage(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		if _, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: 9, Rows: []wire.UsageRow{called(noon, 1)}}); err != nil {
			t.Fatal(err)
		}
		clock.pass(usage.KeepMinutes + time.Hour)
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := each(1)
		delete(want, usage.Minute)
		if diff := cmp.Diff(want, counted(t, s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// The worker is known for as long as it may repeat what nobody answered.
		if first, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: 9, Rows: []wire.UsageRow{called(noon, 1)}}); first || err != nil {
			t.Errorf("a report of two days ago was taken twice: %v", err)
		}
		clock.pass(store.KeepReports)
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if first, err := s.TakeUsage(t.Context(), wire.UsageReport{VM: "a", Sequence: 9}); !first || err != nil {
			t.Errorf("workers are remembered for ever: %v", err)
		}
	})
}
