package simulation_test

import "slices"

// shrink looks for a smaller world that fails like one that failed: with fewer faults, fewer
// limits and processes, and the fewest steps.
func shrink(s scenario, m mutant) *world {
	best := fails(s, m)
	for again := best != nil; again; {
		again = false
		for _, less := range smaller(best.scenario) {
			if w := shortest(less, m, best.steps); w != nil {
				best, again = w, true
				break
			}
		}
	}
	if best == nil {
		return nil
	}
	for range 5 {
		if w := shortest(best.scenario, m, best.steps-1); w != nil {
			best = w
		}
	}
	return best
}

// shortest tries a world under many seeds; none may take more steps than most.
func shortest(s scenario, m mutant, most int) (best *world) {
	for range 60 {
		if w := fails(s, m); w != nil && w.steps <= most {
			best, most = w, w.steps-1
		}
		s.Seed += 1_000_003
	}
	return best
}

func fails(s scenario, m mutant) *world {
	w := newWorld(s, m, nil)
	if w.run(w.Length); w.failure == nil {
		return nil
	}
	w.Length = w.now + 1
	return w
}

// smaller is all that can be taken from a scenario at once.
func smaller(s scenario) (list []scenario) {
	try := func(change func(*scenario)) {
		less := s
		less.limits, less.classes = slices.Clone(s.limits), slices.Clone(s.classes)
		if change(&less); !same(less, s) {
			list = append(list, less)
		}
	}
	for _, change := range []func(*scenario){
		func(s *scenario) { s.Drift = 0 },
		func(s *scenario) { s.Sidecars = max(1, s.Sidecars-1) },
		func(s *scenario) { s.Workers = max(1, s.Workers-1) },
		func(s *scenario) { s.Faults.Loss = 0 },
		func(s *scenario) { s.Faults.Double = 0 },
		func(s *scenario) { s.Faults.Slow, s.Faults.Slowest = 0, 0 },
		func(s *scenario) { s.Faults.Gone = 0 },
		func(s *scenario) { s.Faults.WorkerCrash = 0 },
		func(s *scenario) { s.Faults.SidecarCrash = 0 },
		func(s *scenario) { s.Faults.Freeze, s.Faults.Frozen = 0, 0 },
		func(s *scenario) { s.Faults.Storage = 0 },
		func(s *scenario) { s.Faults.Pause = 0 },
		func(s *scenario) { s.Faults.Step, s.Faults.StepMost = 0, 0 },
		func(s *scenario) { s.Faults.Policy, s.Faults.PolicyDelay = 0, 0 },
		func(s *scenario) { s.Faults.Expiry = 0 },
	} {
		try(change)
	}
	for i := range s.limits {
		try(func(s *scenario) { s.limits[i].SuccessOnly = false })
	}
	for i := range s.classes {
		if len(s.classes) > 1 {
			try(func(s *scenario) { s.classes = slices.Delete(s.classes, i, i+1) })
		}
	}
	return list
}

func same(a, b scenario) bool {
	return a.Seed == b.Seed && a.Sidecars == b.Sidecars && a.Workers == b.Workers && a.Drift == b.Drift && a.Faults == b.Faults &&
		slices.Equal(a.limits, b.limits) && len(a.classes) == len(b.classes)
}
