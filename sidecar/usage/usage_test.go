package usage_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/usage"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

// inBoth runs a test on an empty database of each dialect.
func inBoth(t *testing.T, f func(t *testing.T, db *database.DB)) {
	t.Run("SQLite", func(t *testing.T) { f(t, opened(t, filepath.Join(t.TempDir(), "s.db"))) })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, opened(t, postgrestest.Shared(t).Database(t))) })
}

func opened(t *testing.T, source string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: source, Busy: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, db *database.DB, rows ...wire.UsageRow) {
	t.Helper()
	must(t, db.Transact(t.Context(), "adding", func(tx *database.Tx) error { return usage.Add(t.Context(), tx, rows) }))
}

// subscribe puts subscriptions into the store, of which one name was given twice.
func subscribe(t *testing.T, db *database.DB) {
	t.Helper()
	must(t, db.Transact(t.Context(), "subscribing", func(tx *database.Tx) error {
		for _, s := range []struct {
			id              int64
			name, developer string
			removed         int
		}{{1, "alice", "alice@example.org", 0}, {2, "bob", "bob@example.org", 1}, {3, "carol", "carol@example.org", 1}, {4, "carol", "alice@example.org", 0}} {
			if _, err := tx.Exec(t.Context(), `
				INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started)
				VALUES (?, ?, ?, 'product', 'Starter', 2, 0, '{}', 1, ?, 0)`, s.id, s.name, s.developer, s.removed); err != nil {
				return err
			}
		}
		return nil
	}))
}

func read(t *testing.T, db *database.DB, q usage.Query) usage.Report {
	t.Helper()
	r, err := usage.Read(t.Context(), db, q, now)
	must(t, err)
	return r
}

// now is a Tuesday, 15:04:30 UTC.
var now = time.Date(2026, 11, 24, 15, 4, 30, 0, time.UTC)

