package usage

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// What a row may say. All of it is far beyond what one worker can see in one minute.
const (
	ahead     = time.Hour // of our clock
	callsMax  = 100_000_000
	bytesMax  = 1 << 50
	timeMax   = 366 * 24 * time.Hour
	summedMax = 1 << 53 // microseconds
)

// Check says whether a report may be taken: a filter that is broken, or none, does not get to
// write what cannot be. The error is for people; it holds nothing of the report.
func Check(r *wire.UsageReport, now time.Time) error {
	if len(r.Rows) > wire.UsageRowsMax || len(r.Keys) > wire.UsageRowsMax {
		return fmt.Errorf("a report has at most %d rows and as many keys", wire.UsageRowsMax)
	}
	if r.UsageDropped < 0 || r.UsageDropped > bytesMax {
		return errors.New("usage_dropped is out of range")
	}
	for i := range r.Rows {
		if err := checkRow(&r.Rows[i], now); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	for i, k := range r.Keys {
		if k.Subscription == 0 || k.Slot != wire.SlotPrimary && k.Slot != wire.SlotSecondary {
			return fmt.Errorf("key %d: there is no such slot of a subscription", i)
		}
		if k.TimeMillis < 0 || k.TimeMillis > now.Add(ahead).UnixMilli() {
			return fmt.Errorf("key %d: its time is in the future, or before 1970", i)
		}
	}
	return nil
}

func checkRow(r *wire.UsageRow, now time.Time) error {
	if minute := int64(time.Minute / time.Second); r.Minute < now.Add(-KeepDays).Unix()/minute || r.Minute > now.Add(ahead).Unix()/minute {
		return errors.New("its minute is in the future, or too long ago")
	}
	switch {
	case !slices.Contains(outcomes, r.Outcome):
		return errors.New("there is no such outcome")
	case r.Calls < 1 || r.Calls > callsMax:
		return errors.New("calls is out of range")
	case r.RequestBytes < 0 || r.RequestBytes > bytesMax || r.ResponseBytes < 0 || r.ResponseBytes > bytesMax:
		return errors.New("bytes are out of range")
	}
	timed, ok := plausible(r.Total)
	if !ok || timed != r.Calls {
		return errors.New("total is no histogram of the calls")
	}
	if timed, ok := plausible(r.Backend); !ok || timed > r.Calls {
		return errors.New("backend is no histogram of the calls")
	}
	return nil
}

// plausible says how many calls a histogram has, and whether it can be one.
func plausible(t wire.UsageTimes) (calls int64, ok bool) {
	if len(t.Counts) > wire.UsageBuckets {
		return 0, false
	}
	for _, n := range t.Counts {
		if n < 0 || n > callsMax {
			return 0, false
		}
		calls += n
	}
	if calls == 0 {
		return 0, t.SumMicros == 0 && t.MinMicros == 0 && t.MaxMicros == 0
	}
	return calls, t.MinMicros >= 0 && t.MinMicros <= t.MaxMicros && t.MaxMicros <= timeMax.Microseconds() &&
		t.SumMicros >= t.MaxMicros && t.SumMicros <= summedMax && t.SumMicros/calls <= t.MaxMicros
}
