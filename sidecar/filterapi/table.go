package filterapi

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

// table is what the store holds of subscriptions and keys at one of its changes. It never
// changes; the next one shares with it what is the same.
type table struct {
	change int64
	keys   *node
	pages  []*subscriptions // by wire.SubscriptionPage; nil where there is none
	count  int              // of subscriptions
	*shared
}

// shared holds each value once that many subscriptions have. It only grows, and only who
// makes the next table looks into it.
type shared struct {
	scopes     map[store.Scope]*store.Scope
	developers map[string]*store.Developer // by e-mail address
}

// subscriptions are those of one page.
type subscriptions struct {
	entries  [wire.SubscriptionsPerPage]*entry
	packed   []byte
	digest   wire.Digest
	numbered *numbering // which packed has; nil: none yet
}

// entry is a subscription, small: there may be a million.
type entry struct {
	revision, expires uint32
	scope             *store.Scope
	state             wire.State
	name              string
	started           int64 // Unix milliseconds
	developer         *store.Developer
	attributes        map[string]string // nil when empty
	macs              string            // of its keys, whole, one after the other
}

// macSize is that of a whole one.
const macSize = 16

// mac is the whole of a key's.
func (e *entry) mac(k wire.Key) (mac [macSize]byte) {
	for macs := e.macs; macs != ""; macs = macs[macSize:] {
		if macs[:wire.MACSize] == string(k.MAC[:]) {
			copy(mac[:], macs)
		}
	}
	return mac
}

func newTable() *table {
	return &table{keys: &node{}, shared: &shared{scopes: map[store.Scope]*store.Scope{}, developers: map[string]*store.Developer{}}}
}

// entry is nil where there is no such subscription.
func (t *table) entry(id uint32) *entry {
	page := wire.SubscriptionPage(id)
	if page >= len(t.pages) || t.pages[page] == nil {
		return nil
	}
	return t.pages[page].entries[id%wire.SubscriptionsPerPage]
}

// subscription is what decisions need of one; nil where there is none. It has no keys.
func (t *table) subscription(id uint32) *store.Subscription {
	e := t.entry(id)
	if e == nil {
		return nil
	}
	return &store.Subscription{
		ID: id, Revision: e.revision, Name: e.name, Scope: *e.scope, State: e.state, Expires: e.expires,
		Attributes: e.attributes, Developer: *e.developer, Started: time.UnixMilli(e.started).UTC(),
	}
}

// changes reads what changed in a store, see store.Store.Changed.
type changes interface {
	Changed(ctx context.Context, after int64, each func(sub store.Subscription, removed bool) error) (now int64, err error)
}

// next is the table after what changed in the store since t.
func (t *table) next(ctx context.Context, from changes, pepper []byte) (*table, error) {
	e := newEdit(t, pepper)
	now, err := from.Changed(ctx, t.change, func(sub store.Subscription, removed bool) error {
		if sub.ID <= e.last { // reading began again
			e = newEdit(t, pepper)
		}
		return e.take(&sub, removed)
	})
	if err != nil {
		return nil, err
	}
	if now < t.change { // the store was replaced by an older one
		return newTable().next(ctx, from, pepper)
	}
	e.flush()
	e.table.change = now
	return e.table, nil
}

// flushAt bounds the edits of keys that wait, and so the memory that reading all of a store
// takes beside what comes of it.
const flushAt = 1 << 17

// edit makes the next table.
type edit struct {
	table  *table
	pepper []byte
	last   uint32 // id that was taken
	own    map[int]bool
	keys   []keyEdit
}

func newEdit(t *table, pepper []byte) *edit {
	next := *t
	next.pages = slices.Clone(t.pages)
	return &edit{table: &next, pepper: pepper, own: map[int]bool{}}
}

// keyEdit puts a key into the table, or takes it out if it is still that subscription's.
type keyEdit struct {
	key  wire.Key
	gone bool
}

func (e *edit) take(sub *store.Subscription, removed bool) error {
	e.last = sub.ID
	if sub.ID > wire.SubscriptionIDMax {
		return fmt.Errorf("subscription %d is beyond the ids that a filter can tell apart", sub.ID)
	}
	old := e.table.entry(sub.ID)
	if old == nil && removed {
		return nil
	}
	page := e.page(sub.ID)
	if old != nil {
		e.table.count--
		for macs := old.macs; macs != ""; macs = macs[macSize:] {
			e.keys = append(e.keys, keyEdit{wire.Key{MAC: [wire.MACSize]byte([]byte(macs)), Subscription: sub.ID}, true})
		}
	}
	page.entries[sub.ID%wire.SubscriptionsPerPage] = nil
	if !removed {
		e.table.count++
		page.entries[sub.ID%wire.SubscriptionsPerPage] = e.entry(sub)
	}
	if len(e.keys) >= flushAt {
		e.flush()
	}
	return nil
}

// page is the one of an id, the edit's own.
func (e *edit) page(id uint32) *subscriptions {
	t, at := e.table, wire.SubscriptionPage(id)
	if at >= len(t.pages) {
		t.pages = append(t.pages, make([]*subscriptions, at+1-len(t.pages))...)
	}
	if !e.own[at] {
		e.own[at] = true
		next := &subscriptions{}
		if old := t.pages[at]; old != nil {
			next.entries = old.entries
		}
		t.pages[at] = next
	}
	return t.pages[at]
}

