package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"strconv"
)

// KeyRecordSize is the packed size of a KeyRecord in bytes, in version 1.
const KeyRecordSize = 36

// KeyRecord is one key of one subscription as the filter sees it.
//
// Packed in version 1, little endian: MAC 16, Subscription 4, Revision 4, Expires 4 (the
// earlier of the key's and the subscription's), Scope 4, State 1, Slot 1, two zero bytes.
type KeyRecord struct {
	// MAC is HMAC-SHA-256(pepper, SHA-256(key)) cut to 16 bytes.
	MAC          [16]byte
	Subscription uint32 // never 0
	Revision     uint32 // of the subscription: moves with anything that hangs on it
	Expires      uint32 // Unix seconds; 0: never. The key works while now < Expires.
	Scope        uint32 // Scope.Number; in version 1 an index into Snapshot.Scopes
	State        State
	Slot         Slot
	KeyExpires   uint32 // Unix seconds, of a key that goes before its subscription; 0: with it
}

// State is a subscription's state. Only StateActive lets a key pass.
type State uint8

// The states of a subscription, as API Management names them.
const (
	StateSubmitted State = iota + 1
	StateActive
	StateSuspended
	StateRejected
	StateCancelled
	StateExpired
)

// Slot tells a subscription's two keys apart.
type Slot uint8

// The slots of a subscription's keys.
const (
	SlotPrimary Slot = iota + 1
	SlotSecondary
)

// WholeKeyTable is the packed, sorted table of KeyRecords of version 1.
type WholeKeyTable struct{ packed []byte }

// PackKeys sorts records by MAC and packs them for version 1. Two records with one MAC are an error:
// one key would name two subscriptions.
func PackKeys(records []KeyRecord) ([]byte, error) {
	slices.SortFunc(records, func(a, b KeyRecord) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	packed := make([]byte, 0, len(records)*KeyRecordSize)
	for i, r := range records {
		if i > 0 && r.MAC == records[i-1].MAC {
			return nil, errors.New("packing keys: subscriptions " + strconv.FormatUint(uint64(records[i-1].Subscription), 10) +
				" and " + strconv.FormatUint(uint64(r.Subscription), 10) + " share a key")
		}
		packed = append(packed, r.MAC[:]...)
		packed = binary.LittleEndian.AppendUint32(packed, r.Subscription)
		packed = binary.LittleEndian.AppendUint32(packed, r.Revision)
		packed = binary.LittleEndian.AppendUint32(packed, r.earliest())
		packed = binary.LittleEndian.AppendUint32(packed, r.Scope)
		packed = append(packed, byte(r.State), byte(r.Slot), 0, 0)
	}
	return packed, nil
}

// earliest is when the key stops working: 0 for never.
func (r KeyRecord) earliest() uint32 {
	if r.Expires == 0 || r.KeyExpires == 0 {
		return max(r.Expires, r.KeyExpires)
	}
	return min(r.Expires, r.KeyExpires)
}

// OpenKeyTable checks that packed is whole and strictly ascending and keeps it.
func OpenKeyTable(packed []byte) (WholeKeyTable, error) {
	if len(packed)%KeyRecordSize != 0 {
		return WholeKeyTable{}, errors.New("opening key table: " + strconv.Itoa(len(packed)) + " bytes are not a multiple of " + strconv.Itoa(KeyRecordSize))
	}
	t := WholeKeyTable{packed}
	for i := 1; i < t.Len(); i++ {
		if bytes.Compare(t.mac(i-1), t.mac(i)) >= 0 {
			return WholeKeyTable{}, errors.New("opening key table: record " + strconv.Itoa(i) + " is out of order")
		}
	}
	return t, nil
}

// Len is the number of keys.
func (t WholeKeyTable) Len() int { return len(t.packed) / KeyRecordSize }

// Find returns the record of mac.
func (t WholeKeyTable) Find(mac [16]byte) (KeyRecord, bool) {
	i := sort.Search(t.Len(), func(i int) bool { return bytes.Compare(t.mac(i), mac[:]) >= 0 })
	if i == t.Len() || !bytes.Equal(t.mac(i), mac[:]) {
		return KeyRecord{}, false
	}
	rest := t.packed[i*KeyRecordSize+16 : (i+1)*KeyRecordSize]
	return KeyRecord{
		MAC:          mac,
		Subscription: binary.LittleEndian.Uint32(rest),
		Revision:     binary.LittleEndian.Uint32(rest[4:]),
		Expires:      binary.LittleEndian.Uint32(rest[8:]),
		Scope:        binary.LittleEndian.Uint32(rest[12:]),
		State:        State(rest[16]),
		Slot:         Slot(rest[17]),
	}, true
}

func (t WholeKeyTable) mac(i int) []byte { return t.packed[i*KeyRecordSize : i*KeyRecordSize+16] }
