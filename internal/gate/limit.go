package gate

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/dialect"
	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/wire"
)

// pass spends what the request costs, and lets it go on at once; or asks for what is short.
func (x *Exchange) pass(now time.Time) Outcome {
	if limits := x.limits(); len(limits) > 0 {
		if x.spending, x.spent = x.gate.book.Spend(limits, x.renewal, now); !x.spent {
			return x.short(now)
		}
	}
	x.identity.Reason = Allowed
	return x.forward(now)
}

// short refuses at once where a limit is known to leave no room, else it asks for leases.
func (x *Exchange) short(now time.Time) Outcome {
	limits := x.limits()
	if r, refused := x.gate.book.Refused(limits, now); refused {
		return x.limited(&limits[r.Limit], r.RetryMillis, r.Decision, now)
	}
	return x.askNow(now)
}

// take enters into the book what an answer grants or refuses.
func (x *Exchange) take(answer wire.Answer, now time.Time) {
	x.taken = x.ask.Take.ID
	switch {
	case answer.Error != "": // the ledger may have granted what it could not say
		x.gate.book.Lost(x.taken)
	case answer.Exhausted != nil:
		x.gate.book.Denied(x.taken, answer.Limits, *answer.Exhausted, answer.Decision, now)
	default:
		x.gate.book.Granted(x.taken, answer.Limits, answer.Leases, now)
	}
}

// giveBack returns what was granted for this request and not spent by it.
func (x *Exchange) giveBack() {
	x.gate.book.Return(x.taken)
	x.taken = 0
}

// countable says whether this build knows what every limit counts: one that it does not
// know it could not keep.
func countable(limits []wire.Limit) bool {
	return !slices.ContainsFunc(limits, func(l wire.Limit) bool { return !l.Known() })
}

// limited refuses a request for which a limit leaves no room.
func (x *Exchange) limited(l *wire.Limit, retryMillis int64, decision string, now time.Time) Outcome {
	seconds := dialect.RetrySeconds(retryMillis)
	r := refusal{message: dialect.ExhaustedMessage(*l, seconds), retryAfter: seconds, limit: l.Name}
	r.status, r.reason = l.Kind.Refusal()
	x.identity.Decision = decision
	outcome := x.refuse(r, now)
	if dialect.Advertised(*l) {
		outcome.Reply.Headers = append(outcome.Reply.Headers, rateLimit(x.decision.rateLimitPolicy, l.Name, 0, seconds)...)
	}
	return outcome
}

// rateLimit is the RateLimit fields.
func rateLimit(policy, name string, remaining, resetSeconds int64) [][2]string {
	return [][2]string{
		{"ratelimit-policy", policy},
		{"ratelimit", string(dialect.AppendRateLimit(make([]byte, 0, 32), name, remaining, resetSeconds))},
	}
}

// limits are those of the decision.
func (x *Exchange) limits() []wire.Limit { return x.decision.answer.Limits }

// NeedsStatus says whether ResponseHead has to know the response's status.
func (x *Exchange) NeedsStatus() bool {
	return x.Creates() || x.spent && (x.decision.successes || x.decision.rows)
}

// CountsBytes says whether Done has to know how many bytes passed.
func (x *Exchange) CountsBytes() bool { return x.spent && x.decision.bytes }

// CountsRows says whether Done has to know how many rows were scored.
func (x *Exchange) CountsRows() bool { return x.spent && x.decision.rows }

// Unfinished says whether Done has anything to do: for most requests it has not.
func (x *Exchange) Unfinished() bool {
	_, waits := x.gate.pending[x]
	return waits || x.taken != 0 || x.spent && x.spending.Open()
}

// Done ends an exchange whose stream is over, answered or not. It says whether others may be
// waiting for what it held: then Urgent should be sent.
func (x *Exchange) Done(bytes, rows int64, now time.Time) (urgent bool) {
	if _, waits := x.gate.pending[x]; waits && x.ask.Take != nil {
		// Its place stays taken until its call must be over, and what it settled is said
		// again only then: who resets streams gains nothing by it.
		x.gate.book.Lost(x.ask.Take.ID)
	}
	x.giveBack()
	if !x.spent {
		return false
	}
	x.spent = false
	return x.gate.book.Finish(x.spending, lease.Result{Status: x.status, Bytes: bytes, Rows: rows}, now)
}

// Settled takes what became of a message to the ledger; of one without an id, nothing.
func (g *Gate) Settled(id uint64, ok bool) {
	if ok {
		g.book.Settled(id)
	} else {
		g.book.Unsettled(id)
	}
}

// Urgent is what the ledger should hear of without delay; it hears of it again.
func (g *Gate) Urgent() lease.Message { return g.book.Urgent() }

// Round is what a tick has to say and to ask.
type Round struct {
	Store   string
	Asks    []wire.Ask
	Message lease.Message
	at      time.Time
}

// Tick does what time brings to the leases. false: there is nothing to say.
func (g *Gate) Tick(now time.Time) (Round, bool) {
	elapsed := now.Sub(g.ticked)
	g.ticked = now
	g.free(now)
	if g.held == nil {
		return Round{}, false
	}
	r := Round{Store: g.held.revision.Store, Asks: g.book.Tick(now, elapsed), at: now}
	r.Message = g.book.Message(now)
	return r, len(r.Asks) > 0 || r.Message.ID != 0
}

// Ticked goes on with the answers to a Round; none: there was no usable reply.
func (g *Gate) Ticked(r Round, answers []wire.Answer, settled bool, now time.Time) {
	g.Settled(r.Message.ID, settled)
	for i, ask := range r.Asks {
		if len(answers) != len(r.Asks) || answers[i].Error != "" || answers[i].Stale != nil {
			g.book.Lost(ask.Take.ID)
			continue
		}
		g.book.Granted(ask.Take.ID, answers[i].Limits, answers[i].Leases, now)
		g.keep(ask, answers[i], r.at)
	}
}