func at(clock string) time.Time {
	t, err := time.Parse("01-02 15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return t.AddDate(2026, 0, 0)
}

// took is the histogram of these durations.
func took(durations ...time.Duration) wire.UsageTimes {
	var t wire.UsageTimes
	for _, d := range durations {
		for len(t.Counts) <= wire.UsageBucket(d) {
			t.Counts = append(t.Counts, 0)
		}
		t.Counts[wire.UsageBucket(d)]++
		t.SumMicros += d.Microseconds()
		t.MaxMicros = max(t.MaxMicros, d.Microseconds())
		if t.MinMicros == 0 || d.Microseconds() < t.MinMicros {
			t.MinMicros = d.Microseconds()
		}
	}
	return t
}

// row is calls that ended at a time, 10 ms each, of which the backend took 8.
func row(clock string, calls int64, change ...func(*wire.UsageRow)) wire.UsageRow {
	r := wire.UsageRow{Minute: at(clock).Unix() / 60, Subscription: 1, Product: "Starter", API: "Demo", Operation: "Execute", Outcome: wire.CallSuccess,
		Calls: calls, RequestBytes: 100 * calls, ResponseBytes: 1000 * calls,
		Total:   took(slices.Repeat([]time.Duration{10 * time.Millisecond}, int(calls))...),
		Backend: took(slices.Repeat([]time.Duration{8 * time.Millisecond}, int(calls))...)}
	for _, c := range change {
		c(&r)
	}
	return r
}

func of(subscription uint32) func(*wire.UsageRow) {
	return func(r *wire.UsageRow) { r.Subscription = subscription }
}

func outcome(o wire.CallOutcome) func(*wire.UsageRow) {
	return func(r *wire.UsageRow) {
		if r.Outcome = o; o == wire.CallBlocked {
			r.Backend = wire.UsageTimes{}
		}
	}
}

func TestAnswersAreExact(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		subscribe(t, db)
		add(t, db,
			row("11-24 15:03:10", 3),
			wire.UsageRow{Minute: at("11-24 15:03:59").Unix() / 60, Subscription: 1, Product: "Starter", API: "Demo", Operation: "Execute", Outcome: wire.CallFailed,
				Calls: 2, RequestBytes: 7, ResponseBytes: 9, Total: took(3*time.Millisecond, 40*time.Second), Backend: took(2 * time.Millisecond)})
		add(t, db, row("11-24 15:03:40", 1, outcome(wire.CallBlocked)), row("11-24 15:04:00", 1, of(2)), row("11-23 10:00:00", 5, of(2)))
		add(t, db, row("11-24 15:03:41", 1, func(r *wire.UsageRow) { r.Total, r.Backend = took(20*time.Millisecond), took(4*time.Millisecond) }))

		got := read(t, db, usage.Query{Since: at("11-24 15:00:00"), Per: usage.Minute, By: []usage.Dimension{usage.ByOutcome, usage.BySubscription}})
		want := usage.Report{
			Since: at("11-24 15:00:00"), Until: at("11-24 15:05:00"), Grain: usage.Minute, Per: usage.Minute, By: []usage.Dimension{usage.BySubscription, usage.ByOutcome},
			Rows: []usage.Row{
				{Time: at("11-24 15:03:00"), Subscription: "alice", SubscriptionID: 1, Outcome: wire.CallSuccess, Calls: 4, Success: 4, RequestBytes: 400, ResponseBytes: 4000,
					// Three of 10 ms and one of 20: the median is the second of three in the bucket from 5 to 10 ms, the others lie in that up to 20.
					Total:   usage.Times{Calls: 4, AverageMicros: 12_500, MinMicros: 10_000, MaxMicros: 20_000, P50Micros: 10_000, P95Micros: 20_000, P99Micros: 20_000},
					Backend: usage.Times{Calls: 4, AverageMicros: 7000, MinMicros: 4000, MaxMicros: 8000, P50Micros: 6000, P95Micros: 8000, P99Micros: 8000}},
				{Time: at("11-24 15:03:00"), Subscription: "alice", SubscriptionID: 1, Outcome: wire.CallFailed, Calls: 2, Failed: 2, RequestBytes: 7, ResponseBytes: 9,
					Total:   usage.Times{Calls: 2, AverageMicros: 20_001_500, MinMicros: 3000, MaxMicros: 40_000_000, P50Micros: 5000, P95Micros: 40_000_000, P99Micros: 40_000_000},
					Backend: usage.Times{Calls: 1, AverageMicros: 2000, MinMicros: 2000, MaxMicros: 2000, P50Micros: 2000, P95Micros: 2000, P99Micros: 2000}},
				{Time: at("11-24 15:03:00"), Subscription: "alice", SubscriptionID: 1, Outcome: wire.CallBlocked, Calls: 1, Blocked: 1, RequestBytes: 100, ResponseBytes: 1000,
					Total: usage.Times{Calls: 1, AverageMicros: 10_000, MinMicros: 10_000, MaxMicros: 10_000, P50Micros: 10_000, P95Micros: 10_000, P99Micros: 10_000}},
				{Time: at("11-24 15:04:00"), Subscription: "bob", SubscriptionID: 2, Outcome: wire.CallSuccess, Calls: 1, Success: 1, RequestBytes: 100, ResponseBytes: 1000,
					Total:   usage.Times{Calls: 1, AverageMicros: 10_000, MinMicros: 10_000, MaxMicros: 10_000, P50Micros: 10_000, P95Micros: 10_000, P99Micros: 10_000},
					Backend: usage.Times{Calls: 1, AverageMicros: 8000, MinMicros: 8000, MaxMicros: 8000, P50Micros: 8000, P95Micros: 8000, P99Micros: 8000}},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("per minute (-want +got):\n%s", diff)
		}
		// The same from hours and days.
		for per, since := range map[usage.Grain]time.Time{usage.Hour: at("11-24 15:00:00"), usage.Day: at("11-24 00:00:00")} {
			var times []time.Time
			for _, r := range read(t, db, usage.Query{Per: per, By: want.By}).Rows[1:] { // but for yesterday's
				times = append(times, r.Time)
			}
			if diff := cmp.Diff(slices.Repeat([]time.Time{since}, 4), times); diff != "" {
				t.Errorf("per %s (-want +got):\n%s", per, diff)
			}
		}
		whole := read(t, db, usage.Query{})
		if w := whole.Rows[0]; len(whole.Rows) != 1 || w.Calls != 13 || w.Success != 10 || w.Failed != 2 || w.Blocked != 1 || w.RequestBytes != 1107 || w.Total.MaxMicros != 40_000_000 || w.Backend.Calls != 11 {
			t.Errorf("all of it: %+v", whole.Rows)
		}
		if whole.Grain != usage.Day || !whole.Since.Equal(at("11-23 00:00:00")) || !whole.Until.Equal(at("11-25 00:00:00")) {
			t.Errorf("all of it is from %s to %s, of %ss", whole.Since, whole.Until, whole.Grain)
		}
	})
}

