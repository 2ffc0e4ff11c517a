package filterapi_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// limited is demo with limits on what alice (1) has subscribed to.
func limited(limits ...catalog.Limit) *catalog.Catalog {
	c := demo()
	for i := range limits {
		limits[i].Unit, limits[i].Count, limits[i].Enforce = "calls", "all", true
	}
	c.Products[0].Limits = limits
	return c
}

func perMinute(amount int64) catalog.Limit {
	return catalog.Limit{Name: "minute", Kind: "rate", Amount: amount, Window: new(catalog.Duration(time.Minute))}
}

func perWeek(amount int64) catalog.Limit {
	return catalog.Limit{Name: "week", Kind: "quota", Amount: amount, Period: new(catalog.Duration(7 * 24 * time.Hour))}
}

const alicesKey = "subscription:1"

// execute asks for a call of alice's with a take.
func (s *sidecar) execute(take wire.Take) wire.Ask {
	return wire.Ask{Call: fmt.Sprint("call-", take.ID), Policy: s.engine.Policy().Revision, Subscription: 1, API: "Demo", Operation: "Execute", Take: &take}
}

// send sends one message of a worker.
func (s *sidecar) send(vm string, r wire.DecideRequest) wire.DecideReply {
	s.t.Helper()
	r.Version, r.Store, r.VM = wire.Version, s.store.ID(), vm
	var reply wire.DecideReply
	if status, _ := s.call(http.MethodPost, wire.PathDecide, r, &reply); status != http.StatusOK {
		s.t.Fatalf("decide: status %d", status)
	}
	if len(reply.Answers) != len(r.Asks) {
		s.t.Fatalf("%d answers to %d asks", len(reply.Answers), len(r.Asks))
	}
	return reply
}

// take asks for one call of alice's, by a request that waits.
func (s *sidecar) take(vm string, id uint64) wire.Answer {
	s.t.Helper()
	return s.send(vm, wire.DecideRequest{Asks: []wire.Ask{s.execute(wire.Take{ID: id, Waiting: true})}}).Answers[0]
}

// held is used and leased units by the names of limits.
func (s *sidecar) held() map[string][2]int64 {
	s.t.Helper()
	counters, err := s.ledger.Counters(context.Background(), ledger.Filter{All: true})
	if err != nil {
		s.t.Fatal(err)
	}
	held := map[string][2]int64{}
	for _, c := range counters {
		held[c.Limit.Name] = [2]int64{c.Used, c.Leased}
	}
	return held
}

// granted fails the test unless a is an allow with leases of these limits.
func (s *sidecar) granted(a wire.Answer, limits ...int) {
	s.t.Helper()
	var got []int
	for _, l := range a.Leases {
		if l.Units != 1 || l.LifeMillis <= 0 || l.Counter == 0 {
			s.t.Errorf("lease %+v", l)
		}
		got = append(got, l.Limit)
	}
	if diff := cmp.Diff(limits, got); !a.Allow || a.Error != "" || a.Exhausted != nil || diff != "" {
		s.t.Errorf("answer %+v, leases (-want +got):\n%s", a, diff)
	}
}

func (s *sidecar) metric(name, label string) float64 {
	s.t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	s.t.Fatalf("there is no metric %s %s", name, label)
	return 0
}

func TestFiveOfTwentyAtOncePass(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perMinute(5), perWeek(100)))
	answers := make([]wire.Answer, 20)
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() { answers[i] = s.take(fmt.Sprint("vm", i%2), uint64(i+1)) })
	}
	asking.Wait()
	passed := 0
	for _, a := range answers {
		if len(a.Limits) != 2 || !a.Allow || a.TTLMillis != 30_000 {
			t.Errorf("the decision: %+v", a)
		}
		if a.Exhausted == nil {
			s.granted(a, 0, 1)
			passed++
			continue
		}
		if e := *a.Exhausted; e.Limit != 0 || !e.Leased || e.RetryMillis <= 0 || e.RetryMillis > 63_000 || len(a.Leases) != 0 {
			t.Errorf("refused with %+v, leases %+v", e, a.Leases)
		}
	}
	if passed != 5 {
		t.Errorf("%d of 20 passed, want 5", passed)
	}
	if diff := cmp.Diff(map[string][2]int64{"minute": {0, 5}, "week": {0, 5}}, s.held()); diff != "" {
		t.Errorf("used and leased (-want +got):\n%s", diff)
	}
	for outcome, want := range map[string]float64{"granted": 5, "exhausted": 15, "unavailable": 0} {
		if got := s.metric("tollgate_takes_total", outcome); got != want {
			t.Errorf("tollgate_takes_total of %s is %v, want %v", outcome, got, want)
		}
	}
	if got := s.metric("tollgate_units_granted_total", "calls"); got != 10 {
		t.Errorf("%v units granted, want 10", got)
	}
}

