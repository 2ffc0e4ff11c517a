package wire

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"slices"
	"sort"
)

// A snapshot's keys and subscriptions come in pages, so that a change of one key moves two
// pages and not the table. A page never changes: its digest names it.
const (
	// KeysPerPage bounds the keys of a page. Where there are more, the page is two.
	KeysPerPage = 2400
	// SubscriptionsPerPage is how many ids one page covers. It is a multiple of 64, and
	// a full page is just below 48 KiB, a size that Go's allocator does not round up.
	SubscriptionsPerPage = 63 * 64
	// SubscriptionIDMax is the largest id that a key's record can name.
	SubscriptionIDMax = 1<<30 - 1
	// PageMax is the largest page in bytes, a full one of subscriptions.
	PageMax = bitmapSize + SubscriptionsPerPage*subscriptionSize
	// MACSize is how many bytes of a KeyRecord's MAC stand in a page. Who does not know the
	// pepper has to try 2^75 keys, each with a request, to find one that is taken for one of
	// two million others.
	MACSize = 12

	keySize          = MACSize + 4 // and a reference
	expiringKeySize  = keySize + 4 // and the key's own expiry
	subscriptionSize = 12          // revision 4, expires 4, scope and state 4
	bitmapSize       = SubscriptionsPerPage / 8
	keyEntrySize     = 17 // of Snapshot.Keys: depth 1, digest 16
	depthMax         = 32
)

// Digest names a page: SHA-256 of its bytes, cut to 16. The zero Digest is that of the empty
// page, which is never fetched.
type Digest [16]byte

// PageDigest is the digest of a page.
func PageDigest(page []byte) Digest {
	if len(page) == 0 {
		return Digest{}
	}
	sum := sha256.Sum256(page)
	return Digest(sum[:16])
}

// String is the form of a digest in a query.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads what String wrote.
func ParseDigest(text string) (Digest, error) {
	var d Digest
	if len(text) == 2*len(d) {
		if _, err := hex.Decode(d[:], []byte(text)); err == nil {
			return d, nil
		}
	}
	return Digest{}, errors.New("reading a digest: want 32 hexadecimal digits")
}

// Key is one key in a page of keys.
type Key struct {
	MAC          [MACSize]byte // the first bytes of KeyRecord.MAC
	Subscription uint32        // 1 to SubscriptionIDMax
	Slot         Slot
	Expires      uint32 // Unix seconds, of a key that goes before its subscription; 0: with it
}

// PackKeyPage packs keys, which are in ascending order of their MACs.
//
// Packed, little endian: the number 4 of keys without an expiry of their own; these, MAC 12
// and reference 4; the others, MAC 12, reference 4 and expiry 4. A reference is
// Subscription<<2 | Slot. No keys are no bytes.
func PackKeyPage(keys []Key) []byte {
	if len(keys) == 0 {
		return nil
	}
	expiring := 0
	for _, k := range keys {
		if k.Expires != 0 {
			expiring++
		}
	}
	page := make([]byte, 0, 4+len(keys)*keySize+expiring*(expiringKeySize-keySize))
	page = binary.LittleEndian.AppendUint32(page, uint32(len(keys)-expiring))
	for _, k := range keys {
		if k.Expires == 0 {
			page = appendKey(page, k)
		}
	}
	for _, k := range keys {
		if k.Expires != 0 {
			page = binary.LittleEndian.AppendUint32(appendKey(page, k), k.Expires)
		}
	}
	return page
}

func appendKey(page []byte, k Key) []byte {
	return binary.LittleEndian.AppendUint32(append(page, k.MAC[:]...), k.Subscription<<2|uint32(k.Slot))
}

// ReadKeyPage reads a page that PackKeyPage packed, in the order of the MACs.
func ReadKeyPage(page []byte) []Key {
	if len(page) == 0 {
		return nil
	}
	keys := make([]Key, 0, len(page)/keySize)
	plain, expiring := keyLists(page)
	for ; len(plain) > 0; plain = plain[keySize:] {
		keys = append(keys, readKey(plain))
	}
	for ; len(expiring) > 0; expiring = expiring[expiringKeySize:] {
		k := readKey(expiring)
		k.Expires = binary.LittleEndian.Uint32(expiring[keySize:])
		at, _ := slices.BinarySearchFunc(keys, k, compareMAC)
		keys = slices.Insert(keys, at, k)
	}
	return keys
}

func compareMAC(a, b Key) int { return bytes.Compare(a.MAC[:], b.MAC[:]) }

// keyLists are the two lists of a page that checkKeyPage accepts.
func keyLists(page []byte) (plain, expiring []byte) {
	end := 4 + int(binary.LittleEndian.Uint32(page))*keySize
	return page[4:end], page[end:]
}

func readKey(record []byte) Key {
	reference := binary.LittleEndian.Uint32(record[MACSize:])
	return Key{MAC: [MACSize]byte(record), Subscription: reference >> 2, Slot: Slot(reference & 3)}
}

// checkKeyPage holds a page against what PackKeyPage makes of MACs that begin with the depth
// first bits of first.
func checkKeyPage(page []byte, first uint32, depth int) error {
	if len(page) < 4 || int64(len(page)-4) < int64(binary.LittleEndian.Uint32(page))*keySize {
		return errors.New("a page of keys is cut short")
	}
	plain, expiring := keyLists(page)
	if len(expiring)%expiringKeySize != 0 {
		return errors.New("a page of keys is cut short")
	}
	last := first | uint32(1<<(depthMax-depth)-1)
	for _, list := range []struct {
		records []byte
		size    int
	}{{plain, keySize}, {expiring, expiringKeySize}} {
		var before []byte
		for r := list.records; len(r) > 0; r = r[list.size:] {
			if start := binary.BigEndian.Uint32(r); start < first || start > last || before != nil && bytes.Compare(before, r[:MACSize]) >= 0 {
				return errors.New("a page of keys is out of order")
			}
			before = r[:MACSize]
		}
	}
	return nil
}

