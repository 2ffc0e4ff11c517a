package filterapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

const (
	// maxSettlements bounds the settlements of one request, and its abandoned takes.
	maxSettlements = 4096
	// maxWorker bounds the name of a worker.
	maxWorker = 64
	// takeTimeout bounds the wait for the ledger: a filter waits 2 s for its answer, and a
	// lease that is granted later is of no use.
	takeTimeout = 1500 * time.Millisecond
)

// Ledger grants and settles leases; *ledger.Ledger is one.
type Ledger interface {
	// Take answers each of Batch.Takes. After an error nothing was granted that a filter
	// may spend, and nothing counts as settled.
	Take(context.Context, ledger.Batch) ([]ledger.Grant, error)
	// Resets moves when an administrator resets or raises a limit.
	Resets() uint64
}

// codeLedgerUnavailable is Answer.Error where a lease was needed and the ledger did not answer.
const codeLedgerUnavailable = "ledger_unavailable"

// checkBatch refuses what no ledger should be asked.
func checkBatch(r *wire.DecideRequest) error {
	if !isWorker(r.VM) {
		return invalid("bad_vm", fmt.Sprintf("vm is 1 to %d of a-z and 0-9", maxWorker))
	}
	if len(r.Settlements) > maxSettlements || len(r.Abandoned) > maxSettlements {
		return invalid("bad_settlements", fmt.Sprintf("a request has at most %d settlements, and as many abandoned takes", maxSettlements))
	}
	if len(r.Asks) > maxAsks || len(r.Asks) == 0 && len(r.Settlements) == 0 && len(r.Abandoned) == 0 {
		return invalid("bad_asks", fmt.Sprintf("a request has 1 to %d asks, or none and something to settle", maxAsks))
	}
	ids := make(map[uint64]bool)
	for i := range r.Asks {
		take := r.Asks[i].Take
		if take == nil {
			continue
		}
		if take.ID == 0 || ids[take.ID] {
			return invalid("bad_take", "the id of a take is not 0, and of no other take")
		}
		ids[take.ID] = true
	}
	return nil
}

