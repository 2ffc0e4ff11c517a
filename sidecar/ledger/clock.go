package ledger

import (
	"iter"
	"math"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// jump is by how much, in ms, the clock is ahead of the time that passed for it to
	// have stepped. Less than that is not followed, see clock.accept, and not remembered.
	jump = 10
	// longestLife is the longest life of a lease, in ms.
	longestLife = 30_000
	// quotaLife is the longest life of a lease of a quota, in ms, deferredLife that of one
	// of a limit that is Deferred.
	quotaLife    = 15_000
	deferredLife = 15_000
	// drift is one part in so many by which the rates of two clocks may differ.
	drift = 1000
)

// clock is what one ledger knows about the storage's clock: a pair of it and of the time
// that passed by this process's own count, and the steps that any ledger has seen. Ledger
// time never runs faster than real time, which is what the promise rests on.
type clock struct {
	known bool
	// ceiling is the storage's clock less own time, at most: nothing but a step lifts it.
	// It rests on the reading at mark. floor is the same at least, at the last reading.
	ceiling, floor int64
	mark           int64 // own time, ms
	last           int64 // own time of the last reading
	// high is the highest ledger time that is known: quotas never go back before it.
	high  int64
	steps []Step
	// timeline is the last Reading.Timeline.
	timeline string
}

// reading is a Reading, and own time before and after it was taken, in ms, rounded so that
// it was taken between the two.
type reading struct {
	Reading
	before, after int64
}

func read(rows Rows, own func() time.Duration) (reading, error) {
	before := own().Milliseconds()
	r, err := rows.Now()
	after := own().Milliseconds() + 1
	return reading{r, before, after}, err
}

// limitAt is the latest that the clock can show at own time now without a step.
func (c *clock) limitAt(now int64) int64 { return c.ceiling + now + max(0, now-c.mark)/drift }

// stepped says that the clock has stepped forward, or that commits may have been lost.
func (c *clock) stepped(r reading) bool {
	return c.known && (c.ahead(r) || r.Timeline != c.timeline)
}

// ahead says that a reading is later than the clock can show without a step.
func (c *clock) ahead(r reading) bool { return r.T > c.limitAt(r.after)+jump }

// fell says that a reading is earlier than the clock can show without a step back.
func (c *clock) fell(r reading) bool {
	return c.known && r.T < c.floor+r.before-max(0, r.before-c.last)/drift-2
}

// accept takes a reading that has not stepped and returns the ledger time. A step forward
// that is too small to be one is absorbed: the time goes on from where it was, at the rate
// of real time, until the clock is no longer ahead.
func (c *clock) accept(r reading) int64 {
	t := r.T
	if c.known {
		t = min(t, c.limitAt(r.after))
	}
	c.high = max(c.high, t)
	if ceiling := t - r.before; !c.known || ceiling <= c.limitAt(r.before)-r.before {
		c.ceiling, c.mark = ceiling, r.before
	}
	c.floor, c.last = t-r.after, r.after
	c.known, c.timeline = true, r.Timeline
	return t
}

// step is the step that a reading shows, rounded up.
func (c *clock) step(r reading) Step {
	return Step{Before: c.floor + r.before, After: r.T, High: c.high}
}

// followed moves the pair by a step that is on record.
func (c *clock) followed(s Step) {
	c.ceiling += s.After - s.Before
	c.floor += s.After - s.Before
}

// estimate is about what the clock shows at own time now.
func (c *clock) estimate(now int64) int64 { return max(c.high, c.floor+now) }

// back is each step, the newest first, with the time t as the clock would show it without
// the steps after that one: so much has really passed since.
func (c *clock) back(t int64) iter.Seq2[Step, int64] {
	return c.without(t, func(s Step) int64 { return s.After - s.Before })
}

func (c *clock) without(t int64, length func(Step) int64) iter.Seq2[Step, int64] {
	return func(yield func(Step, int64) bool) {
		t := t
		for _, s := range slices.Backward(c.steps) {
			if !yield(s, t) {
				return
			}
			t -= length(s)
		}
	}
}

// stretch is how much longer, in ms, a window has to be than it is, so that charges from
// before a step of the clock count as long as they would have without it. That is over when
// the last lease from before it is out of the window.
func (c *clock) stretch(t, window int64) (ms int64) {
	for s, t := range c.back(t) {
		if t < s.After+window+longestLife {
			ms += s.After - s.Before
		}
	}
	return ms
}

// lost is how long nothing can be granted, since what was granted in the window may have
// been lost.
func (c *clock) lost(t, window int64) (ms int64) {
	for s, t := range c.back(t) {
		if s.Lost {
			ms = max(ms, s.After+window+longestLife-t)
		}
	}
	return ms
}

// over is the steps that no longer matter to anything at time t.
func (c *clock) over(t int64) (past []Step) {
	for s, t := range c.back(t) {
		if t > s.After+(s.After-s.Before)+longestWindow+longestLife {
			past = append(past, s)
		}
	}
	return past
}

// period is the number of a quota's period at time t, which is never before high, and how
// long it lasts from then. No step of the clock opens a period early: one whose beginning
// was jumped over begins when so much time has really passed as was missing, and until then
// the one that was the latest before goes on. One whose beginning came nearer does not begin
// before the last lease of the one before it has ended.
func (c *clock) period(l *wire.Limit, t int64) (n, left int64) {
	if l.WindowMillis == 0 {
		return 0, Forever
	}
	n = floorDiv(t-l.StartMillis, l.WindowMillis)
	left = l.StartMillis + (n+1)*l.WindowMillis - t
	ahead := func(s Step) int64 { return max(0, s.After-max(s.Before, s.High)) }
	for s, t := range c.without(t, ahead) {
		from := max(s.Before, s.High)
		old := floorDiv(from-l.StartMillis, l.WindowMillis)
		border := l.StartMillis + (old+1)*l.WindowMillis
		opens := s.After + border - s.Before
		if border > s.After {
			opens = s.After + min(quotaLife, border-from)
		}
		if s.After > from && t < opens && old < n {
			n, left = old, opens-t
		}
	}
	return n, left
}

// floorDiv is the quotient rounded down, for b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// used is the later end of a use that began at ledger time granted, age ms of a worker's
// clock ago: never too early, whatever the rates of the clocks.
func used(granted, age int64) int64 {
	if age > math.MaxInt32 {
		return Forever
	}
	return granted + age + (age+drift-1)/drift + 1
}
