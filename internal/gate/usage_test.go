package gate_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

// report takes all that a gate has to report, as several reports or one, rows in order.
func (f *fixture) report() (all wire.UsageReport) {
	f.t.Helper()
	for {
		r, ok := f.gate.Report()
		if !ok {
			break
		}
		if len(r.Rows) > 500 || len(r.Keys) > 500 {
			f.t.Errorf("a report of %d rows and %d keys", len(r.Rows), len(r.Keys))
		}
		if r.Version != wire.Version {
			f.t.Errorf("version %d", r.Version)
		}
		if all.Store != "" && all.Store != r.Store {
			f.t.Errorf("reports of two stores, %s and %s", all.Store, r.Store)
		}
		all.Store = r.Store
		all.Rows, all.Keys = append(all.Rows, r.Rows...), append(all.Keys, r.Keys...)
		all.UsageDropped += r.UsageDropped
	}
	slices.SortFunc(all.Rows, func(a, b wire.UsageRow) int {
		return cmp.Or(cmp.Compare(a.Minute, b.Minute), cmp.Compare(a.Subscription, b.Subscription), strings.Compare(a.Product+a.API+a.Operation, b.Product+b.API+b.Operation),
			cmp.Compare(a.Outcome, b.Outcome))
	})
	slices.SortFunc(all.Keys, func(a, b wire.KeyUse) int {
		return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Expires, b.Expires))
	})
	return all
}

// finish plays a forwarded request to its end: the head of the response comes 4 ms after it
// was forwarded, and the end 6 ms later.
func (f *fixture) finish(x *gate.Exchange, status int) {
	f.now = f.now.Add(4 * time.Millisecond)
	if x.Waits() {
		x.Responded(f.now)
	}
	x.ResponseHead(0)
	f.now = f.now.Add(6 * time.Millisecond)
	f.end(x, status)
}

// end is the end of a stream, as the host tells of it.
func (f *fixture) end(x *gate.Exchange, status int) {
	x.Done(0, 0, f.now)
	x.Ended(gate.End{Status: status, RequestBytes: 100, ResponseBytes: 1000}, f.now)
}

func times(calls int64, bucket int, micros int64) wire.UsageTimes {
	counts := make([]int64, bucket+1)
	counts[bucket] = calls
	return wire.UsageTimes{Counts: counts, SumMicros: calls * micros, MinMicros: micros, MaxMicros: micros}
}

