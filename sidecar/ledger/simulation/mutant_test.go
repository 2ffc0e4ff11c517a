package simulation_test

import (
	"testing"

	"github.com/tollgate/tollgate/internal/wire"
)

// mutant is one way to do it wrong: the test must notice.
type mutant int

const (
	none mutant = iota
	countingToNow
	countingToSlot
	chargingAtGrant
	refundUnchecked
	deadlineFromReply
	spendingPastDeadline
	spendingAfterSettle
	quotaPastPeriod
	looserSpec
	twoClocks
	commitLost
	commitAfterReply
)

// mutantSteps is within how many steps each mutant has to be found.
const mutantSteps = 3_000_000

// TestMutantsAreKilled has each mutant of the algorithm fail, in a world that is sound
// without it.
func TestMutantsAreKilled(t *testing.T) {
	for name, c := range map[string]struct {
		mutant mutant
		world  func(*scenario) // as the mutant needs it; nil: any
	}{
		"1 counting only slots up to now":             {countingToNow, nil},
		"1 counting only slots up to the lease's own": {countingToSlot, func(s *scenario) { s.Faults.Expiry = 0.3 }},
		"2 charging at grant time":                    {chargingAtGrant, nil},
		"3 a refund without the open check":           {refundUnchecked, nil},
		"4 deadline from the reply": {deadlineFromReply, func(s *scenario) {
			s.only(wire.Limit{Name: "short", Kind: wire.KindQuota, Amount: 5, WindowMillis: 3000})
			s.Load, s.Faults.Policy, s.Faults.Slow, s.Faults.Slowest = 3, 0, 0.3, 3*second
		}},
		"5 spending past the deadline":            {spendingPastDeadline, nil},
		"6 spending after settle":                 {spendingAfterSettle, nil},
		"7 a quota lease across the period's end": {quotaPastPeriod, nil},
		"8 units of a looser spec spent under a stricter": {looserSpec, func(s *scenario) {
			s.only(wire.Limit{Name: "long", Kind: wire.KindRate, Amount: 300, WindowMillis: 100_000})
			s.Load, s.Faults.Policy, s.Faults.PolicyDelay, s.Faults.Slow, s.Faults.Slowest = 0.1, 2*second, 0, 0.5, 2*second
		}},
		"9 two sidecars with clocks 90 s apart": {twoClocks, func(s *scenario) { s.Shared, s.Sidecars = true, 2 }},
		"10 a commit that is lost":              {commitLost, nil},
		"10 a commit after the reply":           {commitAfterReply, nil},
	} {
		t.Run(name, func(t *testing.T) {
			steps := 0
			for seed := uint64(1); steps < mutantSteps; seed++ {
				s := newScenario(seed)
				s.Faults.Step = 0
				if c.world != nil {
					c.world(&s)
				}
				w := newWorld(s, c.mutant, nil)
				w.run(w.Length)
				if steps += w.steps; w.failure == nil {
					continue
				}
				t.Logf("killed by seed %d after %d steps in all: %v", seed, steps, w.failure)
				sound := newWorld(s, none, nil)
				if sound.run(sound.Length); sound.failure != nil {
					t.Errorf("-seed=%d: and without the mutant: %v", seed, sound.failure)
				}
				return
			}
			t.Errorf("it survived %d steps", steps)
		})
	}
}

// only makes it a world of one limit of calls.
func (s *scenario) only(l wire.Limit) {
	l.Key, l.Unit = "subscription:1", wire.UnitCalls
	s.limits, s.classes = []wire.Limit{l}, [][]int{{0}}
}
