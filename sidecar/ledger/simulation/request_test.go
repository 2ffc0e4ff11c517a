package simulation_test

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/wire"
)

const asksMax = 3

// request is one stream. It does what gate.Exchange does.
type request struct {
	*worker
	class    int
	limits   []wire.Limit // of the decision
	renewal  *wire.Ask
	ask      wire.Ask
	asked    time.Time
	asks     int
	askedFor string
	message  uint64
	taken    uint64
	pending  bool
	records  bool // it waits for its intent to be on record
	creates  bool // it says what it is about to do, and waits, before it spends
	intended bool
	spending lease.Spending
	spent    bool
	over     bool
	parts    []*admission
	done     func(admitted bool) // for tests; may be nil
}

func (k *worker) arrive(class int) { k.request(class, nil) }

func (k *worker) request(class int, done func(bool)) {
	k.later(0, func() {
		x := &request{worker: k, class: class, done: done, creates: k.fault(0.05)}
		if k.fault(0.01) {
			k.decisions[class] = nil
		}
		x.question(k.policy.name())
		x.decide()
	})
}

func (x *request) question(policy string) {
	x.ask = wire.Ask{Subscription: uint32(x.class), Policy: policy}
}

func (x *request) decide() {
	if d := x.decisions[x.class]; d != nil {
		x.apply(d)
		return
	}
	x.askNow()
}

func (x *request) apply(d *decision) {
	x.limits, x.renewal = d.limits, nil
	if d.ask.Policy != "" {
		x.renewal = &d.ask
	}
	if x.creates && !x.intended {
		if !x.book.Covers(x.limits, x.time()) {
			x.short()
			return
		}
		x.intend()
		return
	}
	x.pass()
}

// intend is gate.Exchange.intend and Intended.
func (x *request) intend() {
	x.pending, x.records = true, true
	x.mayGo()
	x.later(x.delay(), func() {
		if x.pending && !x.over {
			x.pending, x.records, x.intended = false, false, true
			x.pass()
			x.giveBack()
		}
	})
}

func (x *request) pass() {
	limits := x.limits
	if x.mutant == looserSpec {
		limits = slices.Clone(limits)
		for i := range limits {
			limits[i].Amount = 1 << 40
		}
	}
	if x.spending, x.spent = x.book.Spend(limits, x.renewal, x.time()); !x.spent {
		x.short()
		return
	}
	x.forward()
}

func (x *request) short() {
	if r, refused := x.book.Refused(x.limits, x.time()); refused {
		x.refuse(x.limits[r.Limit].Name)
		return
	}
	x.askNow()
}

// forward is the moment of admission.
func (x *request) forward() {
	x.note("%s admits a call of class %d", x.vm, x.class)
	x.oracle.admit(x)
	if x.done != nil {
		x.done(true)
	}
	d, status := x.between(time.Millisecond, 300*time.Millisecond), 200
	if x.happens(0.05) {
		d = x.between(0, 50*second)
	}
	if x.happens(0.3) {
		status = 500
	}
	if x.calm {
		d, status = time.Millisecond, 200
	}
	x.later(d, func() { x.end(status) })
}

func (x *request) refuse(why string) {
	x.note("%s refuses a call of class %d: %s", x.vm, x.class, why)
	if x.done != nil {
		x.done(false)
	}
	x.later(0, func() { x.end(429) })
}

func (x *request) askNow() {
	if x.asks++; x.asks > asksMax {
		x.refuse("overloaded")
		return
	}
	x.asked, x.askedFor = x.time(), x.policy.name()
	x.ask.Take = x.book.Ask(x.limits, x.asks > 1, x.asked)
	m := x.book.Message(x.asked)
	x.message, x.pending = m.ID, true
	x.mayGo()
	x.call(message{asks: []wire.Ask{x.ask}, settlements: m.Settlements, abandoned: slices.Clone(m.Abandoned)}, func(r reply) {
		switch {
		case x.over || !x.pending: // the host drops the answer with the stream
		case !r.ok:
			x.lose()
			x.refuse("sidecar unavailable")
		default:
			x.settled(x.message, r.settled)
			x.answered(r.answers[0])
		}
	})
}

// answered is gate.Exchange.Answered.
func (x *request) answered(a wire.Answer) {
	x.pending = false
	x.taken = x.ask.Take.ID
	switch {
	case a.Error != "":
		x.book.Lost(x.taken)
	case a.Exhausted != nil:
		x.book.Denied(x.taken, a.Limits, *a.Exhausted, a.Decision, x.time())
	default:
		x.granted(x.taken, x.asked, a)
	}
	x.goOn(a)
	if !x.records {
		x.giveBack()
	}
}

func (x *request) goOn(a wire.Answer) {
	switch held := x.policy.name(); {
	case a.Stale != nil:
		x.question(a.Stale.Revision)
		x.askNow()
	case held != x.askedFor && a.Policy != held:
		x.question(held)
		x.decide()
	case a.Error != "":
		x.refuse(a.Error)
	case a.Exhausted != nil && x.book.Covers(a.Limits, x.time()):
		x.apply(x.keep(x.ask, a)) // other answers have brought units meanwhile
	case a.Exhausted != nil:
		x.keep(x.ask, a)
		x.refuse(a.Limits[a.Exhausted.Limit].Name)
	default:
		x.apply(x.keep(x.ask, a))
	}
}

// mayGo has some streams end while they wait.
func (x *request) mayGo() {
	if x.fault(x.Faults.Gone) {
		x.later(x.between(0, callTime), func() {
			if x.pending {
				x.end(0)
			}
		})
	}
}

func (x *request) lose() {
	x.pending = false
	if x.ask.Take != nil {
		x.book.Lost(x.ask.Take.ID)
		x.book.Unsettled(x.message)
	}
}

func (x *request) giveBack() {
	x.book.Return(x.taken)
	x.taken = 0
}

// end is gate.Exchange.Done.
func (x *request) end(status int) {
	if x.over {
		return
	}
	x.over = true
	if x.pending {
		x.lose()
	}
	x.giveBack()
	if !x.spent {
		return
	}
	x.spent = false
	freed := x.book.Finish(x.spending, lease.Result{Status: status, Bytes: x.upTo(3000)}, x.time())
	x.oracle.finished(x, status)
	if !freed {
		return
	}
	c, m := x.route(), message{vm: x.vm, settlements: x.book.Urgent().Settlements}
	x.transmit(func() { c.receive(m) })
}
