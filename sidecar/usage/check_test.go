package usage_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/usage"
)

func TestWhatCannotBeIsRefused(t *testing.T) {
	minute := now.Unix() / 60
	for name, tc := range map[string]struct {
		change func(*wire.UsageReport, *wire.UsageRow)
		ok     bool
	}{
		"a row":                            {func(*wire.UsageReport, *wire.UsageRow) {}, true},
		"no rows at all":                   {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Rows = nil }, true},
		"a clock that is half an hour off": {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Minute = minute + 30 }, true},
		"a clock that is two hours off":    {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Minute = minute + 120 }, false},
		"a report that waited for a week":  {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Minute = minute - 7*24*60 }, true},
		"1970":                             {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Minute = 0 }, false},
		"a minute of no time":              {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Minute = 1 << 62 }, false},
		"a minute long before time":        {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Minute = -1 << 63 }, false},
		"another outcome":                  {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Outcome = "great" }, false},
		"no outcome":                       {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Outcome = "" }, false},
		"no calls": {func(_ *wire.UsageReport, w *wire.UsageRow) {
			w.Calls, w.Total, w.Backend = 0, wire.UsageTimes{}, wire.UsageTimes{}
		}, false},
		"negative calls":             {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Calls = -1 }, false},
		"more calls than were timed": {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Calls++ }, false},
		"more than one can serve": {func(_ *wire.UsageReport, w *wire.UsageRow) {
			w.Calls = 1 << 40
			w.Total = wire.UsageTimes{Counts: []int64{1 << 40}, SumMicros: 1, MinMicros: 0, MaxMicros: 1}
		}, false},
		"negative bytes":   {func(_ *wire.UsageReport, w *wire.UsageRow) { w.RequestBytes = -1 }, false},
		"an exabyte":       {func(_ *wire.UsageReport, w *wire.UsageRow) { w.ResponseBytes = 1 << 60 }, false},
		"a negative count": {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Total.Counts = []int64{-1, 4} }, false},
		"a bucket too many": {func(_ *wire.UsageReport, w *wire.UsageRow) {
			w.Total.Counts = append(make([]int64, wire.UsageBuckets), 3)
		}, false},
		"every bucket": {func(_ *wire.UsageReport, w *wire.UsageRow) {
			w.Total.Counts = append(make([]int64, wire.UsageBuckets-1), 3)
		}, true},
		"a minimum beyond the maximum":    {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Total.MinMicros = w.Total.MaxMicros + 1 }, false},
		"a sum beyond what they can take": {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Total.SumMicros = 4 * w.Total.MaxMicros }, false},
		"a sum below the longest":         {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Total.SumMicros = w.Total.MaxMicros - 1 }, false},
		"a sum without a call":            {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Backend = wire.UsageTimes{SumMicros: 1} }, false},
		"more at the backend than came":   {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Backend.Counts = []int64{9} }, false},
		"none at the backend":             {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Backend = wire.UsageTimes{} }, true},
		"a call of ten years":             {func(_ *wire.UsageReport, w *wire.UsageRow) { w.Total = took(time.Second, time.Second, 87600*time.Hour) }, false},
		"too many rows":                   {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Rows = make([]wire.UsageRow, wire.UsageRowsMax+1) }, false},
		"negative drops":                  {func(r *wire.UsageReport, _ *wire.UsageRow) { r.UsageDropped = -1 }, false},
		"absurd drops":                    {func(r *wire.UsageReport, _ *wire.UsageRow) { r.UsageDropped = 1 << 60 }, false},
		"a key of nobody":                 {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Keys[0].Subscription = 0 }, false},
		"a third slot":                    {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Keys[0].Slot = 3 }, false},
		"a key of tomorrow":               {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Keys[0].TimeMillis += 86_400_000 }, false},
		"a key before time":               {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Keys[0].TimeMillis = -1 }, false},
		"too many keys":                   {func(r *wire.UsageReport, _ *wire.UsageRow) { r.Keys = make([]wire.KeyUse, wire.UsageRowsMax+1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &wire.UsageReport{Rows: []wire.UsageRow{row("11-24 15:04:00", 3)}, Keys: []wire.KeyUse{{Subscription: 1, Slot: wire.SlotSecondary, TimeMillis: now.UnixMilli()}}}
			tc.change(r, &r.Rows[0])
			if err := usage.Check(r, now); (err == nil) != tc.ok {
				t.Errorf("Check: %v, want it accepted: %v", err, tc.ok)
			}
		})
	}
}
