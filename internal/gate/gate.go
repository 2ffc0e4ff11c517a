// Package gate decides what becomes of one request: it matches, checks the key, looks the
// decision up or asks for it, and says which headers change. It is pure: what it reads
// comes in as arguments, the time as well, and what it wants done comes out as an Outcome.
// It imports no host, clock, network or database, and compiles for wasip1.
//
// A Gate belongs to one worker and is for one goroutine.
package gate

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/cache"
	"github.com/tollgate/tollgate/internal/dialect"
	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/route"
	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// PendingMax is how many asks one worker has under way; beyond it a request is
	// answered with 503.
	PendingMax = 1024
	// pendingPerSubscription keeps one key from taking all of them.
	pendingPerSubscription = PendingMax / 4
	// pendingTime is longer than any call to the sidecar may take.
	pendingTime = 2500 * time.Millisecond
	// refreshMax is how many of the hottest decisions a worker asks for again when
	// the policy moves.
	refreshMax = 64
	// denialsMax is how many denials one usage report carries.
	denialsMax = 100
)

// valueBytes is about what a kept decision holds beside the values in its key.
const valueBytes = 1 << 10

var cacheLimits = cache.Limits{Bytes: 4 << 20, PerSubscription: 1024, KeyBytes: 2 << 10}

// Gate is one worker's state.
type Gate struct {
	held    *held // nil until the first Load
	cache   *cache.Cache[*kept]
	book    *lease.Book
	contact time.Time // with the sidecar, last
	scratch []byte    // for cache keys
	routes  routes
	records records
	// pending holds who waits for the sidecar, and since when. Should a stream end
	// unheard while it waits, its place is free after pendingTime.
	pending map[*Exchange]time.Time
	ticked  time.Time

	denials        []wire.Denial
	denialsDropped int
	usage          usage
}

// held is one snapshot, compiled.
type held struct {
	revision wire.Revision
	gateway  wire.Gateway
	maxStale time.Duration
	policy   wire.Policy
	pepper   []byte
	apis     []wire.API
	scopes   []wire.Scope
	keys     wire.KeyTable
	// places are those of scopes by their number.
	places map[uint32]uint32
	table  *route.Table
	// keyHeaders are those of all the APIs, to be hidden where no API matched.
	keyHeaders []string
	resets     uint64
}

// kept is a decision and the question that it answers, which is empty where the decision
// is not to be kept. What is worked out from its limits is worked out once.
type kept struct {
	answer wire.Answer
	ask    wire.Ask
	// rateLimitPolicy is the field's value; empty without limits.
	rateLimitPolicy string
	successes       bool // one of the limits counts only these
	bytes, rows     bool // one of the limits counts these
}

var undecidedYet kept

func newKept(answer wire.Answer, ask wire.Ask) *kept {
	k := &kept{answer: answer, ask: ask, rateLimitPolicy: dialect.RateLimitPolicy(answer.Limits)}
	for i := range answer.Limits {
		l := &answer.Limits[i]
		k.successes = k.successes || l.SuccessOnly
		k.bytes = k.bytes || l.Unit == wire.UnitBytes
		k.rows = k.rows || l.Unit == wire.UnitRows
	}
	return k
}

// New makes a gate that holds nothing: it answers 503 until the first Load.
func New() *Gate {
	return &Gate{cache: cache.New[*kept](cacheLimits), book: lease.NewBook(), pending: make(map[*Exchange]time.Time), routes: make(routes), records: make(records), usage: newUsage()}
}

// Revision is the one held, and false when none is.
func (g *Gate) Revision() (wire.Revision, bool) {
	if g.held == nil {
		return wire.Revision{}, false
	}
	return g.held.revision, true
}

// Contact notes that the sidecar answered at now.
func (g *Gate) Contact(now time.Time) { g.contact = now }

// Ready says whether requests are decided at now.
func (g *Gate) Ready(now time.Time) bool {
	return g.held != nil && now.Sub(g.contact) <= g.held.maxStale
}

// Missing lists the pages that Load needs for s beside those that are held or in fetched.
func (g *Gate) Missing(s wire.Snapshot, fetched wire.Pages) []wire.Digest {
	var held map[wire.Digest]bool
	if g.held != nil {
		held = g.held.keys.Digests()
	}
	return s.Missing(func(d wire.Digest) bool { return held[d] || fetched[d] != nil })
}

// Usable says why Load would not take s, its pages aside.
func (g *Gate) Usable(s wire.Snapshot) error {
	if _, err := compile(s); err != nil {
		return errors.New("loading snapshot " + s.Revision.String() + ": " + err.Error())
	}
	return nil
}

// TableBytes is the size of the keys and subscriptions held.
func (g *Gate) TableBytes() int {
	if g.held == nil {
		return 0
	}
	return g.held.keys.Bytes()
}

// Load takes a whole snapshot, or none of it; fetched are the pages that it needs beside
// those that are held. When the policy has moved it forgets all decisions; what it returns
// are the hottest ones to ask for again.
func (g *Gate) Load(s wire.Snapshot, fetched wire.Pages, now time.Time) (refresh []wire.Ask, err error) {
	next, err := compile(s)
	if err == nil {
		next.keys, err = wire.OpenPages(s, fetched, g.table())
	}
	if err != nil {
		return nil, errors.New("loading snapshot " + s.Revision.String() + ": " + err.Error())
	}
	if g.held == nil || g.held.policy.Revision != next.policy.Revision || !g.held.before(next) {
		refresh = g.hottest(next)
		g.cache.Clear()
		g.book.Unask()
	}
	switch {
	case g.held == nil:
	case g.held.revision.Store != next.revision.Store:
		g.book.Clear()
	case g.held.resets != next.resets:
		g.book.Forget()
	}
	if g.held == nil || !g.held.keyedLike(next) {
		clear(g.records)
	}
	g.held = next
	g.usage.move(next.revision.Store)
	clear(g.routes)
	g.Contact(now)
	return refresh, nil
}

