package simulation_test

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// every has something happen again and again, until the world is calm.
func (w *world) every(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.after(w.about(mean), func() {
		if w.calm {
			return
		}
		do()
		w.every(mean, do)
	})
}

// disturb begins all faults that come by themselves.
func (w *world) disturb() {
	f := &w.Faults
	for _, k := range w.workers {
		w.every(f.WorkerCrash, k.crash)
		w.every(f.Freeze, func() { k.freeze(w.between(0, f.Frozen)) })
	}
	for _, c := range w.sidecars {
		w.every(f.SidecarCrash, c.crash)
	}
	w.every(f.Policy, w.publish)
	w.every(f.Step, func() {
		by := w.between(-f.StepMost, f.StepMost)
		if c := w.witness(); c != nil && w.now > w.server.last+3*second {
			w.server.step(by)
			c.guards = true
		}
	})
}

// witness is a sidecar that will see a step of the clock: one that was there before.
func (w *world) witness() *sidecar {
	for _, c := range w.sidecars {
		if c.up && c.sure {
			return c
		}
	}
	return nil
}

// publish changes an amount. Everybody hears of it in their own time.
func (w *world) publish() {
	last := w.policies[len(w.policies)-1]
	next := &policy{number: len(w.policies), limits: slices.Clone(last.limits)}
	l := &next.limits[w.chance.IntN(len(next.limits))]
	if l.Unit == wire.UnitCalls && !l.ReportOnly {
		l.Amount = amount(w.chance, l.Kind)
		w.note("%s has amount %d from now on", l.Name, l.Amount)
	}
	w.policies = append(w.policies, next)
	for _, c := range w.sidecars {
		w.after(w.between(0, w.Faults.PolicyDelay), func() { c.learn(next) })
	}
	for _, k := range w.workers {
		w.after(w.between(0, w.Faults.PolicyDelay), func() { k.learn(next) })
	}
}

// demand begins the arrival of requests: for each class phases of silence, of some calls and
// of many, and bursts.
func (w *world) demand() {
	for class := range w.classes {
		w.phase(class)
	}
}

func (w *world) phase(class int) {
	if w.calm || w.Load == 0 {
		return
	}
	supply := 30.0 // calls a second
	longest, burst := second, 40
	for _, l := range w.policies[len(w.policies)-1].of(w.classes[class]) {
		window := time.Duration(l.WindowMillis) * time.Millisecond
		if l.Kind != wire.KindConcurrency && l.Unit == wire.UnitCalls && !l.ReportOnly && window > 0 {
			supply = min(supply, float64(l.Amount)/window.Seconds())
			longest, burst = max(longest, window), int(min(400, 20+2*l.Amount))
		}
	}
	if w.happens(0.3) {
		k, n := w.someone(), 1+w.chance.IntN(burst)
		for range n {
			w.after(w.between(0, 20*time.Millisecond), func() { k.arrive(class) })
			if w.happens(0.2) {
				k = w.someone()
			}
		}
	}
	end := w.now + w.between(longest/5, 3*longest/2)
	if rate := supply * w.Load * []float64{0, 0.5, 1, 2}[w.chance.IntN(4)]; rate > 0 {
		w.arrivals(class, time.Duration(float64(second)/rate), end)
	}
	w.after(end-w.now, func() { w.phase(class) })
}

func (w *world) arrivals(class int, mean, end time.Duration) {
	w.after(w.about(mean), func() {
		if w.calm || w.now > end {
			return
		}
		w.someone().arrive(class)
		w.arrivals(class, mean, end)
	})
}

func (w *world) someone() *worker { return w.workers[w.chance.IntN(len(w.workers))] }
