package simulation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// quiet is a world in which nothing happens by itself, and nothing goes wrong.
func quiet(seed uint64, sidecars, workers int, l wire.Limit) *world {
	s := scenario{Seed: seed, Shared: sidecars > 1, Sidecars: sidecars, Workers: workers, Drift: 1000}
	s.only(l)
	return newWorld(s, none, nil)
}

// still ends all faults, and lets everybody know the last policy.
func (w *world) still() {
	w.calm = true
	last := w.policies[len(w.policies)-1]
	for _, k := range w.workers {
		k.frozen = 0
		k.learn(last)
	}
	for _, c := range w.sidecars {
		c.learn(last)
	}
}

// burst sends calls of a class to all workers at once, those that are refused again when
// unused leases have been given back, and counts who is admitted, and who at the first time.
func (w *world) burst(class int, calls int64, tries int) (first, all int64) {
	for try := range tries {
		var admitted int64
		for range calls - all {
			w.someone().request(class, func(ok bool) {
				if ok {
					admitted++
				}
			})
		}
		w.run(w.now + 2500*time.Millisecond)
		if all += admitted; try == 0 {
			first = admitted
		}
	}
	return first, all
}

func TestASteadyClientIsNeverRefused(t *testing.T) {
	for name, l := range map[string]wire.Limit{
		"5 a minute":    {Name: "minute", Kind: wire.KindRate, Amount: 5, WindowMillis: 60_000},
		"1 in 10 s":     {Name: "slow", Kind: wire.KindRate, Amount: 1, WindowMillis: 10_000},
		"20 in 30 s":    {Name: "half", Kind: wire.KindRate, Amount: 20, WindowMillis: 30_000},
		"256 a minute":  {Name: "most", Kind: wire.KindRate, Amount: 256, WindowMillis: 60_000},
		"3 at a second": {Name: "second", Kind: wire.KindRate, Amount: 3, WindowMillis: 3000},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				w := quiet(seed, 1+int(seed%3), 3, l)
				w.run(5 * second) // sidecars that came later answer by now
				interval := time.Duration(l.WindowMillis)*time.Millisecond/time.Duration(l.Amount) + 100*time.Millisecond
				refused := 0
				for range 300 {
					w.someone().request(0, func(ok bool) {
						if !ok {
							refused++
						}
					})
					w.run(w.now + interval)
				}
				if refused > 0 || w.oracle.admitted != 300 {
					t.Errorf("seed %d: %d refused, %d admitted of 300, one every %v", seed, refused, w.oracle.admitted, interval)
				}
			}
		})
	}
}

// TestAllIsFreeAgainAfterFaults: once nothing goes wrong any more, a limit's whole amount is
// admitted when its window has passed, the life of a lease, and as much time as the clock
// stepped over.
func TestAllIsFreeAgainAfterFaults(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		s := newScenario(seed)
		s.Faults.Expiry = 0 // what a subscription has lost by its end does not come back
		w := newWorld(s, none, nil)
		w.run(w.Length)
		w.still()
		longest := 30 * second
		for _, l := range w.limits {
			longest = max(longest, time.Duration(l.WindowMillis)*time.Millisecond)
		}
		w.run(w.now + 2*longest + 2*w.server.total + 10*second)
		limits := w.policies[len(w.policies)-1].limits
		for class, index := range w.classes {
			l := limits[index[0]]
			forLife := l.Kind == wire.KindQuota && l.WindowMillis == 0
			if len(index) > 1 || l.Unit != wire.UnitCalls || l.ReportOnly || forLife {
				continue
			}
			first, all := w.burst(class, l.Amount, 8)
			if l.Amount <= wire.PermitMax && l.Kind != wire.KindConcurrency && first != l.Amount || all != l.Amount {
				t.Errorf("seed %d: %s %s admits %d, then %d, of %d", seed, l.Kind, l.Name, first, all, l.Amount)
			}
			w.run(w.now + longest)
		}
		if w.failure != nil {
			t.Errorf("seed %d: %v", seed, w.failure)
		}
	}
}

// TestACrashWastesWhatWasHeld, and no longer than a window and the life of a lease.
func TestACrashWastesWhatWasHeld(t *testing.T) {
	const window = 10 * second
	for _, amount := range []int64{20, 300, 1000} {
		t.Run(fmt.Sprint(amount), func(t *testing.T) {
			for seed := range uint64(5) {
				w := quiet(seed, 1, 2, wire.Limit{Name: "rate", Kind: wire.KindRate, Amount: amount, WindowMillis: window.Milliseconds()})
				crashing, other := w.workers[0], w.workers[1]
				for range amount / 4 {
					crashing.arrive(0)
					w.run(w.now + second/time.Duration(amount))
				}
				before, held := int64(w.oracle.admitted), w.storage.held(crashing.vm)
				crashing.crash()
				w.workers = []*worker{other}
				w.burst(0, amount-before-held, 3)
				if now := int64(w.oracle.admitted); now != amount-held {
					t.Errorf("seed %d: %d admitted in the window, want all %d but the %d that were held", seed, now, amount, held)
				}
				w.run(w.now + window + 2*second)
				before = int64(w.oracle.admitted)
				if w.burst(0, amount, 4); int64(w.oracle.admitted)-before != amount {
					t.Errorf("seed %d: %d admitted after all that, want %d", seed, int64(w.oracle.admitted)-before, amount)
				}
			}
		})
	}
}

// TestTheSameSeedIsTheSameWorld is what makes a failure repeatable.
func TestTheSameSeedIsTheSameWorld(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var runs [2][]string
		for i := range runs {
			w := newWorld(newScenario(seed), none, func(line string) { runs[i] = append(runs[i], line) })
			w.run(w.Length)
		}
		for i := range runs[0] {
			if i >= len(runs[1]) || runs[0][i] != runs[1][i] {
				t.Fatalf("seed %d: line %d differs: %s", seed, i, runs[0][i])
			}
		}
	}
}