// Calls that reached the backend and such that did not are alike, where a client went away.
func TestTimesOfCallsThatWereNotForwarded(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		gone := func(r *wire.UsageRow) { r.Backend = wire.UsageTimes{} }
		add(t, db, row("11-24 15:00:00", 1, gone))
		add(t, db, row("11-24 15:00:00", 2), row("11-24 14:00:00", 1, gone))
		add(t, db, row("11-24 15:00:00", 1, gone), row("11-24 14:00:00", 1, gone))
		for per, want := range map[usage.Grain]usage.Times{
			usage.Minute: {}, usage.Hour: {}, // of the first
			usage.Day: {Calls: 2, AverageMicros: 8000, MinMicros: 8000, MaxMicros: 8000, P50Micros: 8000, P95Micros: 8000, P99Micros: 8000},
		} {
			r := read(t, db, usage.Query{Since: at("11-24 00:00:00"), Per: per})
			if got := r.Rows[0].Backend; got != want {
				t.Errorf("per %s: backend %+v, want %+v", per, got, want)
			}
			if last := r.Rows[len(r.Rows)-1].Backend; last.Calls != 2 || last.MinMicros != 8000 {
				t.Errorf("per %s: backend in the end %+v", per, last)
			}
		}
	})
}

// The estimate is in the bucket of the exact percentile, between minimum and maximum.
func TestPercentilesAreInTheRightBucket(t *testing.T) {
	db := opened(t, filepath.Join(t.TempDir(), "s.db"))
	random := rand.New(rand.NewPCG(7, 7))
	for i := range 200 {
		durations := make([]time.Duration, 1+random.IntN(300))
		for j := range durations {
			durations[j] = time.Duration(rand.New(random).ExpFloat64() * float64(time.Duration(1+i*i)*time.Millisecond)).Truncate(time.Microsecond)
		}
		api := fmt.Sprint("API ", i)
		add(t, db, row("11-24 15:00:00", 1, func(r *wire.UsageRow) { r.API, r.Calls, r.Total = api, int64(len(durations)), took(durations...) }))
		slices.Sort(durations)
		got := read(t, db, usage.Query{API: api}).Rows[0].Total
		for part, estimate := range map[float64]int64{0.5: got.P50Micros, 0.95: got.P95Micros, 0.99: got.P99Micros} {
			exact := durations[int(math.Ceil(part*float64(len(durations))))-1]
			about := time.Duration(estimate) * time.Microsecond
			if wire.UsageBucket(about) != wire.UsageBucket(exact) && about != lower(exact) || about < durations[0] || about > durations[len(durations)-1] {
				t.Errorf("%d durations: p%g is about %s, exactly %s", len(durations), 100*part, about, exact)
			}
		}
	}
}

// lower is the lower end of a duration's bucket.
func lower(d time.Duration) time.Duration {
	bound, _ := wire.UsageBound(wire.UsageBucket(d) - 1)
	return bound
}

