package simulation_test

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

var silent = slog.New(slog.DiscardHandler)

// sidecar is one process with a ledger. It does what sidecar/filterapi and ledger.Run do.
type sidecar struct {
	*world
	index   int
	life    int
	up      bool
	ledger  *ledger.Ledger
	ppm     int64
	began   time.Duration // its own count is 0 then
	origin  int64         // ledger time at which its own count is 0, where it has its own
	ahead   int64         // the wall clock, of that when the last life ended
	policy  *policy
	waiting []message
	sure    bool  // its clock is known, and it would see a step
	guards  bool  // it has a step to see, and must not go before
	cut     int64 // how long the shortest lease lives that is being granted, in ms
}

func newSidecar(w *world, index int) *sidecar {
	c := &sidecar{world: w, index: index, policy: w.policies[0]}
	c.start()
	return c
}

func (c *sidecar) monotonic() time.Duration { return scaled(c.now-c.began, c.ppm) }

func (c *sidecar) start() {
	c.life++
	c.up, c.waiting, c.sure = true, nil, false
	c.policy = c.policies[len(c.policies)-1]
	c.began = c.now - c.between(0, time.Hour)
	c.ppm = c.around(c.Drift / 2)
	if !c.Shared {
		c.ppm = c.server.ppm // one machine's clocks are slewed alike
		c.server.jumped(c.server.millis() - c.ahead)
		c.origin = max(c.server.millis(), c.storage.last()) - c.monotonic().Milliseconds()
	}
	c.ledger = ledger.New(c.storage.of(c), ledger.Options{Log: silent, Monotonic: c.monotonic})
	c.beat()
	c.later(c.between(0, 2*second), c.clean)
}

// crash loses all that was not answered yet, before its transaction or after it.
func (c *sidecar) crash() {
	if !c.up || c.guards {
		return
	}
	c.note("sidecar %d crashes", c.index)
	c.ahead = c.server.millis() - c.origin - c.monotonic().Milliseconds()
	c.life++
	c.up, c.waiting = false, nil
	c.after(c.between(0, 6*second), func() {
		c.note("sidecar %d starts", c.index)
		c.start()
	})
}

func (c *sidecar) later(d time.Duration, do func()) {
	life := c.life
	c.after(d, func() {
		if c.life == life {
			do()
		}
	})
}

func (c *sidecar) learn(p *policy) {
	if p.number > c.policy.number {
		c.policy = p
	}
}

func (c *sidecar) beat() {
	c.later(second+c.between(0, 30*time.Millisecond), c.beat)
	if err := c.ledger.Beat(context.Background()); err == nil {
		c.guards = false
		c.sure = c.sure || !c.Shared || c.monotonic()-scaled(0, c.ppm) > 0 && c.settledIn()
	}
}

// settledIn says that it answers: it awaits no other sidecar's look at the clock.
func (c *sidecar) settledIn() bool {
	return c.ledger.Commit(context.Background(), []ledger.Batch{{Worker: "probe", Abandoned: []uint64{1}}})[0].Err == nil
}

func (c *sidecar) clean() {
	c.later(2*second, c.clean)
	_ = c.ledger.Clean(context.Background()) // it is tried again
}

func (c *sidecar) receive(m message) {
	if !c.up {
		if m.reply != nil && c.happens(0.5) {
			m.reply(reply{}) // refused
		}
		return
	}
	c.waiting = append(c.waiting, m)
	if len(c.waiting) == 1 {
		c.later(c.between(0, 4*time.Millisecond), c.commit)
	}
}

