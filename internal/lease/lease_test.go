package lease_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/wire"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(millis int64) time.Time { return start.Add(time.Duration(millis) * time.Millisecond) }

func rate(amount int64) wire.Limit {
	return wire.Limit{Name: "minute", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: amount, WindowMillis: 60_000}
}

func quota(amount int64) wire.Limit {
	return wire.Limit{Name: "week", Key: "subscription:1", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: amount, WindowMillis: 7 * 86_400_000}
}

func concurrency(amount int64) wire.Limit {
	return wire.Limit{Name: "parallel", Key: "subscription:1", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: amount}
}

func list(l ...wire.Limit) []wire.Limit { return l }

// question is what a request asks; its identity is all that matters here.
var question = &wire.Ask{API: "API"}

// grant asks at one time and has the reply arrive at another: each limit gets a lease.
func grant(b *lease.Book, limits []wire.Limit, units, lifeMillis int64, asked, replied time.Time) uint64 {
	id := b.Ask(limits, true, asked).ID
	var leases []wire.Lease
	for i := range limits {
		leases = append(leases, wire.Lease{Limit: i, Counter: int64(10 + i), Units: units, LifeMillis: lifeMillis, Left: 1000, ResetMillis: 30_000})
	}
	b.Granted(id, limits, leases, replied)
	return id
}

func spends(b *lease.Book, limits []wire.Limit, now time.Time) int {
	for n := 0; ; n++ {
		if _, ok := b.Spend(limits, question, now); !ok {
			return n
		}
	}
}

func TestALeaseIsSpentToItsUnits(t *testing.T) {
	b := lease.NewBook()
	if n := spends(b, list(rate(1000)), at(0)); n != 0 {
		t.Errorf("%d spent of nothing", n)
	}
	grant(b, list(rate(1000)), 3, 3000, at(0), at(5))
	if n := spends(b, list(rate(1000)), at(10)); n != 3 {
		t.Errorf("%d spent of 3", n)
	}
}

func TestALeaseCountsFromTheDispatchOfItsAsk(t *testing.T) {
	for name, c := range map[string]struct {
		asked, replied, now int64
		want                int
	}{
		"alive":                          {0, 5, 2990, 1},
		"at its end, less the drift":     {0, 5, 2997, 0},
		"the reply took nearly its life": {0, 2990, 2996, 1},
		"the reply came after its end":   {0, 3100, 3100, 0},
		"the reply counts for nothing":   {0, 2900, 3000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := lease.NewBook()
			grant(b, list(rate(1000)), 1, 3000, at(c.asked), at(c.replied))
			if n := spends(b, list(rate(1000)), at(c.now)); n != c.want {
				t.Errorf("%d spent, want %d", n, c.want)
			}
		})
	}
}

func TestAllLimitsOrNone(t *testing.T) {
	b := lease.NewBook()
	grant(b, list(rate(1000)), 5, 3000, at(0), at(0))
	both := list(rate(1000), quota(1000))
	if n := spends(b, both, at(1)); n != 0 {
		t.Fatalf("%d spent without a lease of the quota", n)
	}
	if n := spends(b, list(rate(1000)), at(1)); n != 5 {
		t.Errorf("%d left of 5: the attempts cost some", n)
	}
}

func TestAReplyIsTakenOnceAndOnlyWhileAwaited(t *testing.T) {
	b := lease.NewBook()
	id := grant(b, list(rate(1000)), 2, 3000, at(0), at(0))
	if b.Granted(id, list(rate(1000)), []wire.Lease{{Units: 2, LifeMillis: 3000}}, at(1)) {
		t.Error("the second copy of a reply was taken")
	}
	late := b.Ask(list(rate(1000)), true, at(1)).ID
	b.Lost(late)
	if b.Granted(late, list(rate(1000)), []wire.Lease{{Units: 2, LifeMillis: 3000}}, at(2)) {
		t.Error("an answer was taken that had been given up")
	}
	if n := spends(b, list(rate(1000)), at(3)); n != 2 {
		t.Errorf("%d spent, want 2", n)
	}
	if diff := cmp.Diff([]uint64{late}, b.Message(at(4)).Abandoned); diff != "" {
		t.Errorf("abandoned (-want +got):\n%s", diff)
	}
}