func TestEachCallIsCountedOnce(t *testing.T) {
	minute := start.Unix() / 60
	key := "ocp-apim-subscription-key: "
	forwarded := func(status int) func(*fixture) {
		return func(f *fixture) {
			x, outcome := f.execute()
			wantStep(f.t, gate.Ask, outcome)
			f.now = f.now.Add(time.Millisecond)
			wantStep(f.t, gate.Forward, x.Answered(allow(f), f.now))
			f.finish(x, status)
			f.end(x, status) // the host says it twice
		}
	}
	refused := func(pairs [][2]string) func(*fixture) {
		return func(f *fixture) {
			x, outcome := f.begin(pairs)
			wantStep(f.t, gate.Reply, outcome)
			if x.Waits() {
				f.t.Error("a request that was refused waits for the backend")
			}
			f.now = f.now.Add(2 * time.Millisecond)
			f.end(x, 200) // the gate knows better
		}
	}
	row := func(subscription uint32, product, api, operation string, outcome wire.CallOutcome) wire.UsageRow {
		return wire.UsageRow{Minute: minute, Subscription: subscription, Product: product, API: api, Operation: operation, Outcome: outcome,
			Calls: 1, RequestBytes: 100, ResponseBytes: 1000, Total: times(1, 1, 2000)}
	}
	served := func(outcome wire.CallOutcome) wire.UsageRow {
		r := row(1, "Unlimited", "Demo", "Execute", outcome)
		r.Total, r.Backend = times(1, 4, 11_000), times(1, 2, 4000)
		return r
	}
	for name, tc := range map[string]struct {
		play func(*fixture)
		want []wire.UsageRow
	}{
		"success":             {forwarded(200), []wire.UsageRow{served(wire.CallSuccess)}},
		"failed":              {forwarded(502), []wire.UsageRow{served(wire.CallFailed)}},
		"blocked":             {forwarded(403), []wire.UsageRow{served(wire.CallBlocked)}},
		"other":               {forwarded(404), []wire.UsageRow{served(wire.CallOther)}},
		"no response":         {forwarded(0), []wire.UsageRow{served(wire.CallOther)}},
		"no key":              {refused(request("POST", "/demo/execute/m1")), []wire.UsageRow{row(0, "", "Demo", "Execute", wire.CallBlocked)}},
		"an unknown key":      {refused(request("POST", "/demo/execute/m1", key+"x"+goodKey)), []wire.UsageRow{row(0, "", "Demo", "Execute", wire.CallBlocked)}},
		"a suspended one":     {refused(request("POST", "/demo/execute/m1", key+suspendedKey)), []wire.UsageRow{row(2, "Unlimited", "Demo", "Execute", wire.CallBlocked)}},
		"one of another API":  {refused(request("POST", "/demo/execute/m1", key+otherKey)), []wire.UsageRow{row(4, "", "Demo", "Execute", wire.CallBlocked)}},
		"no API":              {refused(request("POST", "/nothing", key+goodKey)), []wire.UsageRow{row(0, "", "", "", wire.CallOther)}},
		"no path":             {refused(nil), []wire.UsageRow{row(0, "", "", "", wire.CallFailed)}},
		"no operation":        {refused(request("DELETE", "/demo/execute/m1", key+goodKey)), []wire.UsageRow{row(0, "", "Demo", "", wire.CallOther)}},
		"probes are nobody's": {func(f *fixture) { x, _ := f.begin(request("GET", gate.ReadyPath)); f.end(x, 200) }, nil},
		"open to all": {func(f *fixture) {
			x, outcome := f.begin(request("POST", "/open/execute/m1"))
			wantStep(f.t, gate.Ask, outcome)
			wantStep(f.t, gate.Forward, x.Answered(wire.Answer{Allow: true, Policy: "p1"}, f.now))
			f.finish(x, 200)
		}, []wire.UsageRow{{Minute: minute, Product: "Free", API: "Open", Operation: "Execute", Outcome: wire.CallSuccess, Calls: 1, RequestBytes: 100, ResponseBytes: 1000,
			Total: times(1, 3, 10_000), Backend: times(1, 2, 4000)}}},
		"denied by the policy": {func(f *fixture) {
			x, _ := f.execute()
			wantStep(f.t, gate.Reply, x.Answered(wire.Answer{Policy: "p1", Status: 404, SubscriptionRevision: 1}, f.now))
			f.now = f.now.Add(2 * time.Millisecond)
			f.end(x, 0)
		}, []wire.UsageRow{row(1, "Unlimited", "Demo", "Execute", wire.CallOther)}},
		"gone while it waited for a decision": {func(f *fixture) {
			x, _ := f.execute()
			f.now = f.now.Add(2 * time.Millisecond)
			f.end(x, 0)
		}, []wire.UsageRow{row(1, "Unlimited", "Demo", "Execute", wire.CallOther)}},
		"gone while the backend worked": {func(f *fixture) {
			x, _ := f.execute()
			x.Answered(allow(f), f.now)
			f.now = f.now.Add(2 * time.Millisecond)
			f.end(x, 0)
		}, []wire.UsageRow{row(1, "Unlimited", "Demo", "Execute", wire.CallOther)}},
		"a submit whose id cannot be read": {func(f *fixture) {
			x, _ := f.begin(request("POST", "/demo/w/w1/jobs", key+goodKey))
			x.Answered(allow(f), f.now)
			wantStep(f.t, gate.Forward, x.Intended(true, f.now))
			f.now = f.now.Add(time.Millisecond)
			x.Responded(f.now)
			wantStep(f.t, gate.Hold, x.ResponseHead(200))
			wantStep(f.t, gate.Reply, x.Created([]byte("no id"), f.now))
			f.now = f.now.Add(time.Millisecond)
			f.end(x, 0)
		}, []wire.UsageRow{{Minute: minute, Subscription: 1, Product: "Unlimited", API: "Demo", Operation: "Submit", Outcome: wire.CallFailed, Calls: 1,
			RequestBytes: 100, ResponseBytes: 1000, Total: times(1, 1, 2000), Backend: times(1, 0, 1000)}}},
		"two that are alike, one that is not, and a minute later": {func(f *fixture) {
			forwarded(200)(f)
			f.now = start
			kept := func(status int) {
				x, outcome := f.execute()
				wantStep(f.t, gate.Forward, outcome)
				f.now = f.now.Add(time.Millisecond)
				f.finish(x, status)
			}
			kept(304)
			f.now = start
			kept(500)
			f.now = start.Add(time.Minute)
			forwarded(200)(f)
		}, []wire.UsageRow{
			func() wire.UsageRow { r := served(wire.CallFailed); r.Backend = times(1, 2, 5000); return r }(),
			func() wire.UsageRow {
				r := served(wire.CallSuccess)
				r.Calls, r.RequestBytes, r.ResponseBytes, r.Total = 2, 200, 2000, times(2, 4, 11_000)
				r.Backend = wire.UsageTimes{Counts: []int64{0, 0, 2}, SumMicros: 9000, MinMicros: 4000, MaxMicros: 5000}
				return r
			}(),
			func() wire.UsageRow {
				r := served(wire.CallSuccess)
				r.Minute = minute + 1
				return r
			}(),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tc.play(f)
			got := f.report()
			if diff := gocmp.Diff(tc.want, got.Rows); diff != "" || got.UsageDropped != 0 || tc.want != nil && got.Store != "s" {
				t.Errorf("store %s, %d dropped, rows (-want +got):\n%s", got.Store, got.UsageDropped, diff)
			}
			if again := f.report(); len(again.Rows) != 0 {
				t.Errorf("reported again: %v", again.Rows)
			}
		})
	}
}