// commit answers all that waits in one transaction.
func (c *sidecar) commit() {
	waiting := c.waiting
	c.waiting, c.cut = nil, 30_000
	batches := make([]ledger.Batch, len(waiting))
	replies := make([]reply, len(waiting))
	takers := make([][]*wire.Answer, len(waiting))
	for i, m := range waiting {
		batches[i] = ledger.Batch{Worker: m.vm, Settlements: m.settlements, Abandoned: m.abandoned}
		replies[i] = reply{ok: true, answers: make([]wire.Answer, len(m.asks))}
		for j := range m.asks {
			answer := &replies[i].answers[j]
			*answer = c.decide(&m.asks[j])
			if t := m.asks[j].Take; answer.Stale == nil && t != nil {
				if take := c.take(t, answer.Limits); slices.ContainsFunc(take.Limits, func(l ledger.Limit) bool { return !l.Held }) {
					batches[i].Takes = append(batches[i].Takes, take)
					takers[i] = append(takers[i], answer)
				}
			}
		}
	}
	results := c.results(batches)
	if c.fault(c.Faults.Storage / 4) {
		c.crash() // what is durable was not said
		return
	}
	for i, m := range waiting {
		c.say(m, &replies[i], takers[i], results[i])
	}
}

func (c *sidecar) results(batches []ledger.Batch) []ledger.Result {
	if c.mutant != commitAfterReply {
		return c.ledger.Commit(context.Background(), batches)
	}
	c.storage.dry = true
	results := c.ledger.Commit(context.Background(), batches)
	c.storage.dry = false
	c.later(c.between(0, 300*time.Millisecond), func() { c.ledger.Commit(context.Background(), batches) })
	return results
}

func (c *sidecar) say(m message, r *reply, takers []*wire.Answer, result ledger.Result) {
	if result.Err != nil {
		c.note("sidecar %d cannot answer: %v", c.index, result.Err)
		for _, a := range takers {
			*a = wire.Answer{Error: "ledger_unavailable", Limits: a.Limits, Policy: a.Policy}
		}
	} else {
		for i, a := range takers {
			a.Leases, a.Exhausted = result.Grants[i].Leases, result.Grants[i].Exhausted
			c.mutate(a)
			c.note("sidecar %d answers %s take: %+v %+v", c.index, m.vm, a.Leases, a.Exhausted)
		}
		r.settled = len(m.settlements) > 0 || len(m.abandoned) > 0
	}
	if m.reply != nil {
		m.reply(*r)
	}
}

// mutate has a lease of a quota outlive its period.
func (c *sidecar) mutate(a *wire.Answer) {
	if c.mutant != quotaPastPeriod {
		return
	}
	for i := range a.Leases {
		switch l := &a.Limits[a.Leases[i].Limit]; {
		case l.Kind != wire.KindQuota:
		case l.Amount <= wire.PermitMax:
			a.Leases[i].LifeMillis = 2000
		default:
			a.Leases[i].LifeMillis = 15_000
		}
	}
}

// decide is what the policy says.
func (c *sidecar) decide(ask *wire.Ask) wire.Answer {
	if name := c.policy.name(); ask.Policy != name {
		return wire.Answer{Stale: &wire.Policy{Revision: name}, Policy: name}
	}
	return wire.Answer{Allow: true, Limits: c.policy.of(c.classes[ask.Subscription]), Policy: ask.Policy}
}

// take is filterapi's newTake.
func (c *sidecar) take(t *wire.Take, limits []wire.Limit) ledger.Take {
	take := ledger.Take{ID: t.ID, Waiting: t.Waiting, Subscription: 1}
	if c.fault(c.Faults.Expiry) {
		left := c.around(3000)
		take.Until, c.cut = time.UnixMilli(c.server.millis()+left), min(c.cut, left)
	}
	for _, l := range limits {
		named := func(d wire.Demand) bool { return d.Name == l.Name && d.Key == l.Key }
		wanted := ledger.Limit{Limit: l, Held: slices.ContainsFunc(t.Held, named)}
		if i := slices.IndexFunc(t.Wanted, named); i >= 0 {
			wanted.Wanted = max(0, t.Wanted[i].Units)
		}
		take.Limits = append(take.Limits, wanted)
	}
	return take
}
