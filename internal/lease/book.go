// Package lease is one worker's side of limits: which leases it holds, what a request may
// spend of them without asking, when to ask for more, and what to give back
// (docs/limits.md). It is pure: the time comes in, messages come out. It imports no host,
// clock, network or database, and compiles for wasip1.
//
// Two rules carry the promise that no limit is exceeded. A lease counts from the moment at
// which its ask was dispatched, never from the reply; and once a settlement of it has been
// written, nothing is spent from it any more.
package lease

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// driftParts is how far two clocks may drift apart: one part in a thousand.
	driftParts = 1000
	// idleTime is how long a lease stays unused before it is given back.
	idleTime = time.Second
	// askAgain is when a refused request asks again although its limit is not to be free
	// before later: units that are out in leases may have come back.
	askAgain = time.Second
	// horizon is for how long a worker leases ahead, at most.
	horizon = 5 * time.Second
	// reserve is for how long what it holds has to last, or it renews.
	reserve = time.Second
	// ramp is how many times what was spent since the last tick a worker asks for while
	// it does not know yet how much is spent in a second.
	ramp = 4
	// takeTime is longer than any answer to a take is awaited.
	takeTime = 5 * time.Second
	// resendTime is after how long a message without an answer is sent again.
	resendTime = 2500 * time.Millisecond
	// countersMax bounds the counters of one worker; those in use are never dropped.
	countersMax = 1 << 14
	// batchMax is how many settlements one message carries, freshMax how many one that a
	// request sends: who resets streams must not have a backlog sent with each.
	batchMax, freshMax = 512, 32
	// asksMax is how many questions one tick asks; the others are for the next.
	asksMax = 128
	// slotMemory is how long it is remembered that no slot was free, unless this worker
	// frees one; slotRetryMillis is what a client is told.
	slotMemory      = 100 * time.Millisecond
	slotRetryMillis = 1000
)

// Book is what one worker holds of all limits. It is for one goroutine.
type Book struct {
	counters map[name]*counter
	list     []*counter // the same, in an order that does not change by itself
	takes    map[uint64]take
	lastTake uint64
	permits  map[uint64][]*lease // that a take was granted for the request that waited

	settlements []wire.Settlement // to be sent
	again       []wire.Settlement // to be sent again, by a tick
	abandoned   []uint64
	sent        map[uint64]batch // awaiting their answer
	lastBatch   uint64
}

// name is a counter as policies and the ledger name it.
type name struct{ limit, key string }

func nameOf(l *wire.Limit) name { return name{l.Name, l.Key} }

// counter is what a worker knows of one counter.
type counter struct {
	name   name
	leases []*lease // not settled yet, by age
	denied denial
	spent  int64   // units that were spent or wanted since the last tick
	asking int64   // units that takes under way have asked for
	owed   int64   // units of what is only reported, spent without a lease
	rate   float64 // units a second, smoothed
	life   time.Duration
	ask    *wire.Ask // the latest question whose decision has this limit
	asked  time.Time // when a renewal was asked for
	left   int64     // of the limit beside what this worker holds, at the last reply
	reset  time.Time // when more will be left; zero: not known
	used   time.Time
}

// take is one that an answer is awaited to.
type take struct {
	dispatched time.Time
	wanted     []wanted
}

type wanted struct {
	counter *counter
	units   int64
}

// denial is a refusal that is remembered.
type denial struct {
	limit    wire.Limit // as it was when it was refused
	until    time.Time  // zero: none; see forever
	again    time.Time  // ask again from then on although until is later; zero: do not
	decision string     // id of the refusal on record
}

// forever is the time until which a refusal stands that never ends by itself.
var forever = time.Unix(1<<40, 0)

// lease is a part of one counter.
type lease struct {
	limit      wire.Limit // under which it was granted
	counter    *counter
	id         int64 // the ledger's, of the counter
	take       uint64
	units      int64
	spent      int64
	dispatched time.Time
	deadline   time.Time
	life       time.Duration
	last       time.Time // of spending; dispatched before the first
	open       int       // spendings whose outcome is not known yet
	closed     bool      // nothing is spent from it any more
	extended   time.Time // when a slot in use was last held on to
}

// NewBook makes an empty book.
func NewBook() *Book {
	b := &Book{}
	b.Clear()
	return b
}

// Clear forgets everything: what the book held was of another ledger.
func (b *Book) Clear() {
	last := b.lastTake
	*b = Book{counters: make(map[name]*counter), takes: make(map[uint64]take), permits: make(map[uint64][]*lease), sent: make(map[uint64]batch), lastTake: last}
}

// Forget drops the refusals that are remembered: an administrator has reset a limit.
func (b *Book) Forget() {
	for _, c := range b.list {
		c.denied = denial{}
	}
}

// Unask drops the questions that leases were renewed with: the policy has moved.
func (b *Book) Unask() {
	for _, c := range b.list {
		c.ask = nil
	}
}

// counterOf finds a limit's counter, or begins it.
func (b *Book) counterOf(l *wire.Limit) *counter {
	c := b.counters[nameOf(l)]
	if c == nil {
		if len(b.counters) >= countersMax {
			b.dropIdle()
		}
		c = &counter{name: nameOf(l)}
		b.counters[c.name] = c
		b.list = append(b.list, c)
	}
	return c
}

// dropIdle makes room: first counters that say nothing, then those that only remember a
// refusal, which costs one ask each to learn again.
func (b *Book) dropIdle() {
	b.drop(func(c *counter) bool { return c.idle() && c.denied.until.IsZero() })
	if len(b.list) > countersMax/2 {
		b.drop((*counter).idle)
	}
}

// idle says whether nothing but a refusal is known.
func (c *counter) idle() bool { return len(c.leases) == 0 && c.asking == 0 && c.owed == 0 }

func (b *Book) drop(idle func(*counter) bool) {
	b.list = slices.DeleteFunc(b.list, func(c *counter) bool {
		if idle(c) {
			delete(b.counters, c.name)
			return true
		}
		return false
	})
}

// usable finds a lease to spend a unit of l from.
func (c *counter) usable(l *wire.Limit, now time.Time) *lease {
	for _, lease := range c.leases {
		if lease.usable(l, now) {
			return lease
		}
	}
	return nil
}

func (lease *lease) usable(l *wire.Limit, now time.Time) bool {
	return !lease.closed && lease.room() && lease.under(l) && lease.alive(now)
}

// room says whether there is a unit to spend. What is only reported always has.
func (lease *lease) room() bool { return lease.limit.ReportOnly || lease.spent < lease.units }

// under says whether the lease was granted under a limit at least as strict as l, on the
// same counter of the ledger.
func (lease *lease) under(l *wire.Limit) bool {
	g := &lease.limit
	return g.Amount <= l.Amount && g.Kind == l.Kind && g.Unit == l.Unit && g.SuccessOnly == l.SuccessOnly && g.ReportOnly == l.ReportOnly &&
		g.WindowMillis == l.WindowMillis && g.StartMillis == l.StartMillis
}

// alive compares both clocks: one of them may have stood still while the machine slept.
func (lease *lease) alive(now time.Time) bool {
	return now.Before(lease.deadline) && now.Round(0).Before(lease.deadline.Round(0))
}
