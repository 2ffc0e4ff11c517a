package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/usage"
)

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := table(&b, []string{"NAME", "TEXT", "N"}, [][]string{{"a", "", "1"}, {"longer name", "two\nlines\x1b[31m \u202etxet", "22"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME         TEXT                N\na            -                   1\nlonger name  two lines[31m txet  22\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPrintUsage(t *testing.T) {
	at := time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC)
	report := usage.Report{Since: at, Until: at.Add(time.Hour), Grain: usage.Minute, Per: usage.Hour, By: []usage.Dimension{usage.BySubscription, usage.ByAPI}, Rows: []usage.Row{
		{Time: at, Subscription: "ada-starter", SubscriptionID: 1, API: "Demo", Calls: 12, Success: 9, Blocked: 2, Failed: 1, RequestBytes: 1536, ResponseBytes: 12,
			Total:   usage.Times{Calls: 12, AverageMicros: 1234567, P95Micros: 12345},
			Backend: usage.Times{Calls: 10, AverageMicros: 999, P95Micros: 15_000_001}},
		{Time: at, Calls: 1, Blocked: 1, ResponseBytes: 152},
	}}
	for format, want := range map[string]string{
		formatTable: "TIME                  SUBSCRIPTION  API   CALLS  SUCCESS  BLOCKED  FAILED  OTHER  IN      OUT   AVERAGE  P95     BACKEND-AVERAGE  BACKEND-P95\n" +
			"2027-01-31T10:00:00Z  ada-starter   Demo  12     9        2        1       0      1.5KiB  12B   1.23s    12.3ms  999µs            15s\n" +
			"2027-01-31T10:00:00Z  -             -     1      0        1        0       0      0B      152B  -        -       -                -\n",
		formatCSV: "time,subscription,subscription_id,api,calls,success,blocked,failed,other,request_bytes,response_bytes," +
			"total_calls,total_average_micros,total_min_micros,total_max_micros,total_p50_micros,total_p95_micros,total_p99_micros," +
			"backend_calls,backend_average_micros,backend_min_micros,backend_max_micros,backend_p50_micros,backend_p95_micros,backend_p99_micros\r\n" +
			"2027-01-31T10:00:00Z,ada-starter,1,Demo,12,9,2,1,0,1536,12,12,1234567,0,0,0,12345,0,10,999,0,0,0,15000001,0\r\n" +
			"2027-01-31T10:00:00Z,,0,,1,0,1,0,0,0,152,0,0,0,0,0,0,0,0,0,0,0,0,0,0\r\n",
	} {
		t.Run(format, func(t *testing.T) {
			var b bytes.Buffer
			if err := printUsage(&b, &output{format: format}, report); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, b.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestSizeAndMicros(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 1536: "1.5KiB", 1<<20 - 1: "1.0MiB", 1 << 20: "1.0MiB", 5 << 40: "5.0TiB", 5 << 50: "5120.0TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d bytes are %s, want %s", n, got, want)
		}
	}
	measured := usage.Times{Calls: 1}
	for n, want := range map[int64]string{0: "0s", 999: "999µs", 1234: "1.234ms", 12345: "12.3ms", 1_234_567: "1.23s", 75_449_999: "1m15.4s"} {
		if got := micros(measured, n); got != want {
			t.Errorf("%d us are %s, want %s", n, got, want)
		}
	}
	if got := micros(usage.Times{}, 0); got != "" {
		t.Errorf("what was not measured took %s", got)
	}
	if len(outcomes) != 4 || outcomes[0] != string(wire.CallSuccess) {
		t.Errorf("outcomes are %v", outcomes)
	}
}

func TestMoments(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Time{
		"2027-01-31":                time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC),
		"2027-01-31T01:00:00+01:00": time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC),
		"30d":                       now.Add(30 * 24 * time.Hour),
		"12h":                       now.Add(12 * time.Hour),
	} {
		got, err := moment("--expires", text)
		if err != nil || got.Sub(want).Abs() > time.Minute {
			t.Errorf("%s is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "tomorrow", "0s", "-1h", "2027-13-01"} {
		if got, err := moment("--expires", text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	if got, err := past("--since", "24h"); err != nil || got.Sub(now.Add(-24*time.Hour)).Abs() > time.Minute {
		t.Errorf("24h ago was %v (%v)", got, err)
	}
	if got, err := past("--since", "-24h"); err == nil {
		t.Errorf("-24h ago is %v", got)
	}
}
