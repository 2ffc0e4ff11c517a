package wire_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/wire"
)

// records draws keys of subscriptions over several pages of both kinds. MACs crowd under few
// prefixes, so that pages split unevenly.
func records(t *rapid.T) []wire.KeyRecord {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	crowd := rapid.SampledFrom([]int{0, 1, 3, 9}).Draw(t, "crowded bits")
	n := rapid.SampledFrom([]int{0, 1, 2, wire.KeysPerPage - 1, wire.KeysPerPage, wire.KeysPerPage + 1, 3 * wire.KeysPerPage}).Draw(t, "subscriptions")
	ids := uint32(rapid.SampledFrom([]int{2 * wire.KeysPerPage, 1 << 15, 1 << 20}).Draw(t, "ids below"))
	subs := map[uint32]wire.KeyRecord{}
	var all []wire.KeyRecord
	for len(all) < n {
		id := 1 + random.Uint32N(ids)
		r, ok := subs[id]
		if !ok {
			r = wire.KeyRecord{Subscription: id, Revision: random.Uint32(), Expires: random.Uint32N(2) * random.Uint32(),
				Scope: random.Uint32N(1 << 24), State: wire.State(1 + random.IntN(6))}
			subs[id] = r
		}
		binary.BigEndian.PutUint64(r.MAC[:], random.Uint64()>>crowd)
		binary.BigEndian.PutUint64(r.MAC[8:], random.Uint64())
		r.Slot = wire.Slot(1 + random.IntN(2))
		if random.IntN(50) == 0 {
			r.KeyExpires = random.Uint32()
		}
		all = append(all, r)
	}
	return all
}

func open(t interface{ Fatal(...any) }, records []wire.KeyRecord, before wire.KeyTable) (wire.Snapshot, wire.KeyTable, wire.Pages) {
	keys, subscriptions, pages := wire.PackPages(records)
	s := wire.Snapshot{Version: wire.Version, Keys: keys, Subscriptions: subscriptions}
	table, err := wire.OpenPages(s, pages, before)
	if err != nil {
		t.Fatal(err)
	}
	return s, table, pages
}

func TestPagesFindExactlyWhatWasPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := records(t)
		s, table, pages := open(t, all, wire.KeyTable{})
		for _, want := range all {
			got, origin, ok := table.Find(want.MAC)
			if diff := cmp.Diff(want, got); !ok || diff != "" {
				t.Fatalf("found %v (-want +got):\n%s", ok, diff)
			}
			if !table.Holds(got, origin) {
				t.Fatal("a record is not held where it was found")
			}
			want.MAC[wire.MACSize-1]++
			if _, _, ok := table.Find(want.MAC); ok {
				t.Fatalf("found %x, which nobody packed", want.MAC)
			}
		}
		if n := len(s.Missing(func(d wire.Digest) bool { return pages[d] == nil })); n != len(pages) {
			t.Fatalf("%d pages are named, %d there", n, len(pages))
		}
		for digest, page := range pages {
			if len(page) > wire.PageMax || digest != wire.PageDigest(page) {
				t.Fatalf("page %s has %d bytes and the digest %s", digest, len(page), wire.PageDigest(page))
			}
		}
	})
}

// TestAChangeMovesFewPages: whatever changes in one subscription moves its page and those of
// its keys; a record from elsewhere is known to be as it was.
func TestAChangeMovesFewPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := records(t)
		if len(all) == 0 {
			return
		}
		_, old, _ := open(t, all, wire.KeyTable{})
		changed := slices.Clone(all)
		at := rapid.IntRange(0, len(all)-1).Draw(t, "changed")
		var moved int
		switch id := all[at].Subscription; rapid.SampledFrom([]string{"another key", "no key", "another state"}).Draw(t, "how") {
		case "another key":
			changed[at].MAC = [16]byte{^all[at].MAC[0], 1, 2}
			moved = 2
		case "no key":
			changed = slices.Delete(changed, at, at+1)
			moved = 3 // two pages may become one, and the subscription may be gone with its last key
		default:
			for i := range changed {
				if changed[i].Subscription == id {
					changed[i].State = changed[i].State%6 + 1
				}
			}
			moved = 1
		}
		s, table, fetched := open(t, changed, old)
		missing := s.Missing(func(d wire.Digest) bool { return old.Digests()[d] })
		if len(missing) > moved+1 { // a page may become two
			t.Fatalf("%d pages moved", len(missing))
		}
		only := wire.Pages{}
		for _, d := range missing {
			only[d] = fetched[d]
		}
		if _, err := wire.OpenPages(s, only, old); err != nil {
			t.Fatalf("opening with what is missing: %v", err)
		}
		for _, r := range all {
			was, origin, _ := old.Find(r.MAC)
			now, _, ok := table.Find(r.MAC)
			if table.Holds(was, origin) && (!ok || now != was) {
				t.Fatalf("held %+v, found %v %+v", was, ok, now)
			}
		}
	})
}