func TestSpans(t *testing.T) {
	db := opened(t, filepath.Join(t.TempDir(), "s.db"))
	past := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tc := range map[string]struct {
		q            usage.Query
		grain        usage.Grain
		since, until string
	}{
		"whole days":                    {usage.Query{Since: at("11-20 00:00:00"), Until: at("11-22 00:00:00")}, usage.Day, "11-20 00:00:00", "11-22 00:00:00"},
		"since midnight":                {usage.Query{Since: at("11-24 00:00:00")}, usage.Day, "11-24 00:00:00", "11-25 00:00:00"},
		"until later":                   {usage.Query{Since: at("11-24 00:00:00"), Until: at("11-30 12:34:56")}, usage.Day, "11-24 00:00:00", "11-25 00:00:00"},
		"days, per hour":                {usage.Query{Since: at("11-20 00:00:00"), Until: at("11-22 00:00:00"), Per: usage.Hour}, usage.Hour, "11-20 00:00:00", "11-22 00:00:00"},
		"whole hours":                   {usage.Query{Since: at("11-24 09:00:00"), Until: at("11-24 12:00:00")}, usage.Hour, "11-24 09:00:00", "11-24 12:00:00"},
		"whole hours, per day":          {usage.Query{Since: at("11-24 09:00:00"), Until: at("11-24 12:00:00"), Per: usage.Day}, usage.Hour, "11-24 09:00:00", "11-24 12:00:00"},
		"minutes":                       {usage.Query{Since: at("11-24 09:30:00"), Until: at("11-24 12:00:00")}, usage.Minute, "11-24 09:30:00", "11-24 12:00:00"},
		"minutes, per day":              {usage.Query{Since: at("11-24 09:30:00"), Per: usage.Day}, usage.Minute, "11-24 09:30:00", "11-24 15:05:00"},
		"seconds":                       {usage.Query{Since: at("11-24 09:30:59"), Until: at("11-24 12:00:01")}, usage.Minute, "11-24 09:30:00", "11-24 12:01:00"},
		"another time zone":             {usage.Query{Since: at("11-24 01:00:00").In(time.FixedZone("", 3600)), Until: at("11-24 02:00:00")}, usage.Hour, "11-24 01:00:00", "11-24 02:00:00"},
		"minutes that are gone":         {usage.Query{Since: at("11-20 09:30:00"), Until: at("11-20 12:15:00")}, usage.Hour, "11-20 09:00:00", "11-20 13:00:00"},
		"hours that are gone":           {usage.Query{Since: past(usage.KeepHours + time.Hour), Until: past(usage.KeepHours - 48*time.Hour)}, usage.Day, "08-26 00:00:00", "08-29 00:00:00"},
		"gone, per minute":              {usage.Query{Since: at("11-01 09:30:00"), Until: at("11-23 12:15:00"), Per: usage.Minute}, usage.Minute, "11-22 15:04:00", "11-23 12:15:00"},
		"nothing is kept for that long": {usage.Query{Since: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Per: usage.Hour}, usage.Hour, "08-26 15:00:00", "11-24 16:00:00"},
		"nothing there":                 {usage.Query{}, usage.Day, "11-25 00:00:00", "11-25 00:00:00"},
	} {
		t.Run(name, func(t *testing.T) {
			r := read(t, db, tc.q)
			if r.Grain != tc.grain || !r.Since.Equal(at(tc.since)) || !r.Until.Equal(at(tc.until)) {
				t.Errorf("from %s to %s, of %ss; want from %s to %s, of %ss", r.Since, r.Until, r.Grain, at(tc.since), at(tc.until), tc.grain)
			}
			if r.Rows == nil || len(r.Rows) != 0 {
				t.Errorf("rows = %#v, want none", r.Rows)
			}
		})
	}
}

