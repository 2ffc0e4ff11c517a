package filterapi_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/usage"
)

func TestUsageReports(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	report := func(sequence uint64, change ...func(*wire.UsageReport)) wire.UsageReport {
		r := wire.UsageReport{Version: wire.Version, VM: "vm", Sequence: sequence, Store: s.store.ID(), UsageDropped: 5, Rows: []wire.UsageRow{
			{Minute: s.clock().Unix() / 60, Subscription: 1, Product: "Unlimited", API: "Demo", Operation: "Execute", Outcome: wire.CallSuccess, Calls: 3,
				Total: wire.UsageTimes{Counts: []int64{3}, SumMicros: 30, MinMicros: 10, MaxMicros: 10}},
			{Minute: s.clock().Unix() / 60, Outcome: wire.CallBlocked, Calls: 1, Total: wire.UsageTimes{Counts: []int64{1}, SumMicros: 1, MinMicros: 1, MaxMicros: 1}},
		}}
		for _, c := range change {
			c(&r)
		}
		return r
	}
	for _, step := range []struct {
		name    string
		send    wire.UsageReport
		status  int
		blocked float64
	}{
		{"first", report(1), 200, 1},
		{"again", report(1), 200, 1},
		{"of another store", report(2, func(r *wire.UsageReport) { r.Store = "another" }), 409, 1},
		{"a minute that is not yet", report(2, func(r *wire.UsageReport) { r.Rows[1].Minute += 24 * 60 }), 400, 1},
		{"an outcome that there is not", report(2, func(r *wire.UsageReport) { r.Rows[0].Outcome = "splendid" }), 400, 1},
		{"negative calls", report(2, func(r *wire.UsageReport) { r.Rows[0].Calls = -3 }), 400, 1},
		{"a later version", report(2, func(r *wire.UsageReport) { r.Version = wire.Version + 1 }), 400, 1},
		{"the next", report(2), 200, 2},
		{"without a store", report(3, func(r *wire.UsageReport) { r.Store, r.Rows = "", r.Rows[1:] }), 200, 3},
	} {
		if status, _ := s.call(http.MethodPost, wire.PathUsage, step.send, nil); status != step.status {
			t.Errorf("%s: status %d, want %d", step.name, status, step.status)
		}
		s.await("tollgate_usage_calls_total", step.blocked)
	}
	s.await("tollgate_usage_dropped_total", 15)
	r, err := s.store.Usage(t.Context(), usage.Query{By: []usage.Dimension{usage.ByOutcome}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[wire.CallOutcome]int64{}
	for _, row := range r.Rows {
		got[row.Outcome] = row.Calls
	}
	if diff := cmp.Diff(map[wire.CallOutcome]int64{wire.CallSuccess: 6, wire.CallBlocked: 3}, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A filter of the version before reports denials alone.
func TestUsageOfTheVersionBefore(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	report, err := os.ReadFile("../../internal/wire/testdata/usage_report.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, _ := s.call(http.MethodPost, wire.PathUsage, string(report), nil); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	s.await("tollgate_filter_denials_total", 1)
	s.await("tollgate_filter_denials_unreported_total", 2)
}

// While the store is gone each worker comes back each tick; the log says it once.
func TestUsageThatCannotBeTakenIsToldOnce(t *testing.T) {
	s := start(t, options{wrap: func(l filterapi.Store) filterapi.Store { return broken{l} }})
	s.apply(demo())
	for range 5 {
		if status, header := s.call(http.MethodPost, wire.PathUsage, wire.UsageReport{Version: wire.Version, VM: "vm", Sequence: 1}, nil); status != 503 || header.Get("Retry-After") != "1" {
			t.Errorf("status %d, Retry-After %q", status, header.Get("Retry-After"))
		}
		s.setClock(s.clock().Add(250 * time.Millisecond))
	}
	if n := strings.Count(s.log.String(), "usage"); n != 1 {
		t.Errorf("the log speaks of it %d times:\n%s", n, s.log.String())
	}
}
