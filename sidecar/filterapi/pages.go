package filterapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

// keepReplaced is how long pages can be fetched after they were replaced: longer than a
// filter takes to load all of a large table.
const keepReplaced = 30 * time.Second

// numbering gives each scope of a catalog its number on the wire.
type numbering struct{ of map[store.Scope]uint32 }

// newNumbering takes a number from the hash of each name, so that it stays what it is
// when scopes come and go beside it, in every sidecar of a store. Of two with the same hash,
// the one whose name sorts last has the next number that is free.
func newNumbering(c *catalog.Catalog) *numbering {
	all := []store.Scope{{Kind: store.ScopeAllAPIs}}
	for _, api := range c.APIs {
		all = append(all, store.Scope{Kind: store.ScopeAPI, Name: api.Name})
	}
	for _, p := range c.Products {
		all = append(all, store.Scope{Kind: store.ScopeProduct, Name: p.Name})
	}
	slices.SortFunc(all, func(a, b store.Scope) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	n := &numbering{make(map[store.Scope]uint32, len(all))}
	taken := map[uint32]bool{0: true} // which says: nothing
	for _, scope := range all {
		sum := sha256.Sum256([]byte(string(scope.Kind) + "\x00" + scope.Name))
		number := binary.BigEndian.Uint32(sum[:]) >> 8
		for taken[number] {
			number = (number + 1) % (1 << 24)
		}
		taken[number] = true
		n.of[scope] = number
	}
	return n
}

// packed packs the pages of a table that are not: keys and subscriptions are the lists of a
// snapshot. One call at a time.
func (t *table) packed(n *numbering) (keys, subscriptions []byte, pages wire.Pages) {
	pages = make(wire.Pages, len(t.pages)+t.keys.count/1000)
	t.keys.each(0, func(page *node, depth int) {
		if page.digest == (wire.Digest{}) {
			page.digest = wire.PageDigest(page.packed)
		}
		keys = wire.AppendKeyEntry(keys, depth, page.digest)
		if page.packed != nil {
			pages[page.digest] = page.packed
		}
	})
	for i, page := range t.pages {
		var digest wire.Digest
		if page != nil {
			page.pack(i, n)
			digest = page.digest
		}
		subscriptions = append(subscriptions, digest[:]...)
		if digest != (wire.Digest{}) {
			pages[digest] = page.packed
		}
	}
	return keys, subscriptions, pages
}

// pack packs the page at a place where that was not done for these numbers.
func (s *subscriptions) pack(place int, n *numbering) {
	if s.numbered == n {
		return
	}
	var records []wire.SubscriptionRecord
	for i, e := range s.entries {
		if e != nil {
			records = append(records, wire.SubscriptionRecord{ID: uint32(place*wire.SubscriptionsPerPage + i), Revision: e.revision,
				Expires: e.expires, Scope: n.of[*e.scope], State: e.state})
		}
	}
	s.packed = wire.PackSubscriptionPage(records)
	s.digest, s.numbered = wire.PageDigest(s.packed), n
}

// whole is the packed key table of version 1, where a scope is its place in a list, and
// nothing is where the list ends.
func (t *table) whole(scopes []wire.Scope, n *numbering) ([]byte, error) {
	places := map[uint32]uint32{0: uint32(len(scopes))}
	for i, s := range scopes {
		places[s.Number] = uint32(i)
	}
	records := make([]wire.KeyRecord, 0, t.keys.count)
	t.keys.each(0, func(page *node, _ int) {
		for _, k := range wire.ReadKeyPage(page.packed) {
			if e := t.entry(k.Subscription); e != nil {
				records = append(records, wire.KeyRecord{MAC: e.mac(k), Subscription: k.Subscription, Revision: e.revision, Expires: e.expires,
					Scope: places[n.of[*e.scope]], State: e.state, Slot: k.Slot, KeyExpires: k.Expires})
			}
		}
	})
	return wire.PackKeys(records)
}

// replacedPage is one that a filter may still ask for.
type replacedPage struct {
	packed []byte
	until  time.Time
}

// replace keeps those of a state's pages that the next one does not have, for a while.
func (s *Server) replace(old, next *state) {
	now := time.Now()
	s.replacing.Lock()
	defer s.replacing.Unlock()
	for digest, packed := range old.pages {
		if next.pages[digest] == nil {
			s.replaced[digest] = replacedPage{packed, now.Add(keepReplaced)}
		}
	}
	time.AfterFunc(keepReplaced+time.Second, s.sweep)
}

// sweep lets go of pages whose time is over.
func (s *Server) sweep() {
	now := time.Now()
	s.replacing.Lock()
	defer s.replacing.Unlock()
	maps.DeleteFunc(s.replaced, func(_ wire.Digest, p replacedPage) bool { return now.After(p.until) })
}

func (s *Server) page(st *state, digest wire.Digest) []byte {
	if packed := st.pages[digest]; packed != nil {
		return packed
	}
	s.replacing.Lock()
	defer s.replacing.Unlock()
	return s.replaced[digest].packed
}

// fetch answers with pages, each after its length.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	st := s.state.Load()
	if st == nil {
		s.writeError(w, r, errNotReady)
		return
	}
	asked := r.URL.Query()[wire.PagesDigest]
	if len(asked) == 0 || len(asked) > wire.PagesMax {
		s.writeError(w, r, invalid("bad_pages", fmt.Sprintf("a call asks for 1 to %d pages", wire.PagesMax)))
		return
	}
	var pages [][]byte
	size := 0
	for _, text := range asked {
		digest, err := wire.ParseDigest(text)
		if err != nil {
			s.writeError(w, r, invalid("bad_pages", "a digest has 32 hexadecimal digits"))
			return
		}
		page := s.page(st, digest)
		if page == nil {
			s.writeError(w, r, errPageGone)
			return
		}
		pages = append(pages, page)
		size += 4 + len(page)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	for _, page := range pages {
		_, _ = w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(page)))) // the filter is gone; its next call tells
		_, _ = w.Write(page)
	}
}

var errPageGone = &fault{http.StatusNotFound, "page_gone", "a page is not kept any more: watch for the next snapshot"}