func TestALeaseServesOnlyLimitsThatAreNoStricter(t *testing.T) {
	granted := rate(1000)
	for name, c := range map[string]struct {
		change func(*wire.Limit)
		want   int
	}{
		"the same":         {func(*wire.Limit) {}, 1},
		"a larger amount":  {func(l *wire.Limit) { l.Amount = 1001 }, 1},
		"a smaller amount": {func(l *wire.Limit) { l.Amount = 999 }, 0},
		"a longer window":  {func(l *wire.Limit) { l.WindowMillis = 61_000 }, 0},
		"another unit":     {func(l *wire.Limit) { l.Unit = wire.UnitBytes }, 0},
		"another kind":     {func(l *wire.Limit) { l.Kind = wire.KindQuota }, 0},
		"another key":      {func(l *wire.Limit) { l.Key = "subscription:2" }, 0},
		"another start":    {func(l *wire.Limit) { l.StartMillis = 1 }, 0},
		"only successes":   {func(l *wire.Limit) { l.SuccessOnly = true }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := lease.NewBook()
			grant(b, list(granted), 1, 3000, at(0), at(0))
			now := granted
			c.change(&now)
			_, ok := b.Spend(list(now), question, at(1))
			if ok != (c.want == 1) {
				t.Errorf("spent: %v", ok)
			}
		})
	}
}

func TestNothingIsSpentAfterASettlement(t *testing.T) {
	b := lease.NewBook()
	id := grant(b, list(rate(1000)), 5, 3000, at(0), at(20))
	for _, now := range []int64{40, 41, 70} {
		b.Spend(list(rate(1000)), question, at(now))
	}
	b.Tick(at(1500), 250*time.Millisecond) // unused for a second
	want := []wire.Settlement{{Take: id, Counter: 10, Spent: 3, AgeMillis: 70}}
	if diff := cmp.Diff(want, b.Message(at(1500)).Settlements); diff != "" {
		t.Fatalf("settlements (-want +got):\n%s", diff)
	}
	if n := spends(b, list(rate(1000)), at(1501)); n != 0 {
		t.Errorf("%d spent after the settlement", n)
	}
}

func TestAgesAreRoundedUp(t *testing.T) {
	b := lease.NewBook()
	grant(b, list(rate(1000)), 1, 3000, at(0), at(0))
	b.Spend(list(rate(1000)), question, at(2).Add(time.Nanosecond))
	if got := b.Message(at(3)).Settlements; len(got) != 1 || got[0].AgeMillis != 3 {
		t.Errorf("settlements %+v, want one of 3 ms", got)
	}
}

func TestSettlementsAreRepeatedUntilAcknowledged(t *testing.T) {
	b := lease.NewBook()
	grant(b, list(rate(1000)), 1, 3000, at(0), at(0))
	b.Spend(list(rate(1000)), question, at(1))
	first := b.Message(at(2))
	if len(first.Settlements) != 1 {
		t.Fatalf("message %+v", first)
	}
	if again := b.Message(at(3)); again.ID != 0 {
		t.Errorf("said twice at once: %+v", again)
	}
	b.Unsettled(first.ID)
	second := b.Message(at(4))
	if diff := cmp.Diff(first.Settlements, second.Settlements); diff != "" {
		t.Errorf("after a failure (-want +got):\n%s", diff)
	}
	b.Tick(at(10_000), time.Second) // no answer at all
	third := b.Message(at(10_000))
	if diff := cmp.Diff(first.Settlements, third.Settlements); diff != "" {
		t.Errorf("after silence (-want +got):\n%s", diff)
	}
	b.Settled(third.ID)
	b.Tick(at(20_000), time.Second)
	if m := b.Message(at(20_000)); m.ID != 0 {
		t.Errorf("said again after it was settled: %+v", m)
	}
}

func TestAPermitThatIsNotSpentGoesBackAtOnce(t *testing.T) {
	b := lease.NewBook()
	id := grant(b, list(rate(5), quota(100)), 1, 2000, at(0), at(10))
	b.Return(id)
	want := []wire.Settlement{{Take: id, Counter: 10}, {Take: id, Counter: 11}}
	if diff := cmp.Diff(want, b.Message(at(10)).Settlements); diff != "" {
		t.Errorf("settlements (-want +got):\n%s", diff)
	}
}

