package ledger_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/ledger/conformance"
	"github.com/tollgate/tollgate/sidecar/ledger/memory"
)

// TestEveryStorageAnswersAlike runs random scripts against memory and a database and
// compares all that they answer.
func TestEveryStorageAnswersAlike(t *testing.T) {
	for name, source := range map[string]func() string{
		"sqlite":   func() string { return filepath.Join(t.TempDir(), "ledger.db") },
		"postgres": func() string { return postgrestest.Shared(t).Database(t) },
	} {
		t.Run(name, func(t *testing.T) {
			clock := conformance.NewClock()
			storage := memory.New(func() ledger.Reading { return ledger.Reading{T: clock.Now().UnixMilli(), Timeline: "1"} })
			mem, sql := &side{l: ledger.New(storage, clock.Options())}, &side{l: openLedger(t, open(t, source()), clock.Options())}
			scripts := 0
			rapid.Check(t, func(t *rapid.T) {
				scripts++
				s := &script{T: t, clock: clock, name: fmt.Sprint("s", scripts), sides: []*side{mem, sql}}
				mem.leases, sql.leases = nil, nil
				for range rapid.IntRange(1, 25).Draw(t, "length") {
					s.step()
				}
			})
		})
	}
}

// side is one of the ledgers that are compared, and the leases that it has granted, in the
// same order as the other's.
type side struct {
	l      *ledger.Ledger
	leases []granted
}

type granted struct {
	worker  string
	take    uint64
	counter int64
	units   int64
}

// script is a random script; its counters are its own.
type script struct {
	*rapid.T
	clock *conformance.Clock
	name  string
	sides []*side
	takes uint64
}

func (s *script) int(most int, label string) int { return rapid.IntRange(0, most).Draw(s.T, label) }

func (s *script) limits() (limits []ledger.Limit) {
	limit := func(l wire.Limit) {
		l.Key, l.Unit = s.name, rapid.SampledFrom([]wire.LimitUnit{wire.UnitCalls, wire.UnitCalls, wire.UnitBytes}).Draw(s.T, "unit")
		if l.Kind == wire.KindConcurrency {
			l.Unit = wire.UnitCalls
		}
		l.Amount = rapid.SampledFrom([]int64{0, 1, 2, 5, 300, 1000}).Draw(s.T, "amount")
		l.ReportOnly = s.int(9, "report") == 0
		limits = append(limits, ledger.Limit{Limit: l, Held: s.int(5, "held") == 0, Wanted: int64(s.int(400, "wanted"))})
	}
	which := s.int(15, "which")
	if which&1 > 0 {
		limit(wire.Limit{Name: "rate", Kind: wire.KindRate, WindowMillis: 10_000})
	}
	if which&2 > 0 {
		limit(wire.Limit{Name: "quota", Kind: wire.KindQuota, WindowMillis: 60_000, StartMillis: 17})
	}
	if which&4 > 0 {
		limit(wire.Limit{Name: "life", Kind: wire.KindQuota})
	}
	if which&8 > 0 {
		limit(wire.Limit{Name: "slots", Kind: wire.KindConcurrency})
	}
	return limits
}

func (s *script) step() {
	switch s.int(9, "step") {
	case 0:
		s.clock.Advance(time.Duration(rapid.SampledFrom([]int{1, 7, 500, 2000, 10_000, 30_000, 90_000, 4_000_000}).Draw(s.T, "ms")) * time.Millisecond)
	case 1:
		s.both(func(d *side) any { return d.l.Clean(context.Background()) })
	case 2:
		s.adjust()
	default:
		s.messages()
	}
	s.both(func(d *side) any {
		list, err := d.l.Counters(context.Background(), ledger.Filter{All: true, Max: 10_000})
		var own []ledger.Counter
		for _, c := range list {
			if c.ID = 0; c.Limit.Key == s.name {
				own = append(own, c)
			}
		}
		return answer{own, err}
	})
}

type answer struct {
	Said any
	Err  error
}

// both asks both sides and compares.
func (s *script) both(ask func(*side) any) {
	mem, sql := ask(s.sides[0]), ask(s.sides[1])
	if diff := cmp.Diff(mem, sql, cmp.Comparer(func(a, b error) bool { return (a == nil) == (b == nil) })); diff != "" {
		s.Fatalf("memory and database differ (-memory +database):\n%s", diff)
	}
}

// adjust resets or raises a counter that was granted from.
func (s *script) adjust() {
	n := len(s.sides[0].leases)
	if n == 0 {
		return
	}
	i, raise := s.int(n-1, "counter"), int64(s.int(3, "raise"))
	s.both(func(d *side) any {
		id := d.leases[i].counter
		if raise > 0 {
			a, err := d.l.Raise(context.Background(), "a", id, raise)
			a.Counter = 0
			return answer{a, err}
		}
		a, err := d.l.Reset(context.Background(), "a", []int64{id})
		for i := range a {
			a[i].Counter = 0
		}
		return answer{a, err}
	})
}

// messages commits one to three messages in one transaction.
func (s *script) messages() {
	var plans []plan
	for range 1 + s.int(2, "messages") {
		plans = append(plans, s.plan())
	}
	s.both(func(d *side) any {
		var batches []ledger.Batch
		for _, p := range plans {
			batches = append(batches, p.batch(d))
		}
		var said []answer
		for i, r := range d.l.Commit(context.Background(), batches) {
			for j := range r.Grants {
				for k := range r.Grants[j].Leases {
					lease := &r.Grants[j].Leases[k]
					d.leases = append(d.leases, granted{batches[i].Worker, batches[i].Takes[j].ID, lease.Counter, lease.Units})
					lease.Counter = 0
				}
			}
			said = append(said, answer{r.Grants, r.Err})
		}
		return said
	})
}

// plan is a message, with leases by their number.
type plan struct {
	worker  string
	settle  []wire.Settlement // Counter is the number of a lease
	abandon []uint64
	takes   []ledger.Take
}

func (s *script) plan() plan {
	p := plan{worker: fmt.Sprint(s.name, "w", s.int(1, "worker"))}
	for range s.int(2, "settlements") {
		if n := len(s.sides[0].leases); n > 0 {
			i := s.int(n-1, "lease")
			p.settle = append(p.settle, wire.Settlement{Counter: int64(i), Spent: int64(s.int(int(s.sides[0].leases[i].units)+1, "spent")),
				AgeMillis: int64(s.int(3000, "age")), Extend: s.int(3, "extend") == 0})
		}
	}
	if s.int(4, "abandon") == 0 {
		p.abandon = append(p.abandon, uint64(1+s.int(int(s.takes), "abandoned")))
	}
	for range s.int(3, "takes") {
		id := s.takes + 1
		if s.int(9, "repeat") > 0 {
			s.takes++
		}
		p.takes = append(p.takes, ledger.Take{ID: id, Waiting: s.int(3, "waiting") > 0, Subscription: 1, Limits: s.limits()})
	}
	return p
}

func (p plan) batch(d *side) ledger.Batch {
	b := ledger.Batch{Worker: p.worker, Abandoned: p.abandon, Takes: p.takes}
	for _, x := range p.settle {
		lease := d.leases[x.Counter]
		x.Take, x.Counter = lease.take, lease.counter
		b.Worker = lease.worker
		b.Settlements = append(b.Settlements, x)
	}
	return b
}
