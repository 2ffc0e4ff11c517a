package filterapi_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/store"
)

// worker is a filter's way to a table: it fetches what it does not hold.
type worker struct {
	*sidecar
	snapshot wire.Snapshot
	table    wire.KeyTable
	fetched  int // pages, by the last load
}

// load takes what is published.
func (w *worker) load() {
	w.t.Helper()
	w.snapshot = w.sidecar.snapshot()
	held := w.table.Digests()
	missing := w.snapshot.Missing(func(d wire.Digest) bool { return held[d] })
	w.fetched = len(missing)
	pages := wire.Pages{}
	for part := range slices.Chunk(missing, wire.PagesMax) {
		status, answer := w.pages(part...)
		if status != http.StatusOK {
			w.t.Fatalf("pages: status %d", status)
		}
		for _, page := range answer {
			pages.Add(page)
		}
	}
	table, err := wire.OpenPages(w.snapshot, pages, w.table)
	if err != nil {
		w.t.Fatal(err)
	}
	w.table = table
}

func pagesPath(digests ...wire.Digest) string {
	query := url.Values{}
	for _, d := range digests {
		query.Add(wire.PagesDigest, d.String())
	}
	return wire.PathPages + "?" + query.Encode()
}

// pages fetches, and takes the answer apart.
func (s *sidecar) pages(digests ...wire.Digest) (int, [][]byte) {
	s.t.Helper()
	response, err := s.client.Get("http://sidecar" + pagesPath(digests...))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}
	if len(body) > 1<<20 {
		s.t.Fatalf("an answer of %d bytes", len(body))
	}
	var pages [][]byte
	for len(body) > 0 {
		n := binary.LittleEndian.Uint32(body)
		pages, body = append(pages, body[4:4+n]), body[4+n:]
	}
	return http.StatusOK, pages
}

// scopeNumber is that of the scope with a product; that of the first API without one.
func scopeNumber(s wire.Snapshot, product string) uint32 {
	for _, scope := range s.Scopes {
		if scope.Product == product && (product != "" || len(scope.APIs) == 1 && scope.APIs[0] == 0) {
			return scope.Number
		}
	}
	return 0
}

// told stands between the server and the store: the subscriptions are the test's.
type told struct {
	filterapi.Store
	mu   sync.Mutex
	now  int64
	subs map[uint32]store.Subscription
	gone map[uint32]int64 // by the change
	at   map[uint32]int64
	// twice: half of it is told again, as where a transaction is repeated, but for a
	// subscription that was removed meanwhile; fail is how many calls fail half-way.
	twice bool
	fail  int
}

func (s *told) Changed(_ context.Context, after int64, each func(store.Subscription, bool) error) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now < after {
		return s.now, nil
	}
	var ids []uint32
	for id := range s.subs {
		if s.at[id] > after || after == 0 {
			ids = append(ids, id)
		}
	}
	for id, at := range s.gone {
		if at > after && after > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	tell := func(ids []uint32) error {
		for _, id := range ids {
			sub, there := s.subs[id]
			if !there {
				sub = store.Subscription{ID: id}
			}
			if err := each(sub, !there); err != nil {
				return err
			}
		}
		return nil
	}
	if s.fail > 0 {
		s.fail--
		_ = tell(ids[:len(ids)/2])
		return 0, errors.New("the store is gone")
	}
	if s.twice && len(ids) > 0 {
		if err := tell(ids[:(len(ids)+1)/2]); err != nil {
			return 0, err
		}
		removed := store.Subscription{ID: wire.SubscriptionIDMax >> 8, State: wire.StateActive, Keys: []store.Key{{Slot: wire.SlotPrimary}}}
		if err := each(removed, false); err != nil {
			return 0, err
		}
	}
	return s.now, tell(ids)
}

func (s *told) put(sub store.Subscription) {
	sub.Revision++
	s.subs[sub.ID], s.at[sub.ID] = sub, s.now
	delete(s.gone, sub.ID)
}

// records are what a snapshot must have.
func (s *told) records(snapshot wire.Snapshot, pepper []byte) []wire.KeyRecord {
	var records []wire.KeyRecord
	for _, sub := range s.subs {
		for _, k := range sub.Keys {
			product := ""
			if sub.Scope.Kind == store.ScopeProduct {
				product = sub.Scope.Name
			}
			records = append(records, wire.KeyRecord{MAC: apikey.MAC(pepper, k.Digest), Subscription: sub.ID, Revision: sub.Revision, Expires: sub.Expires,
				Scope: scopeNumber(snapshot, product), State: sub.State, Slot: k.Slot, KeyExpires: k.Expires})
		}
	}
	return records
}