func TestRefusalsAreRemembered(t *testing.T) {
	limits := list(rate(5), quota(100))
	for name, c := range map[string]struct {
		exhausted wire.Exhausted
		limits    []wire.Limit
		at        int64
		want      *lease.Refusal
	}{
		"at once":                    {wire.Exhausted{Limit: 0, RetryMillis: 57_000}, limits, 1, &lease.Refusal{Limit: 0, RetryMillis: 56_999, Decision: "d"}},
		"just before the end":        {wire.Exhausted{Limit: 0, RetryMillis: 57_000}, limits, 56_999, &lease.Refusal{Limit: 0, RetryMillis: 1, Decision: "d"}},
		"at the end":                 {wire.Exhausted{Limit: 0, RetryMillis: 57_000}, limits, 57_000, nil},
		"never ends":                 {wire.Exhausted{Limit: 1, RetryMillis: -1}, limits, 1e9, &lease.Refusal{Limit: 1, RetryMillis: -1, Decision: "d"}},
		"others hold leases, soon":   {wire.Exhausted{Limit: 0, RetryMillis: 57_000, Leased: true}, limits, 999, &lease.Refusal{Limit: 0, RetryMillis: 56_001, Decision: "d"}},
		"others hold leases, later":  {wire.Exhausted{Limit: 0, RetryMillis: 57_000, Leased: true}, limits, 1000, nil},
		"the limit is another now":   {wire.Exhausted{Limit: 0, RetryMillis: 57_000}, list(rate(6), quota(100)), 1, nil},
		"a slot, at once":            {wire.Exhausted{Limit: 0, RetryMillis: 1000}, list(concurrency(5)), 99, &lease.Refusal{Limit: 0, RetryMillis: 1000, Decision: "d"}},
		"a slot, which frees itself": {wire.Exhausted{Limit: 0, RetryMillis: 1000}, list(concurrency(5)), 100, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := lease.NewBook()
			asked := limits
			if len(c.limits) == 1 {
				asked = c.limits
			}
			b.Denied(b.Ask(asked, false, at(0)).ID, asked, c.exhausted, "d", at(0))
			got, refused := b.Refused(c.limits, at(c.at))
			if refused != (c.want != nil) || refused && got != *c.want {
				t.Errorf("refused %v: %+v, want %+v", refused, got, c.want)
			}
			b.Forget()
			if _, refused := b.Refused(c.limits, at(c.at)); refused {
				t.Error("refused after an administrator reset it")
			}
		})
	}
}

func TestCallsThatFailAreGivenBack(t *testing.T) {
	limit := rate(1000)
	limit.SuccessOnly = true
	for status, want := range map[int]int64{200: 2, 399: 2, 400: 1, 503: 1, 0: 2} {
		b := lease.NewBook()
		grant(b, list(limit), 5, 3000, at(0), at(0))
		first, _ := b.Spend(list(limit), question, at(1))
		second, ok := b.Spend(list(limit), question, at(2))
		if !ok {
			t.Fatal("not spent")
		}
		b.Finish(first, lease.Result{Status: 200}, at(3))
		b.Tick(at(4000), 0) // over, but an outcome is open
		if got := b.Message(at(4000)).Settlements; len(got) != 1 || !got[0].Extend || got[0].Spent != 2 {
			t.Fatalf("with an outcome open it said %+v, want that it holds on to 2", got)
		}
		b.Finish(second, lease.Result{Status: status}, at(5000))
		got := b.Message(at(5000)).Settlements
		if len(got) != 1 || got[0].Spent != want || got[0].AgeMillis != 2 {
			t.Errorf("status %d: settlements %+v, want one of %d units, aged 2 ms", status, got, want)
		}
	}
}

func TestAPermitThatIsGivenBackIsFreeForOthersAtOnce(t *testing.T) {
	limit := rate(5)
	limit.SuccessOnly = true
	b := lease.NewBook()
	id := grant(b, list(limit), 1, 2000, at(0), at(0))
	s, _ := b.Spend(list(limit), question, at(1))
	b.Finish(s, lease.Result{Status: 500}, at(2))
	want := []wire.Settlement{{Take: id, Counter: 10, AgeMillis: 1}}
	if diff := cmp.Diff(want, b.Message(at(2)).Settlements); diff != "" {
		t.Errorf("settlements (-want +got):\n%s", diff)
	}
}