func TestWhatIsDeniedSpendsNothing(t *testing.T) {
	s := start(t, options{policies: map[string]string{"more.rego": "package tollgate.access\n\ndeny contains \"closed\" if input.request.method == \"PUT\"\n"}})
	s.apply(limited(perMinute(2)))
	s.granted(s.take("vm1", 1), 0)
	minute := s.counter("minute")
	put := "PUT"
	closed := s.execute(wire.Take{ID: 2, Waiting: true})
	closed.Request.Method = &put
	unknown := s.execute(wire.Take{ID: 3, Waiting: true})
	unknown.Subscription = 99
	stale := s.execute(wire.Take{ID: 4, Waiting: true})
	stale.Policy = "old"
	undecided := s.execute(wire.Take{ID: 5, Waiting: true})
	undecided.Take = nil
	reply := s.send("vm1", wire.DecideRequest{Asks: []wire.Ask{closed, unknown, stale, undecided},
		Settlements: []wire.Settlement{{Take: 1, Counter: minute, Spent: 1, AgeMillis: 10}}})
	for i, a := range reply.Answers {
		if len(a.Leases) != 0 || a.Exhausted != nil {
			t.Errorf("answer %d took: %+v", i, a)
		}
	}
	if a := reply.Answers[3]; !a.Allow || len(a.Limits) != 1 {
		t.Errorf("an ask without a take: %+v", a)
	}
	if diff := cmp.Diff(map[string][2]int64{"minute": {1, 0}}, s.held()); !reply.Settled || diff != "" {
		t.Errorf("settled %v, used and leased (-want +got):\n%s", reply.Settled, diff)
	}
}

func TestAllLimitsOrNone(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perMinute(5), perWeek(1)))
	s.granted(s.take("vm1", 1), 0, 1)
	a := s.take("vm2", 1)
	for _, l := range a.Limits {
		if l.Name == "week" && l.StartMillis != s.clock().UnixMilli() {
			t.Errorf("the week begins at %d, and the subscription at %d", l.StartMillis, s.clock().UnixMilli())
		}
	}
	if a.Exhausted == nil || len(a.Limits) != 2 || a.Limits[a.Exhausted.Limit].Name != "week" || len(a.Leases) != 0 {
		t.Errorf("the second call: %+v", a)
	}
	if diff := cmp.Diff(map[string][2]int64{"minute": {0, 1}, "week": {0, 1}}, s.held()); diff != "" {
		t.Errorf("used and leased (-want +got):\n%s", diff)
	}
}

func (s *sidecar) counter(limit string) int64 {
	s.t.Helper()
	counters, err := s.ledger.Counters(context.Background(), ledger.Filter{Subscription: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range counters {
		if c.Limit.Name == limit {
			return c.ID
		}
	}
	s.t.Fatalf("there is no counter of %s in %+v", limit, counters)
	return 0
}

func TestSettlementsAndRepetitions(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perMinute(3)))
	for id := range uint64(3) {
		s.granted(s.take("vm1", id+1), 0)
	}
	minute := s.counter("minute")
	wantHeld := func(when string, used, leased int64) {
		t.Helper()
		if diff := cmp.Diff(map[string][2]int64{"minute": {used, leased}}, s.held()); diff != "" {
			t.Errorf("%s: used and leased (-want +got):\n%s", when, diff)
		}
	}
	wantHeld("three leases", 0, 3)
	for when, message := range map[string]wire.DecideRequest{
		"settled":       {Settlements: []wire.Settlement{{Take: 1, Counter: minute, Spent: 1, AgeMillis: 5}, {Take: 2, Counter: minute}}},
		"another's":     {Settlements: []wire.Settlement{{Take: 77, Counter: minute, Spent: 1, AgeMillis: 5}}},
		"nobody awaits": {Abandoned: []uint64{3}},
	} {
		for range 2 { // a second time changes nothing
			if reply := s.send("vm1", message); !reply.Settled || len(reply.Answers) != 0 {
				t.Errorf("%s: %+v", when, reply)
			}
		}
	}
	wantHeld("settled, given back and abandoned", 1, 0)

	// What is said of another worker's take is nothing to this one.
	s.granted(s.take("vm2", 1), 0)
	s.send("vm1", wire.DecideRequest{Settlements: []wire.Settlement{{Take: 1, Counter: minute}}, Abandoned: []uint64{1}})
	wantHeld("another worker's", 1, 1)

	// A take that comes again is not granted again.
	if a := s.take("vm2", 1); !a.Allow || len(a.Leases) != 0 || a.Exhausted != nil {
		t.Errorf("a take the second time: %+v", a)
	}
	// Nor is one that was abandoned before it came; it is what the same message settles first.
	reply := s.send("vm2", wire.DecideRequest{Asks: []wire.Ask{s.execute(wire.Take{ID: 9, Waiting: true})}, Abandoned: []uint64{9}})
	if a := reply.Answers[0]; !reply.Settled || len(a.Leases) != 0 {
		t.Errorf("a take that was abandoned: %+v", reply)
	}
	wantHeld("repeated and abandoned", 1, 1)
	if reply := s.send("vm1", wire.DecideRequest{Asks: []wire.Ask{s.execute(wire.Take{ID: 10, Waiting: true})}}); reply.Settled {
		t.Error("settled, and there was nothing to settle")
	}
}

