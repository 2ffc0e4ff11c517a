package simulation_test

import (
	"flag"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "look for the shortest failure like that of this world, and show what happens in it")
	stepsFlag = flag.Int("steps", 1_000_000, "how many steps to simulate at least, of each kind of worlds")
)

// kinds of worlds: any, and those in which what is rare elsewhere happens often.
var kinds = map[string]func(*scenario){
	"any": func(*scenario) {},
	"clocks": func(s *scenario) {
		f := &s.Faults
		f.Step, f.SidecarCrash = 8*second, 10*second
		f.StepMost = []time.Duration{900 * time.Millisecond, 5 * second, 30 * second, 100 * second}[s.Seed%4]
		s.limits, s.classes = s.limits[:1], s.classes[:1]
	},
	"borders": func(s *scenario) { // of the periods of a quota that is leased in advance
		f := &s.Faults
		f.Step, f.StepMost, f.SidecarCrash = 8*second, []time.Duration{3 * second, 10 * second, 30 * second}[s.Seed%3], 20*second
		s.only(wire.Limit{Name: "quota", Kind: wire.KindQuota, Amount: 260 + int64(s.Seed%40), WindowMillis: 6000 + int64(s.Seed%7)*5000, StartMillis: epoch - int64(s.Seed%13)*777})
		s.Load = []float64{0.9, 1.5, 3}[s.Seed%3]
	},
}

// TestNoLimitOverAdmits is invariant I1.
func TestNoLimitOverAdmits(t *testing.T) {
	for kind, change := range kinds {
		t.Run(kind, func(t *testing.T) {
			if *seedFlag != 0 {
				show(t, changed(*seedFlag, change))
				return
			}
			began := time.Now()
			steps, admitted, worlds := 0, 0, 0
			for seed := uint64(1); steps < *stepsFlag; seed++ {
				w := newWorld(changed(seed, change), none, nil)
				w.run(w.Length)
				if steps, worlds, admitted = steps+w.steps, worlds+1, admitted+w.oracle.admitted; w.failure != nil {
					t.Errorf("-run '%s' -seed=%d shows the shortest of its kind: %v", t.Name(), seed, w.failure)
				}
			}
			t.Logf("%d steps in %d worlds, %d calls admitted, %.0f steps/s", steps, worlds, admitted, float64(steps)/time.Since(began).Seconds())
		})
	}
}

func changed(seed uint64, change func(*scenario)) scenario {
	s := newScenario(seed)
	change(&s)
	return s
}

// show prints the shortest failure that is found from a scenario on.
func show(t *testing.T, s scenario) {
	shortest := shrink(s, none)
	if shortest == nil {
		return
	}
	w := newWorld(shortest.scenario, none, func(line string) { t.Log(line) })
	t.Logf("%+v", w.scenario)
	w.run(w.Length)
	t.Error(w.failure)
}