func TestBytesAreChargedAfterTheFact(t *testing.T) {
	limit := quota(10_000)
	limit.Unit = wire.UnitBytes
	b := lease.NewBook()
	id := grant(b, list(limit), 100, 3000, at(0), at(0))
	first, ok := b.Spend(list(limit), question, at(1))
	second, also := b.Spend(list(limit), question, at(2))
	if !ok || !also {
		t.Fatal("not spent")
	}
	b.Finish(first, lease.Result{Status: 200, Bytes: 250}, at(50))
	if _, ok := b.Spend(list(limit), question, at(51)); ok {
		t.Error("spent from an overdrawn lease")
	}
	b.Finish(second, lease.Result{Status: 200, Bytes: 30}, at(60))
	want := []wire.Settlement{{Take: id, Counter: 10, Spent: 280, AgeMillis: 60}}
	if diff := cmp.Diff(want, b.Message(at(61)).Settlements); diff != "" {
		t.Errorf("settlements (-want +got):\n%s", diff)
	}
}

func TestSlotsAreHeldWhileInFlight(t *testing.T) {
	b := lease.NewBook()
	id := grant(b, list(concurrency(2)), 1, 30_000, at(0), at(0))
	s, ok := b.Spend(list(concurrency(2)), question, at(1))
	if !ok {
		t.Fatal("not spent")
	}
	if n := spends(b, list(concurrency(2)), at(2)); n != 0 {
		t.Errorf("%d more in one slot", n)
	}
	extended := 0
	for now := int64(250); now <= 60_000; now += 250 { // far beyond the life of the lease
		b.Tick(at(now), 250*time.Millisecond)
		for _, settlement := range b.Message(at(now)).Settlements {
			if diff := cmp.Diff(wire.Settlement{Take: id, Counter: 10, Extend: true}, settlement); diff != "" {
				t.Fatalf("settlement (-want +got):\n%s", diff)
			}
			extended++
		}
	}
	if extended < 10 {
		t.Errorf("held on to %d times in two lives, want at least 10", extended)
	}
	if !b.Finish(s, lease.Result{Status: 200}, at(60_000)) {
		t.Error("no slot was freed")
	}
	if got := b.Urgent().Settlements; len(got) != 1 || got[0].Spent != 0 || got[0].Extend {
		t.Errorf("urgent: %+v", got)
	}
}

func TestWhatIsOnlyReportedRefusesNothing(t *testing.T) {
	limit := rate(10)
	limit.ReportOnly = true
	b := lease.NewBook()
	id := grant(b, list(limit), 1, 15_000, at(0), at(0))
	for range 50 {
		s, ok := b.Spend(list(limit), question, at(100))
		if !ok {
			t.Fatal("refused")
		}
		if s.Nearest != -1 {
			t.Errorf("a client is told of limit %d", s.Nearest)
		}
	}
	b.Tick(at(2000), time.Second)
	want := []wire.Settlement{{Take: id, Counter: 10, Spent: 50, AgeMillis: 100}}
	if diff := cmp.Diff(want, b.Message(at(2000)).Settlements); diff != "" {
		t.Errorf("settlements (-want +got):\n%s", diff)
	}
}

func TestWhatIsOnlyReportedNeedsNoLease(t *testing.T) {
	limit := rate(10)
	limit.ReportOnly = true
	limits := list(limit, rate(1000))
	b := lease.NewBook()
	grant(b, limits[1:], 100, 3000, at(0), at(0))
	for range 7 {
		if _, ok := b.Spend(limits, nil, at(100)); !ok {
			t.Fatal("refused for want of a lease of what is only reported")
		}
	}
	limit.Name = "bytes"
	limit.Unit = wire.UnitBytes
	s, ok := b.Spend(list(limit), question, at(100))
	if !ok {
		t.Fatal("refused")
	}
	b.Finish(s, lease.Result{Status: 200, Bytes: 500}, at(150))
	b.Spend(limits, question, at(200))
	asks := b.Tick(at(1250), 250*time.Millisecond)
	if len(asks) != 1 || len(asks[0].Take.Wanted) != 2 || asks[0].Take.Waiting {
		t.Fatalf("asks %+v, want one for both that are owed", asks)
	}
	b.Granted(asks[0].Take.ID, list(limits[0], limit), []wire.Lease{
		{Limit: 0, Counter: 20, Units: 1, LifeMillis: 15_000}, {Limit: 1, Counter: 21, Units: 1, LifeMillis: 15_000},
	}, at(1260))
	b.Message(at(1260))
	b.Tick(at(3000), time.Second)
	want := []wire.Settlement{
		{Take: asks[0].Take.ID, Counter: 20, Spent: 8, AgeMillis: 10},
		{Take: asks[0].Take.ID, Counter: 21, Spent: 500, AgeMillis: 10},
	}
	if diff := cmp.Diff(want, b.Message(at(3000)).Settlements); diff != "" {
		t.Errorf("settlements (-want +got):\n%s", diff)
	}
}