// Whatever clients send, only names of the catalog become keys, so that no flood of paths and
// keys fills the table.
func TestClientsMakeNoRows(t *testing.T) {
	f := newFixture(t)
	for i := range 1000 {
		for _, pairs := range [][][2]string{
			request("POST", fmt.Sprintf("/api-%d/x", i)), request("POST", fmt.Sprintf("/demo/nothing-%d", i)), request(fmt.Sprintf("M%d", i), "/demo/execute/m1"),
			request("POST", fmt.Sprintf("/demo/execute/m%d?q=%d", i, i), fmt.Sprintf("ocp-apim-subscription-key: unknown-key-unknown-key-%d", i)),
		} {
			x, _ := f.begin(pairs)
			f.end(x, 0)
		}
	}
	if got := f.report(); len(got.Rows) != 3 || len(got.Keys) != 0 {
		t.Errorf("%d rows and %d keys, want 3 and none: %v", len(got.Rows), len(got.Keys), got.Rows)
	}
}

// Before there is a snapshot, nobody is known.
func TestCallsWithoutASnapshot(t *testing.T) {
	f := &fixture{t: t, gate: gate.New(), now: start}
	x, _ := f.execute()
	f.end(x, 0)
	got := f.report()
	if len(got.Rows) != 1 || got.Store != "" || got.Rows[0].Outcome != wire.CallFailed || got.Rows[0].API != "" {
		t.Errorf("reported %+v, want one failed call to no API", got)
	}
}

// While nobody takes reports, the table grows to its bound; what goes beyond it is counted.
func TestWhatIsHeldIsBounded(t *testing.T) {
	const held, calls = 8192, 9000
	f := newFixture(t)
	for range calls {
		f.now = f.now.Add(time.Minute)
		x, _ := f.begin(request("POST", "/nothing"))
		f.end(x, 0)
		x, _ = f.begin(request("POST", "/nothing"))
		f.end(x, 0)
	}
	first, _ := f.gate.Report()
	if !f.gate.Behind() || first.UsageDropped != 2*(calls-held) {
		t.Errorf("behind: %v, %d dropped, want more to report and %d", f.gate.Behind(), first.UsageDropped, 2*(calls-held))
	}
	// There is room again, but for what still waits.
	x, _ := f.begin(request("POST", "/nothing"))
	f.end(x, 0)
	rest := f.report()
	if got := len(first.Rows) + len(rest.Rows); got != held+1 || rest.UsageDropped != 0 {
		t.Errorf("%d rows and %d more dropped, want %d and none", got, rest.UsageDropped, held+1)
	}
	if f.gate.Behind() {
		t.Error("there is more, after all was reported")
	}
	f.gate.Refused(first)
	if got := f.report(); got.UsageDropped != 2*(calls-held)+2*int64(len(first.Rows)) || len(got.Rows) != 0 {
		t.Errorf("after the first was refused: %d dropped in %d rows, want its %d calls and drops", got.UsageDropped, len(got.Rows), 2*len(first.Rows))
	}
}

// A report must stay far below what a sidecar reads at once, also where names are long.
func TestReportsAreBoundedInBytes(t *testing.T) {
	name := strings.Repeat("ü", wire.UsageNameMax/2)
	f := newFixture(t, func(f *fixture) {
		f.snapshot.Scopes[0].Product, f.snapshot.APIs[0].Name, f.snapshot.APIs[0].Operations[0].Name = name, name, name
	})
	x, _ := f.execute()
	x.Answered(allow(f), f.now)
	f.end(x, 200)
	for range 1000 {
		f.now = f.now.Add(time.Minute)
		f.gate.Contact(f.now)
		x, _ := f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+suspendedKey))
		f.end(x, 0)
	}
	for rows := 0; rows < 1001; {
		r, ok := f.gate.Report()
		if !ok {
			t.Fatalf("only %d rows were reported", rows)
		}
		bytes := 0
		for _, row := range r.Rows {
			bytes += len(row.Product) + len(row.API) + len(row.Operation) + 500
		}
		if bytes > 300<<10 {
			t.Errorf("a report of %d rows has about %d bytes", len(r.Rows), bytes)
		}
		rows += len(r.Rows)
	}
}