func TestHeldAndWanted(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perMinute(1000), perWeek(100_000)))
	of := func(name string, units int64) wire.Demand {
		return wire.Demand{Name: name, Key: alicesKey, Units: units}
	}
	ask := func(take wire.Take) wire.Answer {
		take.Waiting = true
		return s.send("vm1", wire.DecideRequest{Asks: []wire.Ask{s.execute(take)}}).Answers[0]
	}
	s.granted(ask(wire.Take{ID: 1, Held: []wire.Demand{of("minute", 0), of("another", 0), {Name: "week", Key: "another"}}}), 1)
	a := ask(wire.Take{ID: 2, Held: []wire.Demand{of("week", 0)}, Wanted: []wire.Demand{of("minute", 50), of("week", 50), of("another", 1000), {Name: "minute", Key: "another", Units: 1}}})
	if len(a.Leases) != 1 || a.Leases[0].Limit != 0 || a.Leases[0].Units <= 1 || a.Leases[0].Units > 51 {
		t.Errorf("wanted 50 more of minute: %+v", a.Leases)
	}
	if a := ask(wire.Take{ID: 3, Held: []wire.Demand{of("week", 0)}, Wanted: []wire.Demand{of("minute", -50)}}); len(a.Leases) != 1 || a.Leases[0].Units != 1 {
		t.Errorf("wanted less than nothing: %+v", a.Leases)
	}
	takes := s.metric("tollgate_takes_total", "granted")
	if a := ask(wire.Take{ID: 4, Held: []wire.Demand{of("week", 0), of("minute", 0)}}); !a.Allow || len(a.Leases) != 0 || len(a.Limits) != 2 {
		t.Errorf("everything is held: %+v", a)
	}
	if got := s.metric("tollgate_takes_total", "granted"); got != takes {
		t.Error("the ledger was asked for what is held")
	}
}

func TestNoLeaseOutlivesItsSubscription(t *testing.T) {
	s := start(t, options{})
	c := limited(perMinute(5))
	c.Subscriptions[0].ExpiresAt = new(s.clock().Add(time.Second))
	s.apply(c)
	a := s.take("vm1", 1)
	s.granted(a, 0)
	if life := a.Leases[0].LifeMillis; life > 1000 {
		t.Errorf("a life of %d ms, and the subscription has 1000", life)
	}
}

func TestMessagesThatNoLedgerIsAsked(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perMinute(5)))
	take := func(ids ...uint64) (asks []wire.Ask) {
		for _, id := range ids {
			asks = append(asks, s.execute(wire.Take{ID: id, Waiting: true}))
		}
		return asks
	}
	for name, tc := range map[string]struct {
		vm      string
		request wire.DecideRequest
		code    string
	}{
		"nothing":              {"vm1", wire.DecideRequest{}, "bad_asks"},
		"no worker":            {"", wire.DecideRequest{Asks: take(1)}, "bad_vm"},
		"a worker's long name": {strings.Repeat("a", 65), wire.DecideRequest{Asks: take(1)}, "bad_vm"},
		"a worker's odd name":  {"vm 1", wire.DecideRequest{Asks: take(1)}, "bad_vm"},
		"a worker in capitals": {"VM1", wire.DecideRequest{Asks: take(1)}, "bad_vm"},
		"take 0":               {"vm1", wire.DecideRequest{Asks: take(1, 0)}, "bad_take"},
		"a take twice":         {"vm1", wire.DecideRequest{Asks: take(1, 2, 1)}, "bad_take"},
		"many settlements":     {"vm1", wire.DecideRequest{Settlements: make([]wire.Settlement, 4097)}, "bad_settlements"},
		"many abandoned":       {"vm1", wire.DecideRequest{Abandoned: make([]uint64, 4097)}, "bad_settlements"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.request.Version, tc.request.Store, tc.request.VM = wire.Version, s.store.ID(), tc.vm
			status, text := s.body(wire.PathDecide, tc.request)
			var got struct{ Error, Message string }
			if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusBadRequest || got.Error != tc.code || got.Message == "" {
				t.Errorf("status %d %s, want 400 %s", status, text, tc.code)
			}
		})
	}
	if len(s.held()) != 0 {
		t.Errorf("counted: %v", s.held())
	}
	most := wire.DecideRequest{Settlements: make([]wire.Settlement, 4096), Abandoned: make([]uint64, 4096)}
	for i := range 4096 {
		most.Settlements[i] = wire.Settlement{Take: 1 << 60, Counter: 1 << 60, Spent: 1 << 40, AgeMillis: 1 << 40}
		most.Abandoned[i] = 1<<60 + uint64(i)
	}
	if reply := s.send(strings.Repeat("z", 64), most); !reply.Settled {
		t.Error("as much as is allowed was not settled")
	}
}

