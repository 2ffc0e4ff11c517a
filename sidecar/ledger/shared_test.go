package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/ledger/conformance"
	"github.com/tollgate/tollgate/sidecar/ledger/memory"
)

func calls(name string, amount int64, window time.Duration) ledger.Limit {
	return ledger.Limit{Limit: wire.Limit{Name: name, Key: "k", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: amount,
		WindowMillis: window.Milliseconds()}}
}

// quotaOf is a quota of calls, for life.
func quotaOf(amount int64) ledger.Limit {
	return ledger.Limit{Limit: wire.Limit{Name: "life", Key: "k", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: amount}}
}

// run runs a ledger until the test ends.
func run(t testing.TB, l *ledger.Ledger) *ledger.Ledger {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("running the ledger: %v", err)
		}
	})
	return l
}

func waiting(worker string, id uint64, limits ...ledger.Limit) ledger.Batch {
	return ledger.Batch{Worker: worker, Takes: []ledger.Take{{ID: id, Waiting: true, Limits: limits}}}
}

func TestTwoLedgersOnOnePostgresNeverOverGrant(t *testing.T) {
	url := postgrestest.Shared(t).Database(t)
	// Limits in another order in each message: locks are taken in one.
	limits := [][]ledger.Limit{
		{quotaOf(300), calls("hour", 200, time.Hour)},
		{calls("hour", 200, time.Hour), quotaOf(300)},
		{quotaOf(300)},
	}
	var units sync.Map
	var wg sync.WaitGroup
	for s := range 2 {
		l := run(t, openLedger(t, open(t, url), quiet()))
		for w := range 8 {
			wg.Go(func() {
				worker := fmt.Sprintf("s%dw%d", s, w)
				for n := range 60 {
					grants, err := l.Take(context.Background(), waiting(worker, uint64(n+1), limits[(n+w)%3]...))
					if err != nil {
						t.Error(err)
						return
					}
					for _, lease := range grants[0].Leases {
						total, _ := units.LoadOrStore(lease.Counter, new(atomic.Int64))
						total.(*atomic.Int64).Add(lease.Units)
					}
				}
			})
		}
	}
	wg.Wait()
	var got []int64
	units.Range(func(_, total any) bool { got = append(got, total.(*atomic.Int64).Load()); return true })
	if len(got) != 2 || max(got[0], got[1]) != 300 || min(got[0], got[1]) != 200 {
		t.Errorf("granted %v, want 200 and 300, all that there is", got)
	}
}

func quiet() ledger.Options { return ledger.Options{Log: slog.New(slog.DiscardHandler)} }

// pair is two ledgers of two processes that share a storage and a clock.
type pair struct {
	*testing.T
	clock    *conformance.Clock
	timeline string
	storage  *memory.Storage
	a, b     *ledger.Ledger
	last     uint64
}

func newPair(t *testing.T) *pair {
	p := &pair{T: t, clock: conformance.NewClock(), timeline: "1"}
	p.storage = memory.New(func() ledger.Reading {
		return ledger.Reading{T: p.clock.Now().UnixMilli(), Timeline: p.timeline, Shared: true}
	})
	p.a = ledger.New(p.storage, p.clock.Options())
	p.beat(p.a)
	p.b = ledger.New(p.storage, p.clock.Options())
	p.beat(p.b)
	return p
}

func (p *pair) beat(l *ledger.Ledger) {
	p.Helper()
	if err := l.Beat(context.Background()); err != nil {
		p.Fatal(err)
	}
}

// passes is how many of n requests pass.
func (p *pair) passes(l *ledger.Ledger, n int, limits ...ledger.Limit) (granted int) {
	p.Helper()
	for range n {
		p.last++
		r := l.Commit(context.Background(), []ledger.Batch{waiting("vm1", p.last, limits...)})
		if r[0].Err != nil {
			p.Fatal(r[0].Err)
		}
		if r[0].Grants[0].Exhausted == nil {
			granted++
		}
	}
	return granted
}

func (p *pair) want(got, want int) {
	p.Helper()
	if got != want {
		p.Errorf("%d requests pass, want %d", got, want)
	}
}

func TestANewSidecarWaitsForAnothersLookAtTheClock(t *testing.T) {
	p := newPair(t)
	r := p.b.Commit(context.Background(), []ledger.Batch{waiting("vm1", 1, calls("minute", 5, time.Minute))})
	if !errors.Is(r[0].Err, ledger.ErrUnavailable) {
		t.Errorf("before it: %v, want ErrUnavailable", r[0].Err)
	}
	p.beat(p.a)
	p.beat(p.b)
	p.want(p.passes(p.b, 6, calls("minute", 5, time.Minute)), 5)
}