// SubscriptionRecord is a subscription as the filter sees it.
type SubscriptionRecord struct {
	ID       uint32
	Revision uint32 // moves with anything that hangs on it
	Expires  uint32 // Unix seconds; 0: never
	Scope    uint32 // Scope.Number, less than 1<<24; 0: it opens nothing
	State    State
}

// SubscriptionPage is the place of an id's page.
func SubscriptionPage(id uint32) int { return int(id / SubscriptionsPerPage) }

// PackSubscriptionPage packs the subscriptions of one page, which are in ascending order of
// their ids.
//
// Packed, little endian: a bitmap of the ids that there are, in 64-bit words; for each of
// them Revision 4, Expires 4, Scope<<8 | State 4. No subscriptions are no bytes.
func PackSubscriptionPage(records []SubscriptionRecord) []byte {
	if len(records) == 0 {
		return nil
	}
	page := make([]byte, bitmapSize, bitmapSize+len(records)*subscriptionSize)
	for _, r := range records {
		at := r.ID % SubscriptionsPerPage
		page[at/8] |= 1 << (at % 8)
		page = binary.LittleEndian.AppendUint32(page, r.Revision)
		page = binary.LittleEndian.AppendUint32(page, r.Expires)
		page = binary.LittleEndian.AppendUint32(page, r.Scope<<8|uint32(r.State))
	}
	return page
}

func checkSubscriptionPage(page []byte) error {
	if len(page) < bitmapSize || len(page) != bitmapSize+subscriptionSize*rank(page, SubscriptionsPerPage) {
		return errors.New("a page of subscriptions is cut short")
	}
	return nil
}

// rank counts the ids before the one at a place of the bitmap.
func rank(page []byte, at uint32) int {
	n := 0
	for w := range at / 64 {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(page[w*8:]))
	}
	if at%64 != 0 {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(page[at/64*8:]) & (1<<(at%64) - 1))
	}
	return n
}

func findSubscription(page []byte, id uint32) (SubscriptionRecord, bool) {
	at := id % SubscriptionsPerPage
	if len(page) == 0 || page[at/8]>>(at%8)&1 == 0 {
		return SubscriptionRecord{}, false
	}
	r := page[bitmapSize+rank(page, at)*subscriptionSize:]
	scope := binary.LittleEndian.Uint32(r[8:])
	return SubscriptionRecord{
		ID: id, Revision: binary.LittleEndian.Uint32(r), Expires: binary.LittleEndian.Uint32(r[4:]),
		Scope: scope >> 8, State: State(scope),
	}, true
}

// AppendKeyEntry appends a page of keys to Snapshot.Keys. The pages come in the order of
// their MACs and cover all of them: one of depth d has those that agree in the first d bits.
// A page has a depth that is as small as KeysPerPage lets it be.
func AppendKeyEntry(list []byte, depth int, digest Digest) []byte {
	return append(append(list, byte(depth)), digest[:]...)
}

// Pages are pages by digest.
type Pages map[Digest][]byte

// Add keeps a page under its digest, which it returns.
func (p Pages) Add(page []byte) Digest {
	digest := PageDigest(page)
	if len(page) > 0 {
		p[digest] = page
	}
	return digest
}

// PackPages packs records as a snapshot has them: keys and subscriptions are its lists.
// Records of one subscription differ in their keys only.
func PackPages(records []KeyRecord) (keys, subscriptions []byte, pages Pages) {
	pages = Pages{}
	all := make([]Key, 0, len(records))
	byID := map[uint32]SubscriptionRecord{}
	for _, r := range records {
		all = append(all, Key{MAC: [MACSize]byte(r.MAC[:]), Subscription: r.Subscription, Slot: r.Slot, Expires: r.KeyExpires})
		byID[r.Subscription] = SubscriptionRecord{ID: r.Subscription, Revision: r.Revision, Expires: r.Expires, Scope: r.Scope, State: r.State}
	}
	slices.SortFunc(all, compareMAC)
	keys = packKeyPages(nil, all, 0, pages)
	byPage := map[int][]SubscriptionRecord{}
	last := -1
	for _, r := range byID {
		page := SubscriptionPage(r.ID)
		byPage[page] = append(byPage[page], r)
		last = max(last, page)
	}
	for i := range last + 1 {
		slices.SortFunc(byPage[i], func(a, b SubscriptionRecord) int { return cmp.Compare(a.ID, b.ID) })
		digest := pages.Add(PackSubscriptionPage(byPage[i]))
		subscriptions = append(subscriptions, digest[:]...)
	}
	return keys, subscriptions, pages
}

func packKeyPages(list []byte, keys []Key, depth int, pages Pages) []byte {
	if len(keys) <= KeysPerPage || depth == depthMax {
		return AppendKeyEntry(list, depth, pages.Add(PackKeyPage(keys)))
	}
	middle := SplitKeys(keys, depth)
	list = packKeyPages(list, keys[:middle], depth+1, pages)
	return packKeyPages(list, keys[middle:], depth+1, pages)
}

// SplitKeys is where the keys begin whose MACs have a one after their first depth bits, in
// which all agree.
func SplitKeys(keys []Key, depth int) int {
	return sort.Search(len(keys), func(i int) bool { return keys[i].MAC[depth/8]>>(7-depth%8)&1 == 1 })
}