func TestFiltersAndDimensions(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		subscribe(t, db)
		set := func(product, api, operation string) func(*wire.UsageRow) {
			return func(r *wire.UsageRow) { r.Product, r.API, r.Operation = product, api, operation }
		}
		add(t, db,
			row("11-24 15:00:00", 1), row("11-24 15:00:00", 2, of(2)), row("11-24 15:00:00", 4, of(3)), row("11-24 15:00:00", 8, of(4)),
			row("11-24 15:00:00", 16, of(0), set("", "", ""), outcome(wire.CallOther)), row("11-24 15:00:00", 32, of(77)),
			row("11-24 15:00:00", 64, set("Unlimited", "Demo", "Status")), row("11-24 15:00:00", 128, set("Unlimited", "Else", "Execute")))
		for name, tc := range map[string]struct {
			q    usage.Query
			want []string
		}{
			"nothing":                             {usage.Query{}, []string{"255"}},
			"by subscription":                     {usage.Query{By: []usage.Dimension{usage.BySubscription}}, []string{"193 alice 1", "32  77", "16  0", "8 carol 4", "4 carol 3", "2 bob 2"}},
			"by developer":                        {usage.Query{By: []usage.Dimension{usage.ByDeveloper}}, []string{"201 alice@example.org", "48", "4 carol@example.org", "2 bob@example.org"}},
			"by product":                          {usage.Query{By: []usage.Dimension{usage.ByProduct}}, []string{"192 Unlimited", "47 Starter", "16"}},
			"by API and operation":                {usage.Query{By: []usage.Dimension{usage.ByOperation, usage.ByAPI}}, []string{"128 Else Execute", "64 Demo Status", "47 Demo Execute", "16"}},
			"a subscription by its name":          {usage.Query{Subscription: "alice"}, []string{"193"}},
			"of a name given twice, the live one": {usage.Query{Subscription: "carol"}, []string{"8"}},
			"one that was removed":                {usage.Query{Subscription: "bob"}, []string{"2"}},
			"by its id":                           {usage.Query{Subscription: "3"}, []string{"4"}},
			"by an id that never was":             {usage.Query{Subscription: "78"}, nil},
			"a name that never was":               {usage.Query{Subscription: "mallory"}, nil},
			"a name that is hostile":              {usage.Query{Subscription: "' OR 1=1 --\x00\xff", API: "\x00"}, nil},
			"a developer":                         {usage.Query{Developer: "alice@example.org", By: []usage.Dimension{usage.BySubscription}}, []string{"193 alice 1", "8 carol 4"}},
			"a product":                           {usage.Query{Product: "Unlimited"}, []string{"192"}},
			"an API":                              {usage.Query{API: "Else"}, []string{"128"}},
			"an operation of an API":              {usage.Query{API: "Demo", Operation: "Execute"}, []string{"47"}},
			"an outcome":                          {usage.Query{Outcome: wire.CallOther}, []string{"16"}},
			"all of a subscription's":             {usage.Query{Subscription: "alice", Developer: "alice@example.org", Product: "Starter", API: "Demo", Operation: "Execute", Outcome: wire.CallSuccess}, []string{"1"}},
			"the first ones":                      {usage.Query{By: []usage.Dimension{usage.ByProduct}, Limit: 2}, []string{"192 Unlimited", "47 Starter", "more"}},
			"just as many":                        {usage.Query{By: []usage.Dimension{usage.ByProduct}, Limit: 3}, []string{"192 Unlimited", "47 Starter", "16"}},
		} {
			t.Run(name, func(t *testing.T) {
				r := read(t, db, tc.q)
				var got []string
				for _, w := range r.Rows {
					words := []string{fmt.Sprint(w.Calls), w.Developer, w.Product, w.API, w.Operation, string(w.Outcome)}
					words = slices.DeleteFunc(words, func(word string) bool { return word == "" })
					if slices.Contains(tc.q.By, usage.BySubscription) {
						words = append(words, w.Subscription, fmt.Sprint(w.SubscriptionID))
					}
					got = append(got, strings.Join(words, " "))
				}
				if r.More {
					got = append(got, "more")
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestQueriesThatCannotBeAnswered(t *testing.T) {
	db := opened(t, filepath.Join(t.TempDir(), "s.db"))
	for field, q := range map[string]usage.Query{
		"per": {Per: "week"}, "by": {By: []usage.Dimension{"colour"}}, "outcome": {Outcome: "fine"}, "limit": {Limit: usage.LimitMax + 1},
		"since": {Since: now.Add(time.Hour)},
	} {
		_, err := usage.Read(t.Context(), db, q, now)
		var wrong *usage.QueryError
		if !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%+v: %v, want a QueryError about %s", q, err, field)
		}
	}
	if _, err := usage.Read(t.Context(), db, usage.Query{Since: at("11-24 12:00:00"), Until: at("11-24 11:00:00")}, now); err == nil {
		t.Error("a span that ends before it begins was answered")
	}
}

// Names are cut where the catalog's never are, and what then is alike becomes one row.
func TestNamesAreBounded(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		long := strings.Repeat("ü", wire.UsageNameMax/2)
		named := func(api string) func(*wire.UsageRow) { return func(r *wire.UsageRow) { r.API = api } }
		add(t, db, row("11-24 15:00:00", 1, named(long)), row("11-24 15:00:00", 1, named(long+"b")), row("11-24 15:00:00", 1, named("a"+long)),
			row("11-24 15:00:00", 1, named("nul\x00")), row("11-24 15:00:00", 1, named("bad\xff")))
		got := map[string]int64{}
		for _, r := range read(t, db, usage.Query{By: []usage.Dimension{usage.ByAPI}}).Rows {
			got[r.API] = r.Calls
		}
		want := map[string]int64{long: 2, "a" + strings.Repeat("ü", wire.UsageNameMax/2-1): 1, "nul\uFFFD": 1, "bad\uFFFD": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Several sidecars add the same rows in other orders, many at once: none is lost, none comes
// twice, and none fails.
func TestSidecarsAddAtOnce(t *testing.T) {
	const sidecars, each, alike = 4, 25, 40
	source := postgrestest.Shared(t).Database(t)
	first := opened(t, source)
	var running sync.WaitGroup
	for i := range sidecars {
		db := first
		if i > 0 {
			db = opened(t, source)
		}
		running.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range each {
				var rows []wire.UsageRow
				for _, n := range random.Perm(alike) {
					rows = append(rows, row("11-24 15:00:00", 1, of(uint32(n+1)), func(r *wire.UsageRow) { r.Minute += int64(n % 3) }))
				}
				if err := db.Transact(context.Background(), "adding", func(tx *database.Tx) error { return usage.Add(context.Background(), tx, rows) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	for _, per := range []usage.Grain{usage.Minute, usage.Hour, usage.Day} {
		r := read(t, first, usage.Query{Per: per, By: []usage.Dimension{usage.BySubscription}})
		if len(r.Rows) != alike {
			t.Fatalf("per %s: %d rows, want %d", per, len(r.Rows), alike)
		}
		for _, w := range r.Rows {
			if w.Calls != sidecars*each || w.Backend.Calls != sidecars*each || w.RequestBytes != 100*sidecars*each {
				t.Errorf("per %s: subscription %d has %d calls, want %d", per, w.SubscriptionID, w.Calls, sidecars*each)
			}
		}
	}
}

func TestPruneForgetsWhatIsOld(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		minute := func(age time.Duration) wire.UsageRow {
			return row("11-24 15:00:00", 1, func(r *wire.UsageRow) { r.Minute = now.Add(-age).Unix() / 60 })
		}
		add(t, db, minute(0), minute(usage.KeepMinutes-time.Minute), minute(usage.KeepMinutes+time.Minute), minute(usage.KeepMinutes+2*time.Hour),
			minute(usage.KeepHours+time.Hour), minute(usage.KeepDays+24*time.Hour))
		count := func() (n [3]int) {
			must(t, db.View(t.Context(), "counting", func(tx *database.Tx) error {
				for i, table := range []string{"usage_minute", "usage_hour", "usage_day"} {
					if err := tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n[i]); err != nil {
						return err
					}
				}
				return nil
			}))
			return n
		}
		if got, want := count(), [3]int{6, 5, 4}; got != want {
			t.Fatalf("rows %v before, want %v", got, want)
		}
		must(t, usage.Prune(t.Context(), db, now)) // of each table the oldest part only
		if got, want := count(), [3]int{5, 4, 3}; got != want {
			t.Errorf("rows %v after the first time, want %v", got, want)
		}
		for range 4 {
			must(t, usage.Prune(t.Context(), db, now))
		}
		if got, want := count(), [3]int{2, 3, 3}; got != want {
			t.Errorf("rows %v in the end, want %v", got, want)
		}
	})
}
