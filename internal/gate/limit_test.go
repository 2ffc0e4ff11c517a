package gate_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

var (
	minute = wire.Limit{Name: "minute", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 5, WindowMillis: 60_000}
	large  = wire.Limit{Name: "hour", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 1_000_000, WindowMillis: 3_600_000}
	week   = wire.Limit{Name: "week", Key: "subscription:1", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: 100, WindowMillis: 604_800_000}
)

// granted is an allow under limits, with a lease of so many units on each.
func granted(f *fixture, units int64, limits ...wire.Limit) wire.Answer {
	a := allow(f)
	a.Limits = limits
	for i := range limits {
		a.Leases = append(a.Leases, wire.Lease{Limit: i, Counter: int64(10 + i), Units: units, LifeMillis: 2000, Left: limits[i].Amount - units, ResetMillis: 59_001})
	}
	return a
}

func exhausted(f *fixture, retryMillis int64, limits ...wire.Limit) wire.Answer {
	a := allow(f)
	a.Limits, a.Exhausted = limits, &wire.Exhausted{Limit: len(limits) - 1, RetryMillis: retryMillis}
	return a
}

func headers(pairs [][2]string) map[string]string {
	m := map[string]string{}
	for _, pair := range pairs {
		m[pair[0]] = pair[1]
	}
	return m
}

// said is what the next tick says to the ledger.
func (f *fixture) said() gate.Round {
	round, _ := f.gate.Tick(f.now)
	return round
}

func TestALeaseIsSpentWithoutAsking(t *testing.T) {
	f := newFixture(t)
	x, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
	if take := outcome.Ask.Take; take == nil || !take.Waiting || take.ID == 0 {
		t.Fatalf("take %+v", take)
	}
	wantStep(t, gate.Forward, x.Answered(granted(f, 3, large), f.now))
	for range 2 {
		_, outcome = f.execute()
		wantStep(t, gate.Forward, outcome)
	}
	_, outcome = f.execute()
	wantStep(t, gate.Ask, outcome)
	if want := []wire.Demand{{Name: "hour", Key: "subscription:1", Units: 16}}; !cmp.Equal(want, outcome.Ask.Take.Wanted) {
		t.Errorf("wanted %+v, want %+v", outcome.Ask.Take.Wanted, want)
	}
}

func TestWhatIsHeldIsNotTakenAgain(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	answer := granted(f, 1, minute, large)
	answer.Leases[1].Units = 10
	wantStep(t, gate.Forward, x.Answered(answer, f.now))
	x, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
	if want := []wire.Demand{{Name: "hour", Key: "subscription:1"}}; !cmp.Equal(want, outcome.Ask.Take.Held) {
		t.Errorf("held %+v, want %+v", outcome.Ask.Take.Held, want)
	}
	if want := []wire.Settlement{{Take: 1, Counter: 10, Spent: 1}}; !cmp.Equal(want, outcome.Message.Settlements) {
		t.Errorf("settled %+v, want %+v", outcome.Message.Settlements, want)
	}
	// What was held runs dry meanwhile: it asks again, for all.
	onlyMinute := func() wire.Answer {
		a := granted(f, 1, minute, large)
		a.Leases = a.Leases[:1]
		return a
	}
	for range 9 {
		other, _ := f.execute()
		wantStep(t, gate.Forward, other.Answered(onlyMinute(), f.now))
	}
	outcome = x.Answered(onlyMinute(), f.now)
	wantStep(t, gate.Ask, outcome)
	if held := outcome.Ask.Take.Held; len(held) > 0 {
		t.Errorf("it still counts on %+v", held)
	}
}

func TestRateLimitFieldsOnEveryAnswer(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	x.Answered(granted(f, 1, minute, week), f.now)
	want := map[string]string{"ratelimit-policy": `"minute";q=5;w=60,"week";q=100;w=604800`, "ratelimit": `"minute";r=4;t=60`}
	if diff := cmp.Diff(want, headers(x.ResponseHead(200).Edits.Set)); diff != "" {
		t.Errorf("let pass (-want +got):\n%s", diff)
	}
	x, _ = f.execute()
	outcome := x.Answered(exhausted(f, 56_001, week, minute), f.now)
	wantRefusal(t, 429, "rate_limited", outcome)
	got := headers(outcome.Reply.Headers)
	if got["ratelimit-policy"] != `"week";q=100;w=604800,"minute";q=5;w=60` || got["ratelimit"] != `"minute";r=0;t=57` || got["retry-after"] != "57" {
		t.Errorf("refused with %v", got)
	}
	if want := `{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds." }`; string(outcome.Reply.Body) != want {
		t.Errorf("body %s, want %s", outcome.Reply.Body, want)
	}
}