func isWorker(vm string) bool {
	return len(vm) >= 1 && len(vm) <= maxWorker && strings.Trim(vm, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// lacks says whether the ledger has to be asked for a lease on one of the limits.
func lacks(take *wire.Take, limits []wire.Limit) bool {
	return slices.ContainsFunc(limits, func(l wire.Limit) bool { return !names(take.Held, &l) })
}

// enforces says whether a limit for which the filter holds no lease can refuse a request.
func enforces(take *wire.Take, limits []wire.Limit) bool {
	return slices.ContainsFunc(limits, func(l wire.Limit) bool { return !l.ReportOnly && !names(take.Held, &l) })
}

// newTake asks for what the filter does not hold. What Held and Wanted name beside the
// limits of the decision is of another decision, and ignored.
func newTake(q question, limits []wire.Limit) ledger.Take {
	take := ledger.Take{ID: q.ask.Take.ID, Waiting: q.ask.Take.Waiting, Subscription: q.ask.Subscription, Limits: make([]ledger.Limit, len(limits))}
	if q.subscription != nil && q.subscription.Expires != 0 {
		take.Until = time.Unix(int64(q.subscription.Expires), 0)
	}
	for i := range limits {
		l := ledger.Limit{Limit: limits[i], Held: names(q.ask.Take.Held, &limits[i])}
		for _, d := range q.ask.Take.Wanted {
			if d.Name == l.Name && d.Key == l.Key {
				l.Wanted = max(0, d.Units)
			}
		}
		take.Limits[i] = l
	}
	return take
}

func names(demands []wire.Demand, l *wire.Limit) bool {
	return slices.ContainsFunc(demands, func(d wire.Demand) bool { return d.Name == l.Name && d.Key == l.Key })
}

// settle asks the ledger once for all of a request and puts what it says into the reply.
// It changes the answers of asks that need a lease, and no other. The error is a fault: the
// message asks for what no ledger can do, so that sending it again would not help.
func (s *Server) settle(ctx context.Context, r *wire.DecideRequest, answers []answered) (settled bool, err error) {
	b := ledger.Batch{Worker: r.VM, Settlements: r.Settlements, Abandoned: r.Abandoned}
	var takers []*answered // by the place in b.Takes
	for i := range answers {
		a := &answers[i]
		if a.Allow && a.question.ask.Take != nil && lacks(a.question.ask.Take, a.Limits) {
			b.Takes = append(b.Takes, newTake(a.question, a.Limits))
			takers = append(takers, a)
		}
	}
	if len(b.Takes) == 0 && len(b.Settlements) == 0 && len(b.Abandoned) == 0 {
		return false, nil
	}
	grants, err := s.take(ctx, b)
	if errors.Is(err, ledger.ErrInvalid) {
		s.log.Error("the ledger refuses a message", "error", err)
		return false, invalid("bad_take", "the ledger refuses a settlement, or a limit of a decision; the sidecar's log says which")
	}
	if err != nil {
		s.metrics.takes.WithLabelValues(takeUnavailable).Add(float64(len(takers)))
		for _, a := range takers {
			s.unavailable(a)
		}
		return false, nil
	}
	for i, a := range takers {
		s.granted(a, grants[i])
	}
	s.metrics.settlements.Add(float64(len(b.Settlements)))
	s.metrics.abandoned.Add(float64(len(b.Abandoned)))
	return len(b.Settlements) > 0 || len(b.Abandoned) > 0, nil
}

// take logs when the ledger is lost and when it is back, and nothing in between. A filter
// that hung up says nothing about the ledger.
func (s *Server) take(ctx context.Context, b ledger.Batch) ([]ledger.Grant, error) {
	if s.ledger == nil {
		return nil, ledger.ErrUnavailable
	}
	bounded, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	began := time.Now()
	grants, err := s.ledger.Take(bounded, b)
	s.metrics.ledgerSeconds.Observe(time.Since(began).Seconds())
	if err == nil && len(grants) != len(b.Takes) {
		err = fmt.Errorf("taking leases: %d grants for %d takes", len(grants), len(b.Takes))
	}
	if ctx.Err() != nil || errors.Is(err, ledger.ErrInvalid) {
		return grants, err
	}
	if s.ledgerOutage.changed(s.now(), err) {
		if err != nil {
			s.metrics.ledgerAvailable.Set(0)
			s.log.Error("the ledger is unavailable: requests that need a new lease are refused until it is back", "error", err)
		} else {
			s.metrics.ledgerAvailable.Set(1)
			s.log.Info("the ledger is available again")
		}
	}
	return grants, err
}

// unavailable takes an allow back: a lease is needed and cannot be had. What is only reported
// needs none.
func (s *Server) unavailable(a *answered) {
	if !enforces(a.question.ask.Take, a.Limits) {
		return
	}
	answer := wire.Answer{Error: codeLedgerUnavailable, Decision: a.Decision, Status: http.StatusServiceUnavailable, Limits: a.Limits,
		Policy: a.Policy, SubscriptionRevision: a.SubscriptionRevision}
	a.Answer, a.outcome = answer, outcomeError
	if a.question.ask.Take.Waiting {
		d := a.question.record(answer, s.now())
		d.Reasons = []string{codeLedgerUnavailable}
		s.keep(record{decision: d, final: true})
	}
}

func (s *Server) granted(a *answered, g ledger.Grant) {
	a.Leases, a.Exhausted = g.Leases, g.Exhausted
	if g.Exhausted == nil {
		s.metrics.takes.WithLabelValues(takeGranted).Inc()
		for i := range g.Leases {
			s.metrics.units.WithLabelValues(string(a.Limits[g.Leases[i].Limit].Unit)).Add(float64(g.Leases[i].Units))
		}
		return
	}
	s.metrics.takes.WithLabelValues(takeExhausted).Inc()
	if !a.question.ask.Take.Waiting {
		return // no request is refused for it
	}
	limit := a.Limits[g.Exhausted.Limit]
	d := a.question.record(a.Answer, s.now())
	status, reason := limit.Kind.Refusal()
	d.Status, d.Reasons, d.Detail = status, []string{reason}, exhaustion(limit, g.Exhausted)
	s.keep(record{decision: d, final: true})
}

// exhaustion says in words why a limit leaves no room.
func exhaustion(l wire.Limit, e *wire.Exhausted) string {
	what := fmt.Sprintf("all %d %s are used", l.Amount, amount(l))
	switch {
	case l.Amount == 0:
		what = fmt.Sprintf("no %s are allowed", l.Unit)
	case l.Kind == wire.KindConcurrency:
		what = fmt.Sprintf("all %d slots are taken", l.Amount)
	case e.Leased:
		what += ", or leased to workers"
	}
	more := "more never"
	if e.RetryMillis >= 0 {
		more = fmt.Sprintf("more in %d s", (e.RetryMillis+999)/1000)
	}
	return fmt.Sprintf("limit %s of %s: %s, %s", l.Name, l.Key, what, more)
}

// amount is "calls in 1m0s", or "calls" of a limit for life.
func amount(l wire.Limit) string {
	if l.WindowMillis == 0 {
		return string(l.Unit)
	}
	return fmt.Sprintf("%s in %s", l.Unit, time.Duration(l.WindowMillis)*time.Millisecond)
}

// Reached logs and counts that a limit reached a part of its amount; it is for the
// ledger's OnEvent.
func (s *Server) Reached(e ledger.Event) {
	s.metrics.events.WithLabelValues(fmt.Sprint(e.Percent)).Inc()
	s.log.Info("limit reached", "limit", e.Limit.Name, "key", e.Limit.Key, "subscription", e.Subscription, "percent", e.Percent,
		"used", e.Used, "amount", e.Limit.Amount)
}

// outage remembers whether calls fail. It ends with a success that comes steady after the
// last failure, so that what fails now and then is told once.
type outage struct {
	mu     sync.Mutex
	down   bool
	failed time.Time // the last time
}

// steady is how long nothing may have failed for an outage to be over.
const steady = time.Second

// changed says whether an outage begins or ends with err, the outcome of a call.
func (o *outage) changed(now time.Time, err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.down
	if err != nil {
		o.down, o.failed = true, now
	} else if now.Sub(o.failed) >= steady {
		o.down = false
	}
	return was != o.down
}
