package filterapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/store"
)

// maxAsks bounds one batch.
const maxAsks = 256

// answered is an answer on its way, with the question that it answers.
type answered struct {
	wire.Answer
	question question
	outcome  string
}

// decide answers each ask by itself: one that cannot be decided does not spoil the others.
// The policy comes first, limits after it and only where it allows: what is denied spends
// nothing.
func (s *Server) decide(ctx context.Context, r *wire.DecideRequest) (any, error) {
	if err := checkVersion(r.Version); err != nil {
		return nil, err
	}
	if err := checkBatch(r); err != nil {
		return nil, err
	}
	st := s.state.Load()
	if st == nil {
		return nil, errNotReady
	}
	if r.Store != st.revision.Store {
		return nil, errOtherStore
	}
	answers := make([]answered, len(r.Asks))
	for i := range r.Asks {
		began := time.Now()
		a := &answers[i]
		a.Answer, a.outcome = s.answer(ctx, st.view, &r.Asks[i], &a.question)
		s.metrics.seconds.Observe(time.Since(began).Seconds())
	}
	settled, err := s.settle(ctx, r, answers)
	if err != nil {
		return nil, err
	}
	reply := wire.DecideReply{Version: r.Version, Answers: make([]wire.Answer, len(r.Asks)), Settled: settled}
	for i := range answers {
		reply.Answers[i] = answers[i].Answer
		s.metrics.asks.WithLabelValues(answers[i].outcome).Inc()
	}
	return reply, nil
}

// answer decides one ask; q becomes its question. What it was made under is in the answer:
// the filter keeps it only while it holds the same.
func (s *Server) answer(ctx context.Context, v *view, ask *wire.Ask, q *question) (wire.Answer, string) {
	q.ask = ask
	if current := s.policy.Policy(); ask.Policy != current.Revision {
		return stale(current)
	}
	var why *fault
	if *q, why = v.resolve(ask); why != nil {
		return s.undecided(*q, why.code, why.status, why.text)
	}
	in, err := s.input(ctx, *q)
	if err != nil {
		s.log.Error("deciding", "error", err)
		return s.undecided(*q, errStoreUnavailable.code, errStoreUnavailable.status, "")
	}
	d, err := s.policy.Decide(ctx, in)
	var broken *policy.Error
	switch {
	case errors.Is(err, policy.ErrStale):
		return stale(s.policy.Policy())
	case errors.As(err, &broken):
		s.log.Error("deciding", "code", broken.Code, "error", broken.Err, "api", q.api.Name, "operation", q.operation.Name)
		return s.undecided(*q, broken.Code, http.StatusInternalServerError, broken.Err.Error())
	case err != nil:
		s.log.Error("deciding", "error", err)
		return s.undecided(*q, policy.CodeError, http.StatusInternalServerError, "")
	}
	a, outcome := s.decided(*q, in, d)
	if d.Policy != v.policy {
		a.TTLMillis = 0 // the policy has moved on, and what it knows of the catalog: v is to follow
	}
	return a, outcome
}

func stale(p wire.Policy) (wire.Answer, string) {
	return wire.Answer{Stale: &p, Policy: p.Revision}, outcomeStale
}

// input is what the policy reads. Of the subscription, it is the truth of this moment, by
// the sidecar's own clock.
func (s *Server) input(ctx context.Context, q question) (policy.Input, error) {
	in := policy.Input{
		Policy:    q.ask.Policy,
		API:       policy.API{Name: q.api.Name, Suffix: q.api.Suffix, Tags: q.api.Tags},
		Operation: policy.Operation{Name: q.operation.Name, Method: q.operation.Method, Template: q.operation.Template},
		Request:   q.ask.Request,
		Gateway:   policy.Gateway{Name: s.gateway.Name, Region: s.gateway.Region},
	}
	if q.product != "" {
		in.Product = &policy.Product{Name: q.product}
	}
	if q.subscription != nil {
		in.Subscription = subscription(q.subscription, s.now())
	}
	if r := q.ask.Resource; r != nil {
		in.Resource = &policy.Resource{Kind: r.Kind, ID: r.ID}
		owner, known, err := s.store.Owner(ctx, q.api.Backend.URL, *r)
		if err != nil {
			return in, err
		}
		if known {
			in.Resource.Owner = &owner
		}
	}
	return in, nil
}

func subscription(sub *store.Subscription, now time.Time) *policy.Subscription {
	p := &policy.Subscription{
		ID: sub.ID, Name: sub.Name, State: store.StateName(stateAt(sub, now)),
		StartedAt:  sub.Started,
		Scope:      policy.Scope{Kind: string(sub.Scope.Kind), Name: sub.Scope.Name},
		Attributes: sub.Attributes,
		Developer:  policy.Developer{Email: sub.Developer.Email, Name: sub.Developer.Name, Groups: sub.Developer.Groups},
	}
	if sub.Expires != 0 {
		p.ExpiresAt = time.Unix(int64(sub.Expires), 0).UTC()
	}
	return p
}

// decided turns a decision into an answer, and has a deny recorded.
func (s *Server) decided(q question, in policy.Input, d policy.Decision) (wire.Answer, string) {
	a := wire.Answer{
		Decision: newID(), Allow: d.Allow, Reasons: d.Reasons, Request: d.Request, Response: d.Response, Limits: d.Limits,
		TTLMillis: max(0, d.TTL.Milliseconds()), Policy: d.Policy, SubscriptionRevision: q.revision(),
	}
	if !d.ValidUntil.IsZero() {
		// 0 would mean no bound.
		a.ValidUntilMillis = max(1, d.ValidUntil.UnixMilli())
	}
	if in.Resource != nil && in.Resource.Owner == nil {
		a.TTLMillis = 0 // who owns it may be recorded in a moment
	}
	if d.Allow {
		return a, outcomeAllow
	}
	a.Status, a.Message = d.Status, d.Message
	s.keep(record{decision: q.record(a, s.now()), input: in})
	return a, outcomeDeny
}

// undecided is the answer when there is no decision; it is never kept. The text, which
// holds no value of the request, goes on record.
func (s *Server) undecided(q question, code string, status int, text string) (wire.Answer, string) {
	a := wire.Answer{Error: code, Decision: newID(), Status: status, Policy: q.ask.Policy, SubscriptionRevision: q.revision()}
	d := q.record(a, s.now())
	d.Reasons, d.Detail = []string{code}, text
	s.keep(record{decision: d, final: true})
	return a, outcomeError
}

func (q question) revision() uint32 {
	if q.subscription == nil {
		return 0
	}
	return q.subscription.Revision
}

// record is what is remembered of a deny. Names are the catalog's, not the ask's.
func (q question) record(a wire.Answer, now time.Time) store.Decision {
	d := store.Decision{ID: a.Decision, Call: clean(q.ask.Call), Time: now, Status: a.Status, Reasons: slices.Clone(a.Reasons),
		Subscription: q.ask.Subscription, Policy: a.Policy}
	if q.api != nil {
		d.API = q.api.Name
	}
	if q.operation != nil {
		d.Operation = q.operation.Name
	}
	return d
}

// newID is 96 random bits in hexadecimal.
func newID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}