// table is the one held.
func (g *Gate) table() wire.KeyTable {
	if g.held == nil {
		return wire.KeyTable{}
	}
	return g.held.keys
}

func compile(s wire.Snapshot) (*held, error) {
	if s.Version != wire.Version {
		return nil, errors.New("version " + strconv.Itoa(s.Version) + ", want " + strconv.Itoa(wire.Version))
	}
	table, err := route.Compile(s.APIs)
	if err != nil {
		return nil, err
	}
	if !readable(s.Policy) {
		return nil, errors.New("the policy depends on a field that this filter does not know")
	}
	h := &held{
		revision: s.Revision, gateway: s.Gateway, maxStale: time.Duration(s.Gateway.MaxStaleSeconds) * time.Second,
		policy: s.Policy, pepper: s.Pepper, apis: s.APIs, scopes: s.Scopes, places: make(map[uint32]uint32, len(s.Scopes)), table: table, resets: s.Resets,
	}
	for i, scope := range s.Scopes {
		h.places[scope.Number] = uint32(i)
	}
	for _, api := range s.APIs {
		switch api.Authorization {
		case wire.AuthorizationInject, wire.AuthorizationPass, wire.AuthorizationConsumerKey:
		default:
			return nil, errors.New("API " + api.Name + " has an authorization that this filter does not know")
		}
		if api.Open >= len(s.Scopes) {
			return nil, errors.New("API " + api.Name + " is open under an unknown scope")
		}
		h.keyHeaders = append(h.keyHeaders, api.Keys.Header)
	}
	slices.Sort(h.keyHeaders)
	h.keyHeaders = slices.Compact(h.keyHeaders)
	return h, nil
}

// before says whether next goes on where h is: else nothing that was worked out under h,
// revisions of subscriptions included, means anything under next.
func (h *held) before(next *held) bool {
	return h.revision.Store == next.revision.Store && h.revision.Number < next.revision.Number && h.gateway == next.gateway
}

// keyedLike says whether a record that was found under h and is still in the same pages is
// the one that would be found under next.
func (h *held) keyedLike(next *held) bool {
	return bytes.Equal(h.pepper, next.pepper) && maps.Equal(h.places, next.places)
}

// hottest is empty unless the old questions are the questions of the next policy.
func (g *Gate) hottest(next *held) []wire.Ask {
	if g.held == nil || next.policy.Full || !g.held.before(next) ||
		!slices.EqualFunc(g.held.policy.Vary, next.policy.Vary, slices.Equal[wire.Field]) {
		return nil
	}
	var asks []wire.Ask
	for _, entry := range g.cache.Hottest(refreshMax) {
		ask := entry.Value.ask
		ask.Policy = next.policy.Revision
		asks = append(asks, ask)
	}
	return asks
}

// Refreshed keeps the answers to the asks that Load returned.
func (g *Gate) Refreshed(asks []wire.Ask, answers []wire.Answer, asked time.Time) {
	if g.held == nil || len(asks) != len(answers) {
		return
	}
	for i, ask := range asks {
		g.keep(ask, answers[i], asked)
	}
}

// keep stores an answer if it may be kept: made under the policy held. Whether its
// subscription has moved is looked at when it is found. It returns what it kept, or nil.
func (g *Gate) keep(ask wire.Ask, answer wire.Answer, asked time.Time) *kept {
	ask.Call, ask.Take = "", nil
	answer.Leases, answer.Exhausted = nil, nil
	if answer.Error != "" || answer.Stale != nil || answer.TTLMillis <= 0 || !countable(answer.Limits) ||
		answer.Policy != g.held.policy.Revision || ask.Policy != answer.Policy {
		return nil
	}
	key, ok := g.askKey(ask)
	if !ok {
		return nil
	}
	expires := asked.Add(time.Duration(answer.TTLMillis) * time.Millisecond)
	if answer.ValidUntilMillis != 0 {
		if until := time.UnixMilli(answer.ValidUntilMillis); until.Before(expires) {
			expires = until
		}
	}
	k := newKept(answer, ask)
	g.cache.Keep(cache.Item[*kept]{
		Key: key, Subscription: ask.Subscription, Value: k,
		ValueBytes: valueBytes + 2*len(key), Expires: expires,
	})
	return k
}

// full says whether as many wait as may, of all or of one subscription. Counting is left
// until there is something to count.
func (g *Gate) full(subscription uint32, now time.Time) bool {
	if len(g.pending) < pendingPerSubscription {
		return false
	}
	g.free(now)
	same := 0
	for x := range g.pending {
		if x.ask.Subscription == subscription {
			same++
		}
	}
	return len(g.pending) >= PendingMax || same >= pendingPerSubscription
}

// free ends the waiting of those whose call must be over.
func (g *Gate) free(now time.Time) {
	maps.DeleteFunc(g.pending, func(_ *Exchange, since time.Time) bool { return now.Sub(since) > pendingTime })
}

// Report takes what was counted and denied since the last one; false when nothing was.
func (g *Gate) Report() (wire.UsageReport, bool) {
	if len(g.denials) == 0 && g.denialsDropped == 0 && g.usage.empty() {
		return wire.UsageReport{}, false
	}
	report := wire.UsageReport{Version: wire.Version, Denials: g.denials, DenialsDropped: g.denialsDropped}
	g.usage.report(&report)
	g.denials, g.denialsDropped = nil, 0
	return report, true
}

func (g *Gate) deny(d wire.Denial) {
	if len(g.denials) >= denialsMax {
		g.denialsDropped++
		return
	}
	g.denials = append(g.denials, d)
}
