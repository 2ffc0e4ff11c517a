package gate

import (
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/route"
	"github.com/tollgate/tollgate/internal/wire"
)

// asksMax is how often one request asks while the policy keeps moving under it.
const asksMax = 3

// ReadyPath is answered by the gate itself: 200 once requests are decided, else 503.
const ReadyPath = "/.tollgate/ready"

// Exchange is one request and its response.
type Exchange struct {
	gate *Gate
	head Head

	match   route.Match
	query   route.Query // without the consumer's key
	api     *wire.API   // nil until one matched
	op      *wire.Operation
	product string
	record  wire.KeyRecord // zero when keyless
	key     string         // presented, for AuthorizationConsumerKey
	bearer  bool           // the key stood in Authorization
	source  *string

	ask      wire.Ask
	about    subject // what the ask is about
	asked    time.Time
	asks     int
	askedFor string // the policy revision held when the ask was made
	hidden   bool   // the keys are out of the request
	shown    string // the target as the host has it
	replied  bool
	status   int   // of the response, once it is known
	decision *kept // the latest; never nil
	identity Identity

	renewal  *wire.Ask // to ask for more leases with; nil: the decision is not kept
	message  uint64    // id of what was settled with the ask
	taken    uint64    // id of the take that was answered
	intended bool
	spending lease.Spending
	spent    bool

	// What usage counts.
	began, forwarded time.Time // forwarded is zero while it was not
	backend          time.Duration
	store            string // that identity.Subscription is of
	responded        bool   // backend is known
	probe, ended     bool
}

// Begin decides on a request as far as this worker knows.
func (g *Gate) Begin(head Head, now time.Time) (*Exchange, Outcome) {
	x := &Exchange{gate: g, head: head, shown: head.Target, decision: &undecidedYet, began: now}
	if head.Target == ReadyPath {
		return x, x.ready(now)
	}
	if refusal := x.admit(now); refusal != nil {
		return x, x.refuse(*refusal, now)
	}
	return x, x.decide(now)
}

// Identity is what is known by now.
func (x *Exchange) Identity() Identity { return x.identity }

// admit does what every request passes before anyone is asked, and again after every
// pause: match, key, state, expiry, scope.
func (x *Exchange) admit(now time.Time) *refusal {
	g := x.gate
	x.api, x.op, x.record, x.product = nil, nil, wire.KeyRecord{}, ""
	if g.held == nil {
		return unavailable("no_snapshot")
	}
	if !g.Ready(now) {
		return unavailable("snapshot_stale")
	}
	match, outcome := g.find(&x.head)
	switch outcome {
	case route.BadPath:
		return &refusal{status: 400, reason: "path_invalid"}
	case route.NoAPI:
		return &refusal{status: 404, reason: "api_not_found"}
	}
	x.match, x.api = match, &g.held.apis[match.API]
	x.identity = Identity{API: x.api.Suffix}
	if outcome == route.NoOperation {
		return &refusal{status: 404, reason: "operation_not_found"}
	}
	x.op = &x.api.Operations[match.Operation]
	x.identity.Operation = x.op.Name
	refused := x.authenticate(now)
	if refused == nil && x.api.Authorization == wire.AuthorizationInject && x.api.BackendKey == "" {
		return unavailable("backend_key_missing")
	}
	return refused
}

func (x *Exchange) authenticate(now time.Time) *refusal {
	p := x.presented()
	x.key, x.bearer, x.query = p.key, p.bearer, p.rest
	switch {
	case p.duplicated:
		return invalidKey("key_duplicated")
	case p.key == "" && x.api.Open >= 0:
		x.product = x.gate.held.scopes[x.api.Open].Product
		return nil
	case p.key == "":
		return &refusal{status: 401, reason: "key_missing", message: keyMissing}
	case len(p.key) > apikey.MaxLength:
		return invalidKey("key_unknown")
	}
	record, ok := x.gate.record(p.key, now)
	if !ok {
		return invalidKey("key_unknown")
	}
	x.identity.Subscription, x.store = record.Subscription, x.gate.held.revision.Store
	x.gate.usage.used(&record, now)
	if int(record.Scope) < len(x.gate.held.scopes) {
		x.product = x.gate.held.scopes[record.Scope].Product
	}
	if reason := x.blocked(record, now); reason != "" {
		return invalidKey(reason)
	}
	if x.misplaced() {
		return &refusal{status: 400, reason: "key_misplaced", message: "The subscription key stands in a part of the URL where it would be passed on."}
	}
	x.record = record
	return nil
}