// One slow request must not hold back what others could spend.
func TestUnspentUnitsGoBackBeforeASlowRequestEnds(t *testing.T) {
	successes, bytes := rate(10_000), quota(1_000_000)
	successes.SuccessOnly, bytes.Unit = true, wire.UnitBytes
	for name, c := range map[string]struct {
		limit wire.Limit
		held  int64
		final int64
	}{
		"successes": {successes, 1, 1},
		"bytes":     {bytes, 0, 700},
	} {
		t.Run(name, func(t *testing.T) {
			b := lease.NewBook()
			id := grant(b, list(c.limit), 5000, 15_000, at(0), at(0))
			s, _ := b.Spend(list(c.limit), question, at(1))
			held := 0
			for now := int64(250); now <= 60_000; now += 250 {
				b.Tick(at(now), 250*time.Millisecond)
				for _, settlement := range b.Message(at(now)).Settlements {
					if diff := cmp.Diff(wire.Settlement{Take: id, Counter: 10, Spent: c.held, Extend: true}, settlement); diff != "" {
						t.Fatalf("at %d ms (-want +got):\n%s", now, diff)
					}
					if held++; now < 1000 || held == 1 && now > 1500 {
						t.Fatalf("first given back at %d ms", now)
					}
				}
			}
			if held < 20 {
				t.Errorf("held on to %d times in a minute", held)
			}
			b.Finish(s, lease.Result{Status: 200, Bytes: 700}, at(60_000))
			got := b.Message(at(60_000)).Settlements
			if len(got) != 1 || got[0].Spent != c.final || got[0].Extend {
				t.Errorf("settlements %+v, want one of %d units", got, c.final)
			}
		})
	}
}

// An extension that was lost is said again at once, not when the next would be due.
func TestALostExtensionIsRepeatedAtOnce(t *testing.T) {
	b := lease.NewBook()
	grant(b, list(concurrency(1)), 1, 30_000, at(0), at(0))
	b.Spend(list(concurrency(1)), question, at(0))
	for now := int64(250); now < 29_000; now += 250 { // nobody listens
		b.Tick(at(now), 250*time.Millisecond)
		b.Unsettled(b.Message(at(now)).ID)
	}
	b.Tick(at(29_000), 250*time.Millisecond)
	if got := b.Message(at(29_000)).Settlements; len(got) != 1 || !got[0].Extend {
		t.Errorf("said %+v, want an extension", got)
	}
}

func TestAskingDoesNotRepeatTheBacklog(t *testing.T) {
	b := lease.NewBook()
	for range 100 {
		grant(b, list(rate(5)), 1, 2000, at(0), at(0))
		b.Spend(list(rate(5)), question, at(1))
	}
	b.Lost(b.Ask(nil, false, at(1)).ID)
	first := b.Fresh(at(2))
	if len(first.Settlements) != 32 || len(first.Abandoned) != 0 {
		t.Errorf("a request says %d settlements and %d abandoned takes, want 32 and none", len(first.Settlements), len(first.Abandoned))
	}
	b.Unsettled(first.ID)
	if m := b.Fresh(at(3)); m.ID != 0 {
		t.Errorf("a request repeats %d settlements", len(m.Settlements))
	}
	if m := b.Message(at(4)); len(m.Settlements) != 100 || len(m.Abandoned) != 1 {
		t.Errorf("a tick says %d settlements and %d abandoned takes, want 100 and 1", len(m.Settlements), len(m.Abandoned))
	}
}