func TestARefusalIsRememberedAndSaysWhichLimit(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	x.Answered(exhausted(f, 3_600_000, week), f.now)
	f.now = f.now.Add(10 * time.Second)
	x, outcome := f.execute()
	wantRefusal(t, 403, "quota_exceeded", outcome)
	if got := headers(outcome.Reply.Headers)["retry-after"]; got != "3590" {
		t.Errorf("retry-after %s, want 3590", got)
	}
	if got := x.Identity(); got.Decision != "d1" || got.Reason != "quota_exceeded" {
		t.Errorf("identity %+v", got)
	}
	report, _ := f.gate.Report()
	if len(report.Denials) != 2 || report.Denials[1].Limit != "week" || report.Denials[1].Decision != "d1" {
		t.Errorf("denials %+v", report.Denials)
	}
	f.snapshot.Resets++
	f.load()
	_, outcome = f.execute()
	wantStep(t, gate.Ask, outcome)
}

func TestWhatNobodyWaitsForIsGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		end       func(*fixture, *gate.Exchange)
		settled   []wire.Settlement
		abandoned []uint64
	}{
		"the stream is gone": {func(f *fixture, x *gate.Exchange) { x.Done(0, 0, f.now) }, nil, []uint64{1}},
		"there is no answer": {func(f *fixture, x *gate.Exchange) { x.Unavailable(f.now); x.Done(0, 0, f.now) }, nil, []uint64{1}},
		"the ledger is not there": {func(f *fixture, x *gate.Exchange) {
			x.Answered(wire.Answer{Error: "ledger_unavailable", Status: 503, Policy: "p1"}, f.now)
			x.Done(0, 0, f.now)
		}, nil, []uint64{1}},
		"the key was revoked": {func(f *fixture, x *gate.Exchange) {
			f.records[0].State = wire.StateSuspended
			f.records[0].Revision++
			f.load()
			x.Answered(granted(f, 1, minute), f.now)
		}, []wire.Settlement{{Take: 1, Counter: 10}}, nil},
		"the policy has moved": {func(f *fixture, x *gate.Exchange) {
			a := granted(f, 1, minute)
			f.snapshot.Policy.Revision = "p2"
			f.load()
			x.Answered(a, f.now)
			x.Done(0, 0, f.now)
		}, nil, []uint64{2}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			x, _ := f.execute()
			c.end(f, x)
			said := f.said().Message
			if diff := cmp.Diff(c.abandoned, said.Abandoned); diff != "" {
				t.Errorf("abandoned (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.settled, said.Settlements); diff != "" && c.settled != nil {
				t.Errorf("settled (-want +got):\n%s", diff)
			}
		})
	}
}

// Between the spending and the backend nothing may come: the intent of a submit goes first.
func TestASubmitSpendsAfterItsIntent(t *testing.T) {
	f := newFixture(t)
	submit := func() (*gate.Exchange, gate.Outcome) {
		return f.begin(request("POST", "/demo/w/w1/jobs", "ocp-apim-subscription-key: "+goodKey))
	}
	x, outcome := submit()
	wantStep(t, gate.Ask, outcome)
	wantStep(t, gate.Record, x.Answered(granted(f, 1, minute), f.now))
	f.now = f.now.Add(1500 * time.Millisecond)
	wantStep(t, gate.Forward, x.Intended(true, f.now))
	if got := f.said().Message.Settlements; len(got) != 1 || got[0].AgeMillis != 1500 {
		t.Errorf("settled %+v, want one of 1500 ms", got)
	}

	x, outcome = submit()
	wantStep(t, gate.Ask, outcome)
	wantStep(t, gate.Record, x.Answered(granted(f, 1, minute), f.now))
	f.now = f.now.Add(2500 * time.Millisecond) // the permit is over
	outcome = x.Intended(true, f.now)
	wantStep(t, gate.Ask, outcome)
	wantStep(t, gate.Forward, x.Answered(granted(f, 1, minute), f.now)) // and no second intent

	x, _ = submit()
	wantStep(t, gate.Record, x.Answered(granted(f, 1, minute), f.now))
	wantRefusal(t, 503, "sidecar_unavailable", x.Intended(false, f.now))
	settlements := f.said().Message.Settlements
	if last := settlements[len(settlements)-1]; last.Spent != 0 {
		t.Errorf("a submit that was refused spent: %+v", settlements)
	}
}

