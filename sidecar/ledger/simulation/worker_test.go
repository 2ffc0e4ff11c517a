package simulation_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/wire"
)

const (
	tickTime = 250 * time.Millisecond
	callTime = 2 * time.Second
)

// worker is one VM of a filter. It does with its book what internal/gate and plugin do.
type worker struct {
	*world
	index     int
	life      int // counts VMs: what was planned for an earlier one does not happen
	vm        string
	book      *lease.Book
	ppm       int64
	policy    *policy
	decisions []*decision // kept, by class
	frozen    time.Duration
	rounding  bool
	ticked    time.Time
	returned  []wire.Settlement // of a mutant
}

// decision is one that is kept, with the question that it answers.
type decision struct {
	ask    wire.Ask
	limits []wire.Limit
}

func newWorker(w *world, index int) *worker {
	k := &worker{world: w, index: index, policy: w.policies[0]}
	k.start()
	return k
}

func (k *worker) start() {
	k.life++
	k.vms++
	k.vm = "w" + strconv.Itoa(k.vms)
	k.book, k.decisions, k.rounding, k.returned = lease.NewBook(), make([]*decision, len(k.classes)), false, nil
	k.ppm = k.around(k.Drift)
	k.ticked = k.time()
	k.later(k.between(0, tickTime), k.tick)
}

// crash loses the VM with all that it holds, and its streams.
func (k *worker) crash() {
	k.note("%s crashes", k.vm)
	k.oracle.crashed(k.vm)
	k.frozen = 0
	k.start()
}

// freeze has the worker do nothing for a while. Its clock goes on.
func (k *worker) freeze(d time.Duration) {
	k.note("%s freezes for %v", k.vm, d)
	k.frozen = k.now + d
}

// time is the worker's clock.
func (k *worker) time() time.Time {
	return time.UnixMilli(epoch).UTC().Add(time.Duration(k.index)*time.Hour + scaled(k.now, k.ppm))
}

// later has something happen in this VM, when it is not frozen.
func (k *worker) later(d time.Duration, do func()) {
	life := k.life
	var event func()
	event = func() {
		switch {
		case k.life != life:
		case k.now < k.frozen:
			k.after(k.frozen-k.now+k.between(0, time.Millisecond), event)
		default:
			do()
		}
	}
	k.after(d, event)
}

func (k *worker) learn(p *policy) {
	if p.number > k.policy.number {
		k.policy = p
		k.decisions = make([]*decision, len(k.classes))
		k.book.Unask()
	}
}

// call sends a message. done gets its reply, or none, exactly once; what comes after that
// is offered to the book, which must not take it.
func (k *worker) call(m message, done func(reply)) {
	over := false
	finish := func(r reply) {
		if !over {
			over = true
			done(r)
			return
		}
		for i := range r.answers {
			if take := m.asks[i].Take; k.book.Granted(take.ID, r.answers[i].Limits, r.answers[i].Leases, k.time()) {
				k.fail("a reply to take %d of %s was taken twice", take.ID, k.vm)
			}
		}
	}
	life := k.life
	m.vm, m.settlements = k.vm, append(slices.Clone(m.settlements), k.returned...)
	k.returned = nil
	m.reply = func(r reply) {
		k.transmit(func() {
			if k.life == life {
				k.later(0, func() { finish(r) })
			}
		})
	}
	c := k.route()
	k.transmit(func() { c.receive(m) })
	k.later(callTime, func() {
		if !over {
			over = true
			done(reply{})
		}
	})
}

// route is the worker's own sidecar, mostly.
func (k *worker) route() *sidecar {
	c := k.sidecars[k.index%len(k.sidecars)]
	if !c.up || k.happens(0.02) {
		c = k.sidecars[k.chance.IntN(len(k.sidecars))]
	}
	return c
}

// tick is plugin.round and gate.Tick.
func (k *worker) tick() {
	k.later(tickTime, k.tick)
	if k.rounding {
		return
	}
	now := k.time()
	asks := k.book.Tick(now, now.Sub(k.ticked))
	k.ticked = now
	m := k.book.Message(now)
	if len(asks) == 0 && m.ID == 0 {
		return
	}
	k.rounding = true
	k.call(message{asks: asks, settlements: m.Settlements, abandoned: slices.Clone(m.Abandoned)}, func(r reply) {
		k.rounding = false
		k.settled(m.ID, r.settled)
		for i, ask := range asks {
			if !r.ok || r.answers[i].Error != "" || r.answers[i].Stale != nil {
				k.book.Lost(ask.Take.ID)
				continue
			}
			k.granted(ask.Take.ID, now, r.answers[i])
			k.keep(ask, r.answers[i])
		}
	})
}

func (k *worker) settled(id uint64, ok bool) {
	switch {
	case id == 0:
	case ok:
		k.book.Settled(id)
	default:
		k.book.Unsettled(id)
	}
}

// granted takes leases; mutants change them before.
func (k *worker) granted(take uint64, asked time.Time, a wire.Answer) {
	leases := slices.Clone(a.Leases)
	for i := range leases {
		g := &leases[i]
		switch l := a.Limits[g.Limit]; {
		case k.mutant == deadlineFromReply:
			g.LifeMillis += k.time().Sub(asked).Milliseconds()
		case k.mutant == spendingPastDeadline:
			g.LifeMillis *= 10
		case k.mutant == spendingAfterSettle && l.Kind != wire.KindConcurrency && k.happens(0.3):
			k.returned = append(k.returned, wire.Settlement{Take: take, Counter: g.Counter})
		}
	}
	k.book.Granted(take, a.Limits, leases, k.time())
}

// keep is gate.keep.
func (k *worker) keep(ask wire.Ask, a wire.Answer) *decision {
	d := &decision{limits: a.Limits}
	if a.Policy == k.policy.name() && ask.Policy == a.Policy {
		ask.Take = nil
		d.ask = ask
		k.decisions[ask.Subscription] = d
	}
	return d
}

func (p *policy) name() string { return "p" + strconv.Itoa(p.number) }