func TestANewSidecarDoesNotWaitForeverForAnother(t *testing.T) {
	p := newPair(t)
	p.clock.Advance(3 * time.Second)
	p.want(p.passes(p.b, 6, calls("minute", 5, time.Minute)), 5)
}

func TestAStepThatTwoSidecarsSeeCountsOnce(t *testing.T) {
	p := newPair(t)
	limit := calls("minute", 5, time.Minute)
	p.beat(p.a)
	p.beat(p.b)
	p.want(p.passes(p.a, 5, limit), 5) // open: until 2 s and a minute from now
	p.clock.Step(10 * time.Minute)
	p.want(p.passes(p.b, 1, limit), 0)
	p.want(p.passes(p.a, 1, limit), 0)
	p.clock.Advance(62*time.Second - time.Millisecond)
	p.want(p.passes(p.a, 1, limit), 0)
	p.clock.Advance(20 * time.Millisecond)
	p.want(p.passes(p.a, 3, limit), 3)
	p.want(p.passes(p.b, 3, limit), 2)
}

// TestAStepBackOpensNoPeriodAgain has a period opened by one sidecar, and then the clock go
// back: nobody else may go on with the one before.
func TestAStepBackOpensNoPeriodAgain(t *testing.T) {
	for name, other := range map[string]func(*pair) *ledger.Ledger{
		"by another that runs": func(p *pair) *ledger.Ledger { return p.b },
		"by another that starts": func(p *pair) *ledger.Ledger {
			c := ledger.New(p.storage, p.clock.Options())
			p.beat(c)
			p.clock.Advance(3 * time.Second)
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			q := quotaOf(5)
			q.WindowMillis, q.StartMillis = 60_000, p.clock.Start()
			p.clock.Advance(59 * time.Second)
			p.beat(p.a)
			p.beat(p.b)
			p.want(p.passes(p.a, 3, q), 3)
			p.clock.Advance(1100 * time.Millisecond)
			p.want(p.passes(p.a, 5, q), 5)
			p.clock.Step(-30 * time.Second)
			p.want(p.passes(other(p), 1, q), 0)
		})
	}
}

func TestAStepThatASidecarCameAfterDoesNotMoveItsClock(t *testing.T) {
	p := newPair(t)
	q := quotaOf(5)
	q.WindowMillis, q.StartMillis = 60_000, p.clock.Start()
	p.want(p.passes(p.a, 5, q), 5)
	p.clock.Step(31 * time.Second)
	c := ledger.New(p.storage, p.clock.Options())
	p.beat(c)
	p.beat(p.a)
	p.beat(c)
	p.want(p.passes(c, 1, q), 0)
}

func TestAfterAFailoverNothingIsGrantedForAWindow(t *testing.T) {
	p := newPair(t)
	limit, slot := calls("minute", 5, time.Minute), ledger.Limit{Limit: wire.Limit{Name: "slots", Key: "k", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: 1}}
	p.want(p.passes(p.a, 1, limit), 1)
	p.timeline = "2"
	r := p.a.Commit(context.Background(), []ledger.Batch{waiting("vm1", 99, limit)})
	if x := r[0].Grants[0].Exhausted; x == nil || x.RetryMillis != 90_000 {
		t.Fatalf("refused with %+v, want 90 s: a window and the longest life", x)
	}
	p.want(p.passes(p.a, 1, slot), 0)
	p.want(p.passes(p.a, 1, quotaOf(5)), 1)
	p.clock.Advance(30 * time.Second)
	p.want(p.passes(p.a, 1, slot), 1)
	p.clock.Advance(60*time.Second - time.Millisecond)
	p.want(p.passes(p.a, 1, limit), 0)
	p.clock.Advance(time.Millisecond)
	p.want(p.passes(p.a, 6, limit), 5)
}

func TestASlotThatIsJustBeingReleasedIsWaitedFor(t *testing.T) {
	l := run(t, openLedger(t, open(t, t.TempDir()+"/ledger.db"), quiet()))
	slot := ledger.Limit{Limit: wire.Limit{Name: "slots", Key: "k", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: 1}}
	take := func(b ledger.Batch) ledger.Grant {
		t.Helper()
		grants, err := l.Take(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		return append(grants, ledger.Grant{})[0]
	}
	held := take(waiting("vm1", 1, slot)).Leases[0]
	var second ledger.Grant
	asked := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		close(asked)
		second = take(waiting("vm2", 1, slot))
	})
	<-asked
	take(ledger.Batch{Worker: "vm1", Settlements: []wire.Settlement{{Take: 1, Counter: held.Counter}}})
	wg.Wait()
	if len(second.Leases) != 1 {
		t.Errorf("refused with %+v", second.Exhausted)
	}
	began := time.Now()
	if g := take(waiting("vm3", 1, slot)); g.Exhausted == nil || time.Since(began) < 20*time.Millisecond {
		t.Errorf("a slot that stays held: %+v after %v", g, time.Since(began))
	}
}