func TestAStreamThatEndsWhileItsIntentWaits(t *testing.T) {
	f := newFixture(t)
	submit := func() (*gate.Exchange, gate.Outcome) {
		return f.begin(request("POST", "/demo/w/w1/jobs", "ocp-apim-subscription-key: "+goodKey))
	}
	x, _ := submit()
	x.Answered(allow(f), f.now)
	x.Done(0, 0, f.now)
	kept, outcome := submit()
	wantStep(t, gate.Record, outcome) // nothing was asked
	kept.Done(0, 0, f.now)
	limited, _ := f.execute()
	limited.Answered(granted(f, 1, minute), f.now)
	limited.Done(0, 0, f.now)
	limited.Done(0, 0, f.now)
	if got := f.said().Message; len(got.Settlements) != 1 || len(got.Abandoned) != 0 {
		t.Errorf("said %+v, want one settlement", got)
	}
}

// Who resets streams has their places taken until their calls must be over.
func TestStreamsThatAreResetKeepTheirPlaces(t *testing.T) {
	f := newFixture(t)
	asked := 0
	for range 1000 {
		x, outcome := f.execute()
		if outcome.Step == gate.Ask {
			asked++
		}
		x.Done(0, 0, f.now)
	}
	if asked != 256 {
		t.Errorf("%d asked, want 256", asked)
	}
	f.now = f.now.Add(3 * time.Second)
	f.said()
	_, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
}

// A reply that says no finds leases that came meanwhile.
func TestARefusalIsNotTheLastWord(t *testing.T) {
	f := newFixture(t)
	late, _ := f.execute()
	x, _ := f.execute()
	wantStep(t, gate.Forward, x.Answered(granted(f, 5, large), f.now))
	wantStep(t, gate.Forward, late.Answered(exhausted(f, 1000, large), f.now))
}

func TestAnotherStoreIsAnotherLedger(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	x.Answered(granted(f, 10, large), f.now)
	f.snapshot.Revision.Store = "t"
	f.load()
	_, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
	if len(outcome.Ask.Take.Held) > 0 || outcome.Message.ID != 0 {
		t.Errorf("it still speaks of the other ledger: %+v %+v", outcome.Ask.Take, outcome.Message)
	}
}

func TestAnUnknownKindOfLimitRefuses(t *testing.T) {
	f := newFixture(t)
	odd := minute
	odd.Kind = "odd"
	x, _ := f.execute()
	wantRefusal(t, 500, "limit_unsupported", x.Answered(granted(f, 1, odd), f.now))
	_, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
}

func TestFailedCallsAndRowsAreKnownAtTheEnd(t *testing.T) {
	f := newFixture(t)
	successes, rows := large, week
	successes.SuccessOnly = true
	rows.Unit = wire.UnitRows
	x, _ := f.execute()
	outcome := x.Answered(granted(f, 2, successes, rows), f.now)
	if len(outcome.Edits.Remove) == 0 || outcome.Edits.Remove[len(outcome.Edits.Remove)-1] != "accept-encoding" {
		t.Errorf("the response could come compressed: %v", outcome.Edits.Remove)
	}
	if !x.NeedsStatus() || !x.CountsRows() || x.CountsBytes() {
		t.Error("it does not say what it has to know")
	}
	x.ResponseHead(503)
	x.Done(0, 7, f.now)
	f.now = f.now.Add(3 * time.Second)
	want := []wire.Settlement{{Take: 1, Counter: 11, Spent: 7}, {Take: 1, Counter: 10, Spent: 0}}
	if diff := cmp.Diff(want, f.said().Message.Settlements); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
}