// blocked is why a known key does not open this API now; empty when it does.
func (x *Exchange) blocked(record wire.KeyRecord, now time.Time) string {
	switch {
	case record.State == wire.StateExpired || record.Expires != 0 && now.Unix() >= int64(record.Expires):
		return "subscription_expired"
	case record.State != wire.StateActive:
		return "subscription_not_active"
	case int(record.Scope) >= len(x.gate.held.scopes) || !opens(x.gate.held.scopes[record.Scope], x.match.API):
		return "scope_mismatch"
	}
	return ""
}

// misplaced says whether the key would reach the backend inside the target.
func (x *Exchange) misplaced() bool {
	return x.carriesKey(x.target()) || slices.ContainsFunc(x.query, func(p route.Pair) bool { return x.carriesKey(p.Name) || x.carriesKey(p.Value) })
}

// carriesKey says whether text holds the presented key. A key that is too short to be
// told from other text is not looked for.
func (x *Exchange) carriesKey(text string) bool {
	return len(x.key) >= carriedKeyMin && strings.Contains(text, x.key)
}

// presentation is what a request says of its key.
type presentation struct {
	key        string
	bearer     bool
	duplicated bool
	rest       route.Query
}

// presented reads the key's places: header, else query, else bearer. Two values in one
// place are refused whichever counts.
func (x *Exchange) presented() presentation {
	var p presentation
	inHeader := x.head.values(x.api.Keys.Header)
	rest, inQuery := x.match.Query.Take(x.api.Keys.Query)
	p.rest, _ = rest.Take(apimKeyQuery)
	authorizations := x.head.values("authorization")
	p.duplicated = len(inHeader) > 1 || len(inQuery) > 1 || x.api.Keys.Bearer && len(authorizations) > 1
	switch {
	case p.duplicated:
	case len(inHeader) == 1 && inHeader[0] != "":
		p.key = inHeader[0]
	case len(inQuery) == 1 && inQuery[0] != "":
		p.key = inQuery[0]
	case x.api.Keys.Bearer && len(authorizations) == 1:
		p.key = bearerToken(authorizations[0])
	}
	p.bearer = p.key != "" && len(authorizations) == 1 && bearerToken(authorizations[0]) == p.key
	return p
}

// bearerToken is the credential of "Bearer TOKEN", the scheme in any case (RFC 9110
// section 11.1); empty for another scheme.
func bearerToken(value string) string {
	const scheme = "bearer "
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.Trim(value[len(scheme):], " ")
}

// decide answers from the cache, or asks.
func (x *Exchange) decide(now time.Time) Outcome {
	if x.op.Creates != "" && x.record.Subscription == 0 {
		return x.refuse(refusal{status: 401, reason: "key_missing", message: keyMissing}, now)
	}
	policy := &x.gate.held.policy
	x.question(policy)
	if key, ok := x.gate.askKey(x.ask); ok {
		if entry, found := x.gate.cache.Find(key, now); found && entry.Value.answer.SubscriptionRevision == x.record.Revision {
			return x.apply(entry.Value, now)
		}
	}
	return x.askNow(now)
}

// subject is what a request is about under the snapshot held: who calls what. A decision
// about one subject says nothing of another, even where revisions and names are alike.
type subject struct {
	store        string
	subscription uint32
	product      string
	api, suffix  string
	keys         wire.Keys
	operation    wire.Operation
}

func (x *Exchange) subject() subject {
	return subject{x.gate.held.revision.Store, x.record.Subscription, x.product, x.api.Name, x.api.Suffix, x.api.Keys, *x.op}
}

// question makes the ask for a policy.
func (x *Exchange) question(policy *wire.Policy) {
	x.about = x.subject()
	x.ask = wire.Ask{
		Call: x.head.RequestID, Policy: policy.Revision, Subscription: x.record.Subscription,
		Product: x.product, API: x.api.Name, Operation: x.op.Name, Request: x.project(policy),
	}
	if x.op.Requires != "" {
		resource := x.resource(x.op.Requires)
		x.ask.Resource = &resource
	}
}

// resource is what the request's template parameters name: kind's id and its scope.
func (x *Exchange) resource(kind string) wire.Resource {
	r := wire.Resource{Kind: kind, Scope: make(map[string]string, len(x.match.Params))}
	for _, p := range x.match.Params {
		if p.Name == kind+"id" {
			r.ID = p.Value
		} else {
			r.Scope[p.Name] = p.Value
		}
	}
	return r
}

