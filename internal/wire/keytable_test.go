package wire_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/wire"
)

func TestKeyTableFindsExactlyWhatWasPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) wire.KeyRecord {
			var r wire.KeyRecord
			binary.BigEndian.PutUint16(r.MAC[:], rapid.Uint16().Draw(t, "mac"))
			r.Subscription, r.Revision = rapid.Uint32().Draw(t, "subscription"), rapid.Uint32().Draw(t, "revision")
			r.Expires, r.Scope = rapid.Uint32().Draw(t, "expires"), rapid.Uint32().Draw(t, "scope")
			r.State, r.Slot = wire.State(rapid.IntRange(1, 6).Draw(t, "state")), wire.Slot(rapid.IntRange(1, 2).Draw(t, "slot"))
			return r
		}), 0, 50, func(r wire.KeyRecord) [16]byte { return r.MAC }).Draw(t, "records")
		packed, err := wire.PackKeys(append([]wire.KeyRecord(nil), records...))
		if err != nil {
			t.Fatal(err)
		}
		table, err := wire.OpenKeyTable(packed)
		if err != nil {
			t.Fatal(err)
		}
		present := map[[16]byte]bool{}
		for _, want := range records {
			present[want.MAC] = true
			got, ok := table.Find(want.MAC)
			if diff := cmp.Diff(want, got); !ok || diff != "" {
				t.Fatalf("found %v (-want +got):\n%s", ok, diff)
			}
		}
		var other [16]byte
		binary.BigEndian.PutUint16(other[:], rapid.Uint16().Draw(t, "other"))
		if _, ok := table.Find(other); ok != present[other] {
			t.Fatalf("found %v for %x, packed %v", ok, other, present[other])
		}
	})
}

func TestBadKeyTables(t *testing.T) {
	two := []wire.KeyRecord{{MAC: [16]byte{1}, Subscription: 1}, {MAC: [16]byte{1}, Subscription: 2}}
	if _, err := wire.PackKeys(two); err == nil || !strings.Contains(err.Error(), "subscriptions 1 and 2 share a key") {
		t.Errorf("packing one key twice: %v", err)
	}
	packed, err := wire.PackKeys([]wire.KeyRecord{{MAC: [16]byte{1}}, {MAC: [16]byte{2}}})
	if err != nil {
		t.Fatal(err)
	}
	swapped := append(append([]byte(nil), packed[wire.KeyRecordSize:]...), packed[:wire.KeyRecordSize]...)
	for name, c := range map[string]struct {
		packed []byte
		want   string
	}{
		"cut short":    {packed[:len(packed)-1], "multiple of 36"},
		"out of order": {swapped, "out of order"},
	} {
		if _, err := wire.OpenKeyTable(c.packed); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