func (e *edit) entry(sub *store.Subscription) *entry {
	var macs []byte
	for _, k := range sub.Keys {
		mac := apikey.MAC(e.pepper, k.Digest)
		macs = append(macs, mac[:]...)
		e.keys = append(e.keys, keyEdit{key: wire.Key{MAC: [wire.MACSize]byte(mac[:]), Subscription: sub.ID, Slot: k.Slot, Expires: k.Expires}})
	}
	made := &entry{revision: sub.Revision, expires: sub.Expires, scope: e.table.scopeOf(sub.Scope), state: sub.State, name: sub.Name,
		started: sub.Started.UnixMilli(), developer: e.table.developerOf(sub.Developer), macs: string(macs)}
	if len(sub.Attributes) > 0 {
		made.attributes = sub.Attributes
	}
	return made
}

func (s *shared) scopeOf(scope store.Scope) *store.Scope {
	if held := s.scopes[scope]; held != nil {
		return held
	}
	s.scopes[scope] = &scope
	return &scope
}

func (s *shared) developerOf(d store.Developer) *store.Developer {
	if held := s.developers[d.Email]; held != nil && held.Name == d.Name && slices.Equal(held.Groups, d.Groups) {
		return held
	}
	s.developers[d.Email] = &d
	return &d
}

// flush makes the edits of keys that wait.
func (e *edit) flush() {
	slices.SortStableFunc(e.keys, func(a, b keyEdit) int { return bytes.Compare(a.key.MAC[:], b.key.MAC[:]) })
	e.table.keys = e.table.keys.edited(e.keys, 0)
	clear(e.keys)
	e.keys = e.keys[:0]
}

// node is the keys whose MACs agree in their first bits: a page, or two nodes of one bit
// more where they are more than wire.KeysPerPage. So it looks the same whatever the order in
// which keys came and went.
type node struct {
	count  int
	packed []byte // a page; nil without keys
	digest wire.Digest
	halves *[2]*node // nil: a page
}

// depthMax is the first bits that a snapshot can tell apart.
const depthMax = 32

// edited is n after edits, which are in the order of their MACs.
func (n *node) edited(edits []keyEdit, depth int) *node {
	if len(edits) == 0 {
		return n
	}
	if n.halves == nil {
		return newNode(merged(wire.ReadKeyPage(n.packed), edits), depth)
	}
	middle, _ := slices.BinarySearchFunc(edits, 1, func(e keyEdit, one int) int { return bit(e.key.MAC, depth) - one })
	low, high := n.halves[0].edited(edits[:middle], depth+1), n.halves[1].edited(edits[middle:], depth+1)
	if count := low.count + high.count; count > wire.KeysPerPage {
		return &node{count: count, halves: &[2]*node{low, high}}
	}
	return newNode(append(low.all(), high.all()...), depth)
}

func bit(mac [wire.MACSize]byte, depth int) int { return int(mac[depth/8] >> (7 - depth%8) & 1) }

func newNode(keys []wire.Key, depth int) *node {
	if len(keys) <= wire.KeysPerPage || depth == depthMax {
		return &node{count: len(keys), packed: wire.PackKeyPage(keys)}
	}
	middle := wire.SplitKeys(keys, depth)
	return &node{count: len(keys), halves: &[2]*node{newNode(keys[:middle], depth+1), newNode(keys[middle:], depth+1)}}
}

func (n *node) all() []wire.Key {
	if n.halves == nil {
		return wire.ReadKeyPage(n.packed)
	}
	return append(n.halves[0].all(), n.halves[1].all()...)
}

// each calls do for the pages below n, in order.
func (n *node) each(depth int, do func(page *node, depth int)) {
	if n.halves == nil {
		do(n, depth)
		return
	}
	n.halves[0].each(depth+1, do)
	n.halves[1].each(depth+1, do)
}

// merged is keys after edits, both in the order of their MACs. Of the edits of one key, each
// comes after the one before: where two subscriptions swap keys, one is told first.
func merged(keys []wire.Key, edits []keyEdit) []wire.Key {
	out := make([]wire.Key, 0, len(keys)+len(edits))
	for len(edits) > 0 {
		mac := edits[0].key.MAC
		for len(keys) > 0 && bytes.Compare(keys[0].MAC[:], mac[:]) < 0 {
			out = append(out, keys[0])
			keys = keys[1:]
		}
		var held wire.Key // none, where it has no subscription
		if len(keys) > 0 && keys[0].MAC == mac {
			held, keys = keys[0], keys[1:]
		}
		for ; len(edits) > 0 && edits[0].key.MAC == mac; edits = edits[1:] {
			switch e := edits[0]; {
			case !e.gone:
				held = e.key
			case held.Subscription == e.key.Subscription:
				held = wire.Key{}
			}
		}
		if held.Subscription != 0 {
			out = append(out, held)
		}
	}
	return append(out, keys...)
}