func (x *Exchange) askNow(now time.Time) Outcome {
	if x.gate.full(x.ask.Subscription, now) {
		return x.refuse(*unavailable("overloaded"), now)
	}
	if x.asks++; x.asks > asksMax {
		return x.refuse(*unavailable(x.restless()), now)
	}
	x.asked, x.askedFor = now, x.gate.held.policy.Revision
	x.ask.Take = x.gate.book.Ask(x.decision.answer.Limits, x.asks > 1, now)
	message := x.gate.book.Fresh(now)
	x.message = message.ID
	x.wait(now)
	return Outcome{Step: Ask, Ask: &x.ask, Store: x.about.store, Message: message, Edits: x.hide(x.target())}
}

// restless is why a request that asked again and again is not decided.
func (x *Exchange) restless() string {
	if len(x.decision.answer.Limits) > 0 {
		return "overloaded" // others spend what it waits for
	}
	return "policy_moving"
}

func (x *Exchange) wait(now time.Time) { x.gate.pending[x] = now }
func (x *Exchange) resume()            { delete(x.gate.pending, x) }

// Answered goes on with the sidecar's answer to Outcome.Ask. What was checked before the
// pause is checked again on the snapshot held now. What the answer grants is the worker's,
// whatever becomes of the request.
func (x *Exchange) Answered(answer wire.Answer, now time.Time) Outcome {
	x.resume()
	x.take(answer, now)
	outcome := x.answered(answer, now)
	if outcome.Step != Record {
		x.giveBack()
	}
	return outcome
}

func (x *Exchange) answered(answer wire.Answer, now time.Time) Outcome {
	revision := x.record.Revision
	if refusal := x.admit(now); refusal != nil {
		return x.refuse(*refusal, now)
	}
	policyMoved := x.gate.held.policy.Revision != x.askedFor
	switch {
	case x.subject() != x.about:
		return x.decide(now)
	case answer.Stale != nil:
		if !readable(*answer.Stale) {
			return x.refuse(refusal{status: 500, reason: "policy_unsupported"}, now)
		}
		x.question(answer.Stale)
		return x.askNow(now)
	case policyMoved && answer.Policy != x.gate.held.policy.Revision,
		revision != x.record.Revision && answer.SubscriptionRevision != x.record.Revision:
		return x.decide(now)
	case answer.Error != "":
		x.identity.Decision = answer.Decision
		return x.refuse(undecided(answer), now)
	case !countable(answer.Limits):
		return x.refuse(refusal{status: 500, reason: "limit_unsupported"}, now)
	}
	var decision *kept
	if answer.SubscriptionRevision == x.record.Revision {
		decision = x.gate.keep(x.ask, answer, x.asked)
	}
	if decision == nil {
		decision = newKept(answer, wire.Ask{})
	}
	e := answer.Exhausted
	// Leases that came meanwhile serve as well.
	if e != nil && answer.Allow && e.Limit >= 0 && e.Limit < len(answer.Limits) && !x.gate.book.Covers(answer.Limits, now) {
		x.adopt(decision)
		return x.limited(&answer.Limits[e.Limit], e.RetryMillis, answer.Decision, now)
	}
	return x.apply(decision, now)
}

// Unavailable goes on when the sidecar gave no usable answer to Outcome.Ask.
func (x *Exchange) Unavailable(now time.Time) Outcome {
	x.resume()
	x.gate.book.Lost(x.ask.Take.ID)
	x.gate.book.Unsettled(x.message)
	if refusal := x.admit(now); refusal != nil {
		return x.refuse(*refusal, now)
	}
	if x.api.AllowWhenUnavailable && x.op.Requires == "" && x.op.Creates == "" {
		x.identity.Reason = "undecided"
		return x.forward(now)
	}
	return x.refuse(*unavailable("sidecar_unavailable"), now)
}

// apply does what a decision says.
func (x *Exchange) apply(decision *kept, now time.Time) Outcome {
	x.adopt(decision)
	answer := &decision.answer
	if !answer.Allow {
		r := refusal{status: answer.Status, reason: "denied", message: answer.Message}
		if len(answer.Reasons) > 0 {
			r.reason = answer.Reasons[0]
		}
		if r.status < 400 || r.status > 599 {
			r.status = 403
		}
		return x.refuse(r, now)
	}
	if x.op.Creates != "" && !x.intended {
		if !x.gate.book.Covers(answer.Limits, now) {
			return x.short(now)
		}
		return x.intend(now)
	}
	return x.pass(now)
}

// adopt makes a decision that of the request.
func (x *Exchange) adopt(decision *kept) {
	x.decision, x.renewal = decision, nil
	if decision.ask.API != "" {
		x.renewal = &decision.ask
	}
	x.identity.Decision = decision.answer.Decision
}