func TestKeysAreSeen(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.records[0].Slot, f.records[1].Slot, f.records[2].Slot, f.records[3].Slot = wire.SlotPrimary, wire.SlotSecondary, wire.SlotPrimary, wire.SlotPrimary
		f.records[2].Subscription, f.records[2].Expires, f.records[2].KeyExpires = 1, 0, uint32(start.Unix())+60
	})
	for i, key := range []string{goodKey, suspendedKey, expiringKey, goodKey} {
		f.now = start.Add(time.Duration(i) * time.Second)
		f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+key))
	}
	f.now = start.Add(time.Minute)
	f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+expiringKey)) // is none any more
	want := []wire.KeyUse{
		{Subscription: 1, Slot: wire.SlotPrimary, TimeMillis: start.Add(3 * time.Second).UnixMilli()},
		{Subscription: 1, Slot: wire.SlotPrimary, Expires: uint32(start.Unix()) + 60, TimeMillis: start.Add(2 * time.Second).UnixMilli()},
		{Subscription: 2, Slot: wire.SlotSecondary, TimeMillis: start.Add(time.Second).UnixMilli()},
	}
	if diff := gocmp.Diff(want, f.report().Keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := f.report(); len(again.Keys) != 0 {
		t.Errorf("reported again: %v", again.Keys)
	}
}

// Subscriptions of one store mean nothing in another: what was counted under the old one is
// lost, and said to be.
func TestAnotherStoreIsAnotherBook(t *testing.T) {
	f := newFixture(t)
	call := func() *gate.Exchange {
		x, outcome := f.execute()
		if outcome.Step == gate.Ask {
			x.Answered(allow(f), f.now)
		}
		return x
	}
	f.end(call(), 200)
	began := call()
	nobodys, _ := f.begin(request("POST", "/nothing"))
	f.snapshot.Revision.Store = "t"
	f.load()
	f.end(began, 200)
	f.end(nobodys, 404)
	f.end(call(), 200)
	got := f.report()
	var calls []uint32
	for _, r := range got.Rows {
		calls = append(calls, r.Subscription)
	}
	if diff := gocmp.Diff([]uint32{0, 1}, calls); diff != "" || got.Store != "t" || got.UsageDropped != 2 {
		t.Errorf("store %s, %d dropped, subscriptions (-want +got):\n%s", got.Store, got.UsageDropped, diff)
	}
}

// What waits to be reported is lost as well.
func TestAnotherStoreWhileReportsWait(t *testing.T) {
	f := newFixture(t)
	for range 700 {
		f.now = f.now.Add(time.Minute)
		x, _ := f.begin(request("POST", "/nothing"))
		f.end(x, 0)
	}
	first, _ := f.gate.Report()
	f.snapshot.Revision.Store = "t"
	f.load()
	if got := f.report(); got.UsageDropped != int64(700-len(first.Rows)) || len(got.Rows) != 0 || f.gate.Behind() {
		t.Errorf("%d dropped and %d rows, want %d and none", got.UsageDropped, len(got.Rows), 700-len(first.Rows))
	}
}

// Calls that are alike are counted on after a report.
func TestCountingGoesOn(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		for range i + 1 {
			x, _ := f.begin(request("POST", "/nothing"))
			f.end(x, 0)
		}
		if got := f.report(); len(got.Rows) != 1 || got.Rows[0].Calls != int64(i+1) {
			t.Errorf("report %d has %+v, want %d calls", i, got.Rows, i+1)
		}
	}
}

func TestHistogramsAddUp(t *testing.T) {
	f := newFixture(t)
	began := start.Add(10 * time.Second)
	f.now = began
	x, _ := f.execute()
	x.Answered(allow(f), f.now)
	for i, d := range []time.Duration{3 * time.Millisecond, -time.Second, time.Millisecond, 40 * time.Second, 1001 * time.Microsecond} {
		if i > 0 {
			x, _ = f.execute()
		}
		f.now = f.now.Add(d)
		f.end(x, 200)
		f.now = began
	}
	want := wire.UsageTimes{Counts: []int64{2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, SumMicros: 40_005_001, MinMicros: 0, MaxMicros: 40_000_000}
	if diff := gocmp.Diff(want, f.report().Rows[0].Total); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