func TestATickAsksForNoMoreThanAMessageCarries(t *testing.T) {
	b := lease.NewBook()
	for i := range 400 {
		limit := rate(1000)
		limit.Key = "subscription:" + strconv.Itoa(i)
		ask := &wire.Ask{API: "API", Subscription: uint32(i)}
		id := b.Ask(list(limit), true, at(0)).ID
		b.Granted(id, list(limit), []wire.Lease{{Counter: int64(i), Units: 4, LifeMillis: 3000, Left: 100}}, at(1))
		for range 3 {
			b.Spend(list(limit), ask, at(2))
		}
	}
	asked := map[uint32]bool{}
	for now := int64(250); now < 1500; now += 250 {
		asks := b.Tick(at(now), 250*time.Millisecond)
		if len(asks) > 128 {
			t.Errorf("%d asks in one message", len(asks))
		}
		for _, ask := range asks {
			asked[ask.Subscription] = true
		}
	}
	if len(asked) != 400 {
		t.Errorf("%d of 400 came to their turn", len(asked))
	}
}

// Requests that ask at the same time must not ask for the same units each.
func TestAsksUnderWayCount(t *testing.T) {
	b := lease.NewBook()
	limits := list(rate(1000))
	total := int64(0)
	for range 50 {
		b.Spend(limits, question, at(0))
		for _, wanted := range b.Ask(limits, true, at(0)).Wanted {
			total += wanted.Units
		}
	}
	if total > 4*50 {
		t.Errorf("50 requests want %d units", total)
	}
}

func TestRenewalComesBeforeALeaseRunsDry(t *testing.T) {
	b := lease.NewBook()
	limits := list(rate(1_000_000), quota(10_000_000))
	grant(b, limits, 10_000, 3000, at(0), at(0))
	asks, refused := 0, 0
	for now := int64(1); now < 20_000; now++ { // a call each millisecond
		if _, ok := b.Spend(limits, question, at(now)); !ok {
			refused++
		}
		if now%250 != 0 {
			continue
		}
		for _, ask := range b.Tick(at(now), 250*time.Millisecond) {
			asks++
			var leases []wire.Lease
			for _, wanted := range ask.Take.Wanted {
				index := 0
				if wanted.Name == "week" {
					index = 1
				}
				leases = append(leases, wire.Lease{Limit: index, Counter: int64(10 + index), Units: wanted.Units, LifeMillis: 3000, ResetMillis: -1})
			}
			b.Granted(ask.Take.ID, limits, leases, at(now+3))
		}
	}
	if refused > 0 {
		t.Errorf("%d of 20000 found no lease", refused)
	}
	if asks == 0 || asks > 20 {
		t.Errorf("%d asks in 20 s", asks)
	}
}

func TestTheNearestLimitIsShown(t *testing.T) {
	b := lease.NewBook()
	limits := list(rate(100), quota(1000))
	id := b.Ask(limits, true, at(0)).ID
	b.Granted(id, limits, []wire.Lease{
		{Limit: 0, Counter: 1, Units: 1, LifeMillis: 2000, Left: 98, ResetMillis: 59_001},
		{Limit: 1, Counter: 2, Units: 10, LifeMillis: 2000, Left: 40, ResetMillis: 86_400_000},
	}, at(0))
	s, _ := b.Spend(limits, question, at(500))
	if s.Nearest != 1 || s.Remaining != 49 || s.ResetSeconds != 86_400 {
		t.Errorf("limit %d, %d left, more in %d s; want 1, 49, 86400", s.Nearest, s.Remaining, s.ResetSeconds)
	}
}

func TestAResetIsNoLaterThanTheWindow(t *testing.T) {
	b := lease.NewBook()
	limits := list(rate(5))
	id := b.Ask(limits, true, at(0)).ID
	b.Granted(id, limits, []wire.Lease{{Counter: 1, Units: 1, LifeMillis: 2000, Left: 4, ResetMillis: 62_000}}, at(0))
	if s, _ := b.Spend(limits, question, at(0)); s.ResetSeconds != 60 {
		t.Errorf("more in %d s, want 60", s.ResetSeconds)
	}
}

func TestAnotherLedgerStartsAfresh(t *testing.T) {
	b := lease.NewBook()
	first := grant(b, list(rate(1000)), 5, 3000, at(0), at(0))
	b.Clear()
	if n := spends(b, list(rate(1000)), at(1)); n != 0 {
		t.Errorf("%d spent of another ledger's lease", n)
	}
	if next := b.Ask(nil, true, at(2)).ID; next <= first {
		t.Errorf("take %d after %d: ids must not come again", next, first)
	}
}
