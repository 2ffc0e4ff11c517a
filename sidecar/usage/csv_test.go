package usage_test

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/usage"
)

func TestCSV(t *testing.T) {
	times := usage.Times{Calls: 2, AverageMicros: 3, MinMicros: 4, MaxMicros: 5, P50Micros: 6, P95Micros: 7, P99Micros: 8}
	r := usage.Report{Per: usage.Hour, By: []usage.Dimension{usage.BySubscription, usage.ByAPI, usage.ByOutcome}, Rows: []usage.Row{
		{Time: at("11-24 15:00:00"), Subscription: `a "quoted", name`, SubscriptionID: 42, API: "two\nlines", Outcome: "other", Calls: 1, Success: 2, Blocked: 3, Failed: 4, Other: 5,
			RequestBytes: 6, ResponseBytes: 7, Total: times},
		{},
	}}
	var b strings.Builder
	if err := r.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	want := "time,subscription,subscription_id,api,outcome,calls,success,blocked,failed,other,request_bytes,response_bytes," +
		"total_calls,total_average_micros,total_min_micros,total_max_micros,total_p50_micros,total_p95_micros,total_p99_micros," +
		"backend_calls,backend_average_micros,backend_min_micros,backend_max_micros,backend_p50_micros,backend_p95_micros,backend_p99_micros\r\n" +
		"2026-11-24T15:00:00Z,\"a \"\"quoted\"\", name\",42,\"two\r\nlines\",other,1,2,3,4,5,6,7,2,3,4,5,6,7,8,0,0,0,0,0,0,0\r\n" +
		"0001-01-01T00:00:00Z,,0,,,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\r\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A name is whatever its owner likes, and a spreadsheet calculates with what looks like it.
func TestCSVHoldsNoFormula(t *testing.T) {
	for name, want := range map[string]string{
		"=HYPERLINK(1)": "'=HYPERLINK(1)", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1",
		"a=b": "a=b", "'=1": "'=1", "": "", "ünlü": "ünlü",
	} {
		for _, d := range usage.Dimensions {
			if d == usage.ByOutcome { // which is ours
				continue
			}
			row := usage.Row{Subscription: name, Developer: name, Product: name, API: name, Operation: name}
			var b strings.Builder
			if err := (usage.Report{By: []usage.Dimension{d}, Rows: []usage.Row{row}}).WriteCSV(&b); err != nil {
				t.Fatal(err)
			}
			cells, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
			if err != nil || cells[1][0] != want {
				t.Errorf("%s %q became %q, want %q (%v)", d, name, cells[1][0], want, err)
			}
		}
	}
}