func (s *sidecar) body(path string, message any) (int, string) {
	s.t.Helper()
	text, err := json.Marshal(message)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := s.client.Post("http://sidecar"+path, "application/json", strings.NewReader(string(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// lock keeps everybody else from writing to the database, until the function it returns is
// called.
func (s *sidecar) lock() (unlock func()) {
	s.t.Helper()
	other, err := sql.Open("sqlite", filepath.Join(s.dir, "s.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	other.SetMaxOpenConns(1) // BEGIN and ROLLBACK on the same one
	exec := func(statement string) {
		s.t.Helper()
		if _, err := other.Exec(statement); err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("PRAGMA busy_timeout = 5000")
	exec("BEGIN IMMEDIATE")
	return sync.OnceFunc(func() {
		exec("ROLLBACK")
		if err := other.Close(); err != nil {
			s.t.Error(err)
		}
	})
}

func TestWithoutItsLedgerWhatIsOnlyReportedPasses(t *testing.T) {
	s := start(t, options{})
	c := limited(perMinute(5))
	c.Products[0].Limits[0].Enforce = false
	s.apply(c)
	unlock := s.lock()
	defer unlock()
	if a := s.take("vm1", 1); !a.Allow || a.Error != "" || len(a.Limits) != 1 || len(a.Leases) != 0 {
		t.Errorf("answer %+v, want an allow without a lease", a)
	}
}

func TestWithoutItsLedgerWhatNeedsALeaseIsRefused(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perMinute(50)))
	s.granted(s.take("vm1", 1), 0)
	minute := s.counter("minute")
	unlock := s.lock()
	defer unlock()
	message := wire.DecideRequest{Settlements: []wire.Settlement{{Take: 1, Counter: minute, Spent: 1, AgeMillis: 3}}, Asks: []wire.Ask{
		s.execute(wire.Take{ID: 2, Waiting: true}),
		{Policy: s.engine.Policy().Revision, Subscription: 2, API: "Demo", Operation: "Execute", Take: &wire.Take{ID: 3, Waiting: true}},
		s.execute(wire.Take{ID: 4, Waiting: true, Held: []wire.Demand{{Name: "minute", Key: alicesKey}}}),
	}}
	const times = 3
	for range times {
		reply := s.send("vm1", message)
		if reply.Settled {
			t.Error("settled on a ledger that cannot be written")
		}
		want := wire.Answer{Error: "ledger_unavailable", Status: http.StatusServiceUnavailable, Limits: reply.Answers[2].Limits,
			Policy: s.engine.Policy().Revision, SubscriptionRevision: 1}
		if diff := cmp.Diff(want, reply.Answers[0], cmpopts.IgnoreFields(wire.Answer{}, "Decision")); diff != "" {
			t.Errorf("what needs a lease (-want +got):\n%s", diff)
		}
		if a := reply.Answers[1]; !a.Allow || a.Error != "" {
			t.Errorf("what has no limits: %+v", a)
		}
		if a := reply.Answers[2]; !a.Allow || a.Error != "" || len(a.Limits) != 1 {
			t.Errorf("what is held: %+v", a)
		}
	}
	if n := strings.Count(s.log.String(), "the ledger is unavailable"); n != 1 {
		t.Errorf("the log says %d times that the ledger is lost, want once:\n%s", n, s.log)
	}
	if got := s.metric("tollgate_takes_total", "unavailable"); got != times {
		t.Errorf("%v takes unavailable, want %d", got, times)
	}
	if s.metric("tollgate_ledger_available", "") != 0 {
		t.Error("tollgate_ledger_available is not 0")
	}

	unlock()
	id := uint64(100)
	for deadline := time.Now().Add(10 * time.Second); ; {
		s.setClock(s.clock().Add(2 * time.Second)) // an outage is over when nothing failed for a second
		id++
		reply := s.send("vm1", wire.DecideRequest{Settlements: message.Settlements, Asks: []wire.Ask{s.execute(wire.Take{ID: id, Waiting: true})}})
		if reply.Settled {
			s.granted(reply.Answers[0], 0)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the ledger is not back: %+v", reply)
		}
	}
	if s.metric("tollgate_ledger_available", "") != 1 || !strings.Contains(s.log.String(), "the ledger is available again") {
		t.Error("nobody says that the ledger is back")
	}
	if got := s.held()["minute"]; got[0] < 1 {
		t.Errorf("used and leased %v: the settlement is lost", got)
	}
}

func TestAnExhaustedLimitIsExplained(t *testing.T) {
	for name, tc := range map[string]struct {
		limit  catalog.Limit
		status int
		reason string
		detail string // but for the time that it takes
	}{
		"rate":   {perMinute(1), 429, "rate_limited", "limit minute of subscription:1: all 1 calls in 1m0s are used, or leased to workers, more in "},
		"quota":  {perWeek(1), 403, "quota_exceeded", "limit week of subscription:1: all 1 calls in 168h0m0s are used, or leased to workers, more in "},
		"slots":  {catalog.Limit{Name: "slots", Kind: "concurrency", Amount: 1}, 429, "concurrency_limited", "limit slots of subscription:1: all 1 slots are taken, more in "},
		"closed": {perMinute(0), 429, "rate_limited", "limit minute of subscription:1: no calls are allowed, more never"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, options{})
			s.apply(limited(tc.limit))
			s.take("vm1", 1)
			quiet := s.send("vm1", wire.DecideRequest{Asks: []wire.Ask{s.execute(wire.Take{ID: 2})}}).Answers[0]
			refused := s.take("vm1", 3)
			if refused.Exhausted == nil {
				t.Fatalf("answer %+v", refused)
			}
			got := s.explained(refused.Decision)
			if got.Request != "call-3" || got.Status != tc.status || len(got.Reasons) != 1 || got.Reasons[0] != tc.reason ||
				!strings.HasPrefix(got.Detail, tc.detail) || got.Subscription != 1 || got.Operation != "Execute" {
				t.Errorf("explained as %+v", got)
			}
			// It was asked for before, so it would be on record by now.
			if len(s.explanations(quiet.Decision)) != 0 {
				t.Error("a renewal that found no room is on record as a denial")
			}
		})
	}
}

func TestAResetMovesTheRevision(t *testing.T) {
	s := start(t, options{watchTimeout: time.Minute})
	s.apply(limited(perMinute(5)))
	s.granted(s.take("vm1", 1), 0)
	before := s.snapshot()
	if _, err := s.ledger.Reset(t.Context(), "a test", []int64{s.counter("minute")}); err != nil {
		t.Fatal(err)
	}
	var after wire.Snapshot
	s.call(http.MethodGet, watchPath(before.Revision.String()), nil, &after)
	if after.Resets <= before.Resets || after.Revision.Number != before.Revision.Number+1 || after.Revision.Content == before.Revision.Content {
		t.Errorf("revision %v with resets %d after %v with %d", after.Revision, after.Resets, before.Revision, before.Resets)
	}
}

func TestThresholdsAreLogged(t *testing.T) {
	s := start(t, options{})
	s.apply(limited(perWeek(10)))
	var settle []wire.Settlement
	for id := range uint64(10) {
		s.granted(s.take("vm1", id+1), 0)
		settle = append(settle, wire.Settlement{Take: id + 1, Counter: s.counter("week"), Spent: 1, AgeMillis: 1})
	}
	s.send("vm1", wire.DecideRequest{Settlements: settle})
	s.await("tollgate_limit_events_total", 1)
	for _, percent := range []string{"80", "100"} {
		if got := s.metric("tollgate_limit_events_total", percent); got != 1 {
			t.Errorf("%v events at %s %%, want 1", got, percent)
		}
		line := "msg=\"limit reached\" limit=week key=subscription:1 subscription=1 percent=" + percent
		if n := strings.Count(s.log.String(), line); n != 1 {
			t.Errorf("the log has %d times %q:\n%s", n, line, s.log)
		}
	}
}