// hooked is a storage of which a call of Buried can be held: there is one in each look of a
// take.
type hooked struct {
	ledger.Storage
	hook func()
}

type hookedRows struct {
	ledger.Rows
	hook func()
}

func (h hooked) Transact(ctx context.Context, f func(ledger.Rows) error) error {
	return h.Storage.Transact(ctx, func(rows ledger.Rows) error { return f(hookedRows{rows, h.hook}) })
}

func (h hookedRows) Buried(calls []ledger.Call) ([]ledger.Call, error) {
	h.hook()
	return h.Rows.Buried(calls)
}

// TestASecondLookThatIsLostIsAnError: what it granted is on record, and the worker has to
// know that it may be.
func TestASecondLookThatIsLostIsAnError(t *testing.T) {
	clock := conformance.NewClock()
	storage := memory.New(func() ledger.Reading { return ledger.Reading{T: clock.Now().UnixMilli(), Timeline: "1"} })
	ctx, cancel := context.WithCancel(context.Background())
	returned := make(chan struct{})
	looks := 0
	l := run(t, ledger.New(hooked{storage, func() {
		if looks++; looks == 3 { // one to hold the slot, one that finds none
			cancel()
			<-returned
		}
	}}, clock.Options()))
	slot := ledger.Limit{Limit: wire.Limit{Name: "slots", Key: "k", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: 1}}
	if _, err := l.Take(ctx, waiting("vm1", 1, slot)); err != nil {
		t.Fatal(err)
	}
	grants, err := l.Take(ctx, waiting("vm2", 1, slot, quotaOf(5)))
	close(returned)
	if !errors.Is(err, context.Canceled) || grants != nil {
		t.Errorf("%+v, %v; want the context's error", grants, err)
	}
}

func TestAnotherSidecarsResetIsSeenByTheHeartbeat(t *testing.T) {
	p := newPair(t)
	p.beat(p.a)
	p.beat(p.b)
	p.want(p.passes(p.a, 1, calls("minute", 5, time.Minute)), 1)
	list, err := p.a.Counters(context.Background(), ledger.Filter{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.a.Reset(context.Background(), "uid 0", []int64{list[0].ID}); err != nil {
		t.Fatal(err)
	}
	before := p.b.Resets()
	p.beat(p.b)
	if p.a.Resets() != p.b.Resets() || p.b.Resets() == before {
		t.Errorf("resets: %d and %d, before %d", p.a.Resets(), p.b.Resets(), before)
	}
}

// poisoned is a storage that cannot take a counter of one name, as a database may refuse
// what no check knows.
type poisoned struct{ ledger.Storage }

type poisonedRows struct{ ledger.Rows }

var errPoison = errors.New("poison")

func (p poisoned) Transact(ctx context.Context, f func(ledger.Rows) error) error {
	return p.Storage.Transact(ctx, func(rows ledger.Rows) error { return f(poisonedRows{rows}) })
}

func (p poisonedRows) Find(rows []ledger.Row) ([]int64, error) {
	for i := range rows {
		if rows[i].Name.Name == "poison" {
			return nil, errPoison
		}
	}
	return p.Rows.Find(rows)
}

func TestABatchThatTheDatabaseRefusesDoesNotSpoilTheOthers(t *testing.T) {
	clock := conformance.NewClock()
	storage := memory.New(func() ledger.Reading { return ledger.Reading{T: clock.Now().UnixMilli(), Timeline: "1"} })
	l := ledger.New(poisoned{storage}, clock.Options())
	results := l.Commit(context.Background(), []ledger.Batch{
		waiting("vm1", 1, calls("minute", 2, time.Minute)),
		waiting("vm1", 2, calls("minute", 2, time.Minute), calls("poison", 2, time.Minute)),
		waiting("vm1", 3, calls("minute", 2, time.Minute)),
		waiting("vm1", 4, calls("minute", 2, time.Minute)),
	})
	for i, want := range []int{1, 0, 1, 0} {
		r := results[i]
		if bad := i == 1; bad != errors.Is(r.Err, errPoison) || !bad && len(r.Grants[0].Leases) != want {
			t.Errorf("batch %d: %+v, %v", i, r.Grants, r.Err)
		}
	}
}
