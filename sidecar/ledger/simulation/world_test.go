package simulation_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// world is one run. Its time is the true one, since it began.
type world struct {
	scenario
	chance  *rand.Rand
	now     time.Duration
	events  events
	planned uint64 // events so far; those at one time happen in their order
	steps   int

	server   *server
	storage  *storage
	sidecars []*sidecar
	workers  []*worker
	policies []*policy // all that were ever published
	oracle   *oracle

	mutant  mutant
	calm    bool  // no faults from now on
	failure error // the first; the world stops
	trace   func(string)
	vms     int
}

func newWorld(s scenario, m mutant, trace func(string)) *world {
	w := &world{scenario: s, mutant: m, trace: trace, chance: rand.New(rand.NewPCG(s.Seed, 1))}
	w.server = &server{world: w, ppm: -w.upTo(s.Drift / 2)}
	w.storage = newStorage(w)
	w.oracle = newOracle(w)
	w.policies = []*policy{{limits: s.limits}}
	for i := range s.Sidecars {
		w.sidecars = append(w.sidecars, newSidecar(w, i))
	}
	for i := range s.Workers {
		w.workers = append(w.workers, newWorker(w, i))
	}
	w.demand()
	w.disturb()
	return w
}

// run has events happen until one of them fails or the time is over.
func (w *world) run(until time.Duration) {
	for w.failure == nil && len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = max(w.now, e.at)
		w.steps++
		e.do()
	}
	if w.failure == nil {
		w.now = max(w.now, until)
	}
}

func (w *world) fail(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf("after %v and %d steps: %s", w.now, w.steps, fmt.Sprintf(format, args...))
		w.note("%v", w.failure)
	}
}

// note is for a trace; arguments are only looked at when there is one.
func (w *world) note(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%12.6f ", w.now.Seconds()) + fmt.Sprintf(format, args...))
	}
}

// event is what happens at some time.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

func (w *world) after(d time.Duration, do func()) {
	w.planned++
	heap.Push(&w.events, event{w.now + d, w.planned, do})
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last].do = nil
	*e = (*e)[:last]
	return x
}

// happens is true with a probability; faults end when the world is calm.
func (w *world) happens(p float64) bool { return p > 0 && w.chance.Float64() < p }
func (w *world) fault(p float64) bool   { return !w.calm && w.happens(p) }

// between is a random time from a to b.
func (w *world) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(w.chance.Int64N(int64(b-a)))
}

// about is a random time around a mean, sometimes much longer.
func (w *world) about(mean time.Duration) time.Duration {
	return time.Duration(float64(mean) * w.chance.ExpFloat64())
}

// upTo is a random number from 0 to n.
func (w *world) upTo(n int64) int64 { return w.chance.Int64N(n + 1) }

// around is a random number from -n to n.
func (w *world) around(n int64) int64 { return w.upTo(2*n) - n }

// scaled is a duration by a clock that is ppm millionths faster.
func scaled(d time.Duration, ppm int64) time.Duration {
	return d + time.Duration(int64(d)/1000*ppm/1000)
}