// TestTheTableFollowsTheStore: after any changes, told one by one or thousands at once, with
// failures on the way, the pages are those of what the store holds, and of nothing else. They
// are the very same as a sidecar makes that starts now, and a worker fetches what moved only.
func TestTheTableFollowsTheStore(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	source := &told{now: 1, subs: map[uint32]store.Subscription{}, gone: map[uint32]int64{}, at: map[uint32]int64{}}
	s := start(t, options{wrap: func(kept filterapi.Store) filterapi.Store { source.Store = kept; return source }})
	fresh := func() store.Key {
		var digest [32]byte
		for i := 0; i < len(digest); i += 8 {
			binary.LittleEndian.PutUint64(digest[i:], random.Uint64())
		}
		return store.Key{Digest: digest}
	}
	last := uint32(0)
	create := func() {
		last += 1 + random.Uint32N(3)*random.Uint32N(2) // ids have gaps
		sub := store.Subscription{ID: last, Name: fmt.Sprint("s", last), State: wire.StateActive, Scope: store.Scope{Kind: store.ScopeProduct, Name: "Unlimited"},
			Started: time.UnixMilli(int64(last)), Developer: store.Developer{Email: fmt.Sprint(last%9, "@example.org"), Groups: []string{"beta"}}}
		if random.IntN(3) == 0 {
			sub.Scope = store.Scope{Kind: store.ScopeAPI, Name: "Demo"}
		}
		sub.Keys = []store.Key{fresh(), fresh()}
		sub.Keys[0].Slot, sub.Keys[1].Slot = wire.SlotPrimary, wire.SlotSecondary
		source.put(sub)
	}
	anyone := func() store.Subscription {
		ids := slices.Sorted(maps.Keys(source.subs))
		sub := source.subs[ids[random.IntN(len(ids))]]
		sub.Keys = slices.Clone(sub.Keys)
		return sub
	}
	steps := []func(){
		func() { create() },
		func() { sub := anyone(); sub.State = sub.State%6 + 1; source.put(sub) },
		func() { sub := anyone(); sub.Expires = random.Uint32(); source.put(sub) },
		func() { sub := anyone(); delete(source.subs, sub.ID); source.gone[sub.ID] = source.now },
		func() {
			sub, k := anyone(), fresh()
			k.Slot, k.Expires = wire.SlotPrimary, random.Uint32N(2)*random.Uint32()
			sub.Keys = append(sub.Keys, k)
			source.put(sub)
		},
		func() {
			sub := anyone()
			if len(sub.Keys) > 0 {
				sub.Keys = sub.Keys[1:]
			}
			source.put(sub)
		},
		func() { // two swap their keys in one change
			a, b := anyone(), anyone()
			if a.ID != b.ID {
				a.Keys, b.Keys = b.Keys, a.Keys
				source.put(a)
				source.put(b)
			}
		},
	}
	for range 3000 {
		create()
	}
	s.apply(demo())
	w := &worker{sidecar: s}
	for round := range 30 {
		w.load()
		keys, subscriptions, _ := wire.PackPages(source.records(w.snapshot, s.store.Pepper()))
		if diff := cmp.Diff(keys, w.snapshot.Keys); diff != "" {
			t.Fatalf("round %d: the pages of keys are others than those of the store", round)
		}
		if len(subscriptions) > len(w.snapshot.Subscriptions) || len(source.subs) == 0 {
			t.Fatalf("round %d: %d bytes of pages of subscriptions, want %d", round, len(w.snapshot.Subscriptions), len(subscriptions))
		}
		for _, want := range source.records(w.snapshot, s.store.Pepper()) {
			if got, _, ok := w.table.Find(want.MAC); !ok || got != want {
				t.Fatalf("round %d: found %v (-want +got):\n%s", round, ok, cmp.Diff(want, got))
			}
		}
		for id, sub := range source.subs {
			ask := wire.Ask{Subscription: id, API: "Demo", Operation: "Execute"}
			if a := s.decide(ask)[0]; a.SubscriptionRevision != sub.Revision {
				t.Fatalf("round %d: decided on revision %d, want %d", round, a.SubscriptionRevision, sub.Revision)
			}
			break
		}
		changes := 1
		if round%5 == 4 {
			changes = 700
		}
		source.mu.Lock()
		source.now++
		for range changes {
			steps[random.IntN(len(steps))]()
		}
		if round == 20 { // so few are left that pages become one again
			for i, id := range slices.Sorted(maps.Keys(source.subs)) {
				if changes = 2; i%3 != 0 {
					delete(source.subs, id)
					source.gone[id] = source.now
				}
			}
		}
		source.twice, source.fail = round%7 == 3, random.IntN(2)
		failing := source.fail > 0
		source.mu.Unlock()
		before := s.server.Revision()
		if err := s.server.Refresh(t.Context()); failing != (err != nil) {
			t.Fatalf("round %d: refreshing: %v", round, err)
		}
		if failing {
			if s.server.Revision() != before {
				t.Fatalf("round %d: half a change was published", round)
			}
			if err := s.server.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if changes == 1 {
			if w.load(); w.fetched > 6 { // of two that swapped four keys
				t.Errorf("round %d: one change moved %d pages", round, w.fetched)
			}
		}
	}
	another := filterapi.New(filterapi.Config{Store: source, Policy: s.engine, Ledger: s.ledger, Gateway: wire.Gateway{Name: "g", Region: "eu", MaxStaleSeconds: 300}})
	if err := another.Publish(t.Context(), filterapi.Catalog{Catalog: demo(), BackendKeys: map[string]string{"Demo": plantedKey, "Free": plantedKey}}); err != nil {
		t.Fatal(err)
	}
	if got, want := another.Revision(), s.server.Revision(); got.Content != want.Content {
		t.Errorf("a sidecar that starts now publishes %s, want %s", got, want)
	}
	// A store that was restored from a copy has fewer changes, and other ones.
	source.mu.Lock()
	source.now = 1
	for id := range source.subs {
		if id > 10 {
			delete(source.subs, id)
		}
	}
	source.mu.Unlock()
	if err := s.server.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.load()
	keys, subscriptions, _ := wire.PackPages(source.records(w.snapshot, s.store.Pepper()))
	if !slices.Equal(keys, w.snapshot.Keys) || !slices.Equal(subscriptions, w.snapshot.Subscriptions) {
		t.Error("after the store was restored: other pages than those of the store")
	}
}

// TestTheVersionBefore: a filter that is older than its sidecar gets what it knows.
func TestTheVersionBefore(t *testing.T) {
	s := start(t, options{})
	c := demo()
	s.apply(c)
	path := strings.Replace(watchPath(""), fmt.Sprint(wire.WatchVersion, "=", wire.Version), wire.WatchVersion+"=1", 1)
	var got wire.Snapshot
	if status, _ := s.call(http.MethodGet, path, nil, &got); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	table, err := wire.OpenKeyTable(got.Keys)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 1 || got.Revision != s.server.Revision() || got.Subscriptions != nil || table.Len() != 4 {
		t.Errorf("version %d, revision %v, %d keys", got.Version, got.Revision, table.Len())
	}
	for key, product := range map[string]string{"A1": "Unlimited", "B1": ""} {
		record, ok := table.Find(apikey.MAC(got.Pepper, apikey.Digest(planted+key)))
		if !ok || record.State != wire.StateActive || int(record.Scope) >= len(got.Scopes) || got.Scopes[record.Scope].Product != product || got.Scopes[record.Scope].Number != 0 {
			t.Errorf("key %s: %+v", key, record)
		}
	}
	for i, api := range got.APIs {
		if api.Open >= 0 && !slices.Contains(got.Scopes[api.Open].APIs, i) {
			t.Errorf("%s is open under %+v", api.Name, got.Scopes[api.Open])
		}
	}
	for version, want := range map[string]int{"0": 400, "3": 400, "": 400} {
		path := strings.Replace(watchPath(""), fmt.Sprint(wire.WatchVersion, "=", wire.Version), wire.WatchVersion+"="+version, 1)
		if status, _ := s.call(http.MethodGet, path, nil, nil); status != want {
			t.Errorf("version %q: status %d, want %d", version, status, want)
		}
	}
	var reply wire.DecideReply
	s.call(http.MethodPost, wire.PathDecide, wire.DecideRequest{Version: 1, Store: s.store.ID(), VM: "v", Asks: []wire.Ask{{}}}, &reply)
	if reply.Version != 1 {
		t.Errorf("a request of version 1 was answered in version %d", reply.Version)
	}
}

// TestAnotherScopeMovesNothing: the numbers of scopes stay when others come and go, so that
// a new product does not move the pages of all subscriptions.
func TestAnotherScopeMovesNothing(t *testing.T) {
	s := start(t, options{})
	c := demo()
	s.apply(c)
	before := s.snapshot()
	c = demo()
	for i := range 50 {
		c.APIs = append(c.APIs, catalog.API{Name: fmt.Sprint("New ", i), Suffix: fmt.Sprint("new", i), Backend: catalog.Backend{URL: "https://new"}})
		c.Products = slices.Insert(c.Products, 0, catalog.Product{Name: fmt.Sprint("New ", i), APIs: []string{fmt.Sprint("New ", i)}, SubscriptionRequired: true})
	}
	s.apply(c)
	after := s.snapshot()
	if len(after.Scopes) != len(before.Scopes)+100 {
		t.Fatalf("%d scopes after %d", len(after.Scopes), len(before.Scopes))
	}
	if !slices.Equal(before.Subscriptions, after.Subscriptions) || !slices.Equal(before.Keys, after.Keys) {
		t.Error("pages moved")
	}
	for _, name := range []string{"Product 1324", "Product 3578"} { // whose hashes begin alike
		c.Products = append(c.Products, catalog.Product{Name: name, APIs: []string{"Demo"}, SubscriptionRequired: true})
	}
	s.apply(c)
	after = s.snapshot()
	numbers := map[uint32]bool{0: true}
	for _, scope := range after.Scopes {
		if numbers[scope.Number] || scope.Number >= 1<<24 {
			t.Errorf("scope %+v has another's number", scope)
		}
		numbers[scope.Number] = true
	}
}

// TestAProductComesAndGoes: what subscribes to a product that the catalog does not have opens
// nothing, until it has it.
func TestAProductComesAndGoes(t *testing.T) {
	source := &told{now: 1, subs: map[uint32]store.Subscription{}, gone: map[uint32]int64{}, at: map[uint32]int64{}}
	s := start(t, options{wrap: func(kept filterapi.Store) filterapi.Store { source.Store = kept; return source }})
	source.put(store.Subscription{ID: 7, State: wire.StateActive, Scope: store.Scope{Kind: store.ScopeProduct, Name: "Later"}, Keys: []store.Key{{Slot: wire.SlotPrimary}}})
	later := demo()
	later.Products = append(later.Products, catalog.Product{Name: "Later", APIs: []string{"Demo"}, SubscriptionRequired: true})
	for _, c := range []*catalog.Catalog{demo(), later, demo()} {
		s.apply(c)
		w := &worker{sidecar: s}
		w.load()
		record, _, ok := w.table.Find(apikey.MAC(s.store.Pepper(), [32]byte{}))
		if want := scopeNumber(w.snapshot, "Later"); !ok || record.Scope != want || (want == 0) != (len(c.Products) == 2) {
			t.Errorf("with %d products: found %v with scope %d, want %d", len(c.Products), ok, record.Scope, want)
		}
	}
}

func TestPages(t *testing.T) {
	s := start(t, options{})
	if status, _ := s.pages(wire.Digest{1}); status != http.StatusServiceUnavailable {
		t.Errorf("before the first Publish: status %d", status)
	}
	s.apply(demo())
	old := s.snapshot().Missing(func(wire.Digest) bool { return false })
	status, pages := s.pages(old[1], old[0], old[1])
	if status != http.StatusOK || len(pages) != 3 {
		t.Fatalf("status %d, %d pages", status, len(pages))
	}
	for i, want := range []wire.Digest{old[1], old[0], old[1]} {
		if got := wire.PageDigest(pages[i]); got != want {
			t.Errorf("page %d is %s, want %s", i, got, want)
		}
	}
	c := demo()
	c.Subscriptions = c.Subscriptions[:1]
	s.apply(c)
	for _, d := range s.snapshot().Missing(func(wire.Digest) bool { return false }) {
		if slices.Contains(old, d) {
			t.Errorf("page %s is the same as before", d)
		}
	}
	if status, pages := s.pages(old...); status != http.StatusOK || len(pages) != len(old) {
		t.Errorf("pages that were replaced a moment ago: status %d", status)
	}
	for name, c := range map[string]struct {
		path   string
		status int
		code   string
	}{
		"unknown":    {pagesPath(old[0], wire.Digest{1}), http.StatusNotFound, "page_gone"},
		"empty page": {pagesPath(wire.Digest{}), http.StatusNotFound, "page_gone"},
		"none":       {wire.PathPages, http.StatusBadRequest, "bad_pages"},
		"too many":   {pagesPath(make([]wire.Digest, wire.PagesMax+1)...), http.StatusBadRequest, "bad_pages"},
		"no digest":  {wire.PathPages + "?" + wire.PagesDigest + "=x", http.StatusBadRequest, "bad_pages"},
	} {
		response, err := s.client.Get("http://sidecar" + c.path)
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ Error string }
		err = json.NewDecoder(response.Body).Decode(&body)
		response.Body.Close()
		if err != nil || response.StatusCode != c.status || body.Error != c.code {
			t.Errorf("%s: status %d %q (%v), want %d %q", name, response.StatusCode, body.Error, err, c.status, c.code)
		}
	}
}