func TestBadPages(t *testing.T) {
	key := func(b byte) wire.Key {
		return wire.Key{MAC: [wire.MACSize]byte{b}, Subscription: 1, Slot: wire.SlotPrimary}
	}
	late := key(3)
	late.Expires = 1
	good := wire.PackKeyPage([]wire.Key{key(1), key(2), late})
	sub := wire.PackSubscriptionPage([]wire.SubscriptionRecord{{ID: 1, Revision: 1, State: wire.StateActive}})
	edited := func(page []byte, edit func([]byte) []byte) []byte { return edit(bytes.Clone(page)) }
	for name, c := range map[string]struct {
		key, sub []byte
		depths   []int // of the page of keys, and empty ones
		want     string
	}{
		"good":                     {good, sub, []int{0}, ""},
		"good, in half of it":      {good, sub, []int{1, 1}, ""},
		"in the wrong half":        {edited(good, func(p []byte) []byte { p[4] = 0x80; p[20] = 0x81; p[36] = 0x82; return p }), sub, []int{1, 1}, "out of order"},
		"out of order":             {edited(good, func(p []byte) []byte { p[4] = 2; return p }), sub, []int{0}, "out of order"},
		"cut short":                {good[:len(good)-1], sub, []int{0}, "cut short"},
		"longer than it is":        {edited(good, func(p []byte) []byte { p[0] = 9; return p }), sub, []int{0}, "cut short"},
		"far longer than it is":    {edited(good, func(p []byte) []byte { p[3] = 0xff; return p }), sub, []int{0}, "cut short"},
		"no head":                  {good[:3], sub, []int{0}, "cut short"},
		"a hole":                   {good, sub, []int{1}, "do not fit"},
		"too many":                 {good, sub, []int{0, 0}, "do not fit"},
		"too deep":                 {good, sub, []int{33}, "do not fit"},
		"uneven":                   {good, sub, []int{2, 1, 2, 2}, "do not fit"},
		"a subscription cut short": {good, sub[:len(sub)-1], []int{0}, "cut short"},
		"no bitmap":                {good, sub[:9], []int{0}, "cut short"},
		"no page of keys":          {nil, sub, nil, "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			pages := wire.Pages{}
			s := wire.Snapshot{}
			digest := wire.Digest{1}
			if c.key != nil {
				digest = pages.Add(c.key)
			} else {
				s.Keys = wire.AppendKeyEntry(nil, 0, digest)
			}
			for _, depth := range c.depths {
				s.Keys = wire.AppendKeyEntry(s.Keys, depth, digest)
				digest = wire.Digest{}
			}
			digest = pages.Add(c.sub)
			s.Subscriptions = digest[:]
			_, err := wire.OpenPages(s, pages, wire.KeyTable{})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("opened with %v, want %q", err, c.want)
			}
		})
	}
	for name, s := range map[string]wire.Snapshot{"keys": {Keys: make([]byte, 16)}, "subscriptions": {Subscriptions: make([]byte, 15)}} {
		if _, err := wire.OpenPages(s, nil, wire.KeyTable{}); err == nil {
			t.Errorf("a list of %s that is cut short was taken", name)
		}
	}
}

func TestKeyPagesAreReadAsTheyWerePacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []wire.Key
		for i := range rapid.IntRange(0, 50).Draw(t, "keys") {
			want = append(want, wire.Key{MAC: [wire.MACSize]byte{byte(i)}, Subscription: rapid.Uint32Range(1, wire.SubscriptionIDMax).Draw(t, "id"),
				Slot: wire.Slot(rapid.IntRange(1, 2).Draw(t, "slot")), Expires: rapid.SampledFrom([]uint32{0, 0, 1, 1 << 31}).Draw(t, "expires")})
		}
		if diff := cmp.Diff(want, wire.ReadKeyPage(wire.PackKeyPage(want))); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestDigestsInText(t *testing.T) {
	want := wire.PageDigest([]byte("page"))
	if got, err := wire.ParseDigest(want.String()); err != nil || got != want {
		t.Errorf("read %s as %s: %v", want, got, err)
	}
	for _, bad := range []string{"", "00", want.String() + "0", want.String() + "00", strings.Repeat("g", 32)} {
		if d, err := wire.ParseDigest(bad); err == nil {
			t.Errorf("read %q as %s", bad, d)
		}
	}
}

func FuzzOpenPages(f *testing.F) {
	keys, subscriptions, pages := wire.PackPages([]wire.KeyRecord{{MAC: [16]byte{1}, Subscription: 1}})
	s := wire.Snapshot{Keys: keys, Subscriptions: subscriptions}
	missing := s.Missing(func(wire.Digest) bool { return false })
	f.Add(pages[missing[0]], pages[missing[1]], byte(0), []byte{1})
	f.Fuzz(func(_ *testing.T, key, sub []byte, depth byte, mac []byte) {
		pages := wire.Pages{}
		digest := pages.Add(key)
		s := wire.Snapshot{Keys: wire.AppendKeyEntry(nil, int(depth), digest)}
		digest = pages.Add(sub)
		s.Subscriptions = digest[:]
		if table, err := wire.OpenPages(s, pages, wire.KeyTable{}); err == nil {
			table.Find([16]byte(append(mac, make([]byte, 16)...)))
		}
	})
}
