package wire

import (
	"encoding/binary"
	"errors"
	"sort"
)

// Missing lists the digests of a snapshot's pages that has does not know, each once, in the
// snapshot's order.
func (s Snapshot) Missing(has func(Digest) bool) []Digest {
	var missing []Digest
	seen := map[Digest]bool{{}: true}
	note := func(digest Digest) {
		if !seen[digest] {
			seen[digest] = true
			if !has(digest) {
				missing = append(missing, digest)
			}
		}
	}
	for i := 0; i+keyEntrySize <= len(s.Keys); i += keyEntrySize {
		note(Digest(s.Keys[i+1:]))
	}
	for i := 0; i+len(Digest{}) <= len(s.Subscriptions); i += len(Digest{}) {
		note(Digest(s.Subscriptions[i:]))
	}
	return missing
}

// KeyTable is the pages of one snapshot, to be looked up. Pages hold no pointers, so a
// garbage collector passes over a million keys as over one.
type KeyTable struct {
	keys          []keyPage
	subscriptions []page
}

type page struct {
	digest Digest
	packed []byte
}

type keyPage struct {
	page
	first uint32 // the first four bytes of its MACs are this or more
	span  uint64 // by less than this
}

// OpenPages opens a snapshot's pages. Those that before holds are its, the others come from
// fetched, whose digests are what they say, and are checked. It takes all of them or none.
func OpenPages(s Snapshot, fetched Pages, before KeyTable) (KeyTable, error) {
	if len(s.Keys)%keyEntrySize != 0 || len(s.Subscriptions)%len(Digest{}) != 0 {
		return KeyTable{}, errors.New("opening pages: a list of pages is cut short")
	}
	held := make(Pages, len(before.keys)+len(before.subscriptions))
	before.each(func(p page) { held[p.digest] = p.packed })
	t := KeyTable{keys: make([]keyPage, len(s.Keys)/keyEntrySize), subscriptions: make([]page, len(s.Subscriptions)/len(Digest{}))}
	next := uint64(0)
	for i := range t.keys {
		entry := s.Keys[i*keyEntrySize:]
		depth, digest := int(entry[0]), Digest(entry[1:])
		if depth > depthMax || next%(1<<(depthMax-depth)) != 0 || next >= 1<<depthMax {
			return KeyTable{}, errors.New("opening pages: the pages of keys do not fit together")
		}
		p, isNew, err := find(digest, held, fetched)
		if err == nil && isNew {
			err = checkKeyPage(p.packed, uint32(next), depth)
		}
		if err != nil {
			return KeyTable{}, errors.New("opening pages: " + err.Error())
		}
		t.keys[i] = keyPage{p, uint32(next), 1 << (depthMax - depth)}
		next += t.keys[i].span
	}
	if len(t.keys) > 0 && next != 1<<depthMax {
		return KeyTable{}, errors.New("opening pages: the pages of keys do not fit together")
	}
	for i := range t.subscriptions {
		p, isNew, err := find(Digest(s.Subscriptions[i*len(Digest{}):]), held, fetched)
		if err == nil && isNew {
			err = checkSubscriptionPage(p.packed)
		}
		if err != nil {
			return KeyTable{}, errors.New("opening pages: " + err.Error())
		}
		t.subscriptions[i] = p
	}
	return t, nil
}

func find(digest Digest, held, fetched Pages) (p page, isNew bool, err error) {
	if digest == (Digest{}) {
		return page{}, false, nil
	}
	if packed, ok := held[digest]; ok {
		return page{digest, packed}, false, nil
	}
	if packed, ok := fetched[digest]; ok {
		return page{digest, packed}, true, nil
	}
	return page{}, false, errors.New("page " + digest.String() + " is not there")
}

func (t KeyTable) each(do func(page)) {
	for _, p := range t.keys {
		do(p.page)
	}
	for _, p := range t.subscriptions {
		do(p)
	}
}

// Digests are those of the pages held.
func (t KeyTable) Digests() map[Digest]bool {
	held := make(map[Digest]bool, len(t.keys)+len(t.subscriptions))
	t.each(func(p page) { held[p.digest] = true })
	return held
}

// Bytes is the size of the pages held.
func (t KeyTable) Bytes() int {
	n := 0
	t.each(func(p page) { n += len(p.packed) })
	return n
}

// find finds the key of mac in a page.
func (p keyPage) find(mac [MACSize]byte) (Key, bool) {
	if len(p.packed) == 0 {
		return Key{}, false
	}
	plain, expiring := keyLists(p.packed)
	if record := p.search(plain, keySize, mac); record != nil {
		return readKey(record), true
	}
	if record := p.search(expiring, expiringKeySize, mac); record != nil {
		k := readKey(record)
		k.Expires = binary.LittleEndian.Uint32(record[keySize:])
		return k, true
	}
	return Key{}, false
}

// search begins where the record would be if the MACs had even distances. As they are
// random, it is some twenty records off in a full page; halving the page again and again
// would touch as many places, far from each other.
func (p keyPage) search(records []byte, size int, mac [MACSize]byte) []byte {
	n, want := len(records)/size, binary.BigEndian.Uint64(mac[:])
	at := func(i int) uint64 { return binary.BigEndian.Uint64(records[i*size:]) }
	i := int(uint64(uint32(want>>32)-p.first) * uint64(n) / p.span)
	for i > 0 && at(i-1) >= want {
		i--
	}
	for i < n && at(i) < want {
		i++
	}
	for ; i < n && at(i) == want; i++ {
		if record := records[i*size : (i+1)*size]; [MACSize]byte(record) == mac {
			return record
		}
	}
	return nil
}

// Origin says from which pages a record came. Where both are still what they were, so is the
// record.
type Origin struct {
	key                     int
	keyDigest, subscription Digest
}

// Find returns the record of mac; false where no key has it, or its subscription is gone.
// Scope is the Scope.Number.
func (t KeyTable) Find(mac [16]byte) (KeyRecord, Origin, bool) {
	start := binary.BigEndian.Uint32(mac[:])
	at := sort.Search(len(t.keys), func(i int) bool { return t.keys[i].first > start }) - 1
	if at < 0 {
		return KeyRecord{}, Origin{}, false
	}
	key, ok := t.keys[at].find([MACSize]byte(mac[:]))
	place := SubscriptionPage(key.Subscription)
	if !ok || place >= len(t.subscriptions) {
		return KeyRecord{}, Origin{}, false
	}
	sub, ok := findSubscription(t.subscriptions[place].packed, key.Subscription)
	if !ok {
		return KeyRecord{}, Origin{}, false
	}
	return KeyRecord{
		MAC: mac, Subscription: key.Subscription, Revision: sub.Revision, Expires: sub.Expires, Scope: sub.Scope,
		State: sub.State, Slot: key.Slot, KeyExpires: key.Expires,
	}, Origin{at, t.keys[at].digest, t.subscriptions[place].digest}, true
}

// Holds says whether Find would return record again, which it returned with origin, from
// this table or an earlier one.
func (t KeyTable) Holds(record KeyRecord, origin Origin) bool {
	place := SubscriptionPage(record.Subscription)
	return origin.key < len(t.keys) && t.keys[origin.key].digest == origin.keyDigest &&
		place < len(t.subscriptions) && t.subscriptions[place].digest == origin.subscription
}
