package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// scenario is what a world is made of. Everything in it follows from its seed, but for what
// a search for a shorter failure takes away.
type scenario struct {
	Seed     uint64
	Shared   bool // several sidecars on one storage with a clock of its own
	Sidecars int
	Workers  int
	Drift    int64 // of clocks, in millionths
	Length   time.Duration
	Load     float64 // demand over supply, on average
	Faults   faults

	limits  []wire.Limit
	classes [][]int // limits of each class of requests, by index
}

// faults are probabilities, and mean times between events; 0 is never.
type faults struct {
	Loss, Double float64 // of messages
	Slow         float64 // messages that take up to Slowest
	Slowest      time.Duration
	Gone         float64       // streams that end while they wait
	WorkerCrash  time.Duration // of each worker
	SidecarCrash time.Duration
	Freeze       time.Duration // of each worker
	Frozen       time.Duration // how long, at most
	Storage      float64       // transactions that fail, half of them after they are durable
	Pause        float64       // transactions that stand still for a moment
	Step         time.Duration // of the wall clock
	StepMost     time.Duration
	Policy       time.Duration // changes of amounts
	PolicyDelay  time.Duration // until everybody knows it
	Expiry       float64       // takes that end soon
}

const second = time.Second

// newScenario makes a scenario of a seed: each has some kinds of faults and not others.
func newScenario(seed uint64) scenario {
	r := rand.New(rand.NewPCG(seed, 2))
	odds := func(p float64) bool { return r.Float64() < p }
	s := scenario{Seed: seed, Shared: odds(0.6), Workers: 1 + r.IntN(5), Sidecars: 1, Length: time.Duration(20+r.IntN(100)) * second}
	if s.Shared {
		s.Sidecars = 1 + r.IntN(3)
	}
	s.Load = []float64{0.3, 0.9, 1.5, 3}[r.IntN(4)]
	if odds(0.7) {
		s.Drift = 1000
	}
	f := &s.Faults
	if odds(0.6) {
		f.Loss, f.Double = 0.1*r.Float64(), 0.2*r.Float64()
	}
	if odds(0.7) {
		f.Slow, f.Slowest = 0.2*r.Float64(), []time.Duration{second, 3 * second, 40 * second}[r.IntN(3)]
	}
	if odds(0.4) {
		f.Gone = 0.1
	}
	if odds(0.4) {
		f.WorkerCrash = 20 * second
	}
	if odds(0.5) {
		f.SidecarCrash = 15 * second
	}
	if odds(0.5) {
		f.Freeze, f.Frozen = 15*second, []time.Duration{2 * second, 20 * second, 60 * second}[r.IntN(3)]
	}
	if odds(0.4) {
		f.Storage = 0.05
	}
	if odds(0.4) {
		f.Pause = 0.05
	}
	if odds(0.4) {
		f.Step, f.StepMost = 30*second, []time.Duration{900 * time.Millisecond, 5 * second, 100 * second}[r.IntN(3)]
	}
	if odds(0.5) {
		f.Policy, f.PolicyDelay = []time.Duration{2 * second, 10 * second}[r.IntN(2)], []time.Duration{0, 50 * time.Millisecond, 2 * second}[r.IntN(3)]
	}
	if odds(0.3) {
		f.Expiry = 0.1
	}
	s.draw(r)
	return s
}

// draw makes limits and the classes of requests that have them.
func (s *scenario) draw(r *rand.Rand) {
	n := 1
	if r.IntN(2) == 0 {
		n += r.IntN(4)
	}
	for i := range n {
		l := wire.Limit{Name: fmt.Sprintf("limit%d", i), Key: "subscription:1", Unit: wire.UnitCalls}
		switch r.IntN(6) {
		case 0, 1:
			l.Kind, l.WindowMillis = wire.KindRate, 1000*int64(1+r.IntN(20))
		case 2:
			l.Kind, l.WindowMillis = wire.KindRate, []int64{1000, 5000, 10_000, 25_000}[r.IntN(4)]
		case 3, 4:
			l.Kind = wire.KindQuota
			l.WindowMillis = 1000 * int64(3+r.IntN(40))
			l.StartMillis = epoch - r.Int64N(100_000)
			if r.IntN(8) == 0 {
				l.WindowMillis = 0
			}
		default:
			l.Kind = wire.KindConcurrency
		}
		l.Amount = amount(r, l.Kind)
		l.SuccessOnly = l.Kind != wire.KindConcurrency && r.IntN(4) == 0
		s.limits = append(s.limits, l)
	}
	if r.IntN(4) == 0 {
		s.limits = append(s.limits, wire.Limit{Name: "bytes", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitBytes, Amount: 10_000, WindowMillis: 5000})
	}
	if r.IntN(4) == 0 {
		s.limits = append(s.limits, wire.Limit{Name: "report", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 10, WindowMillis: 5000, ReportOnly: true})
	}
	for i := range s.limits {
		s.classes = append(s.classes, []int{i}) // for the burst at the end
	}
	for range 1 + r.IntN(3) {
		var class []int
		for i := range s.limits {
			if r.IntN(3) > 0 {
				class = append(class, i)
			}
		}
		if len(class) > 1 {
			s.classes = append(s.classes, class)
		}
	}
}

// amount is small, so that it is leased call by call, or large; both sides of the border
// are common.
func amount(r *rand.Rand, kind wire.LimitKind) int64 {
	switch {
	case kind == wire.KindConcurrency:
		return 1 + r.Int64N(5)
	case r.IntN(20) == 0:
		return 0
	case r.IntN(2) == 0:
		return 1 + r.Int64N(12)
	}
	return 250 + r.Int64N(100)
}

// policy is a state of the amounts; its number is its place among all.
type policy struct {
	number int
	limits []wire.Limit
}

// of is the limits of one class of requests.
func (p *policy) of(class []int) []wire.Limit {
	limits := make([]wire.Limit, len(class))
	for i, index := range class {
		limits[i] = p.limits[index]
	}
	return limits
}
