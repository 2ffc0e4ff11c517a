package gate_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

// TestWhatIsRememberedOfAKeyGoesWithIt: a key was found, and something moves that it hangs
// on. Another key, whose pages are others, is found as before.
func TestWhatIsRememberedOfAKeyGoesWithIt(t *testing.T) {
	const many = 3 * wire.KeysPerPage // in several pages
	key := func(i int) string { return fmt.Sprintf("key-%032d", i) }
	for name, c := range map[string]struct {
		change func(*fixture)
		reason string
	}{
		"its key":               {func(f *fixture) { f.records[0].MAC = [16]byte{1} }, "key_unknown"},
		"its subscription":      {func(f *fixture) { f.records[0].State = wire.StateSuspended }, "subscription_not_active"},
		"the key of another":    {func(f *fixture) { f.records[0].Subscription, f.records[1].State = 2, wire.StateSuspended }, "subscription_not_active"},
		"the pepper":            {func(f *fixture) { f.snapshot.Pepper = []byte("another") }, "key_unknown"},
		"its scope's place":     {func(f *fixture) { f.snapshot.Scopes[0].Number, f.snapshot.Scopes[1].Number = 102, 101 }, "scope_mismatch"},
		"its scope":             {func(f *fixture) { f.snapshot.Scopes[0].Number = 7 }, "scope_mismatch"},
		"so much that pages do": {func(f *fixture) { f.records = f.records[1:3] }, "key_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(f *fixture) {
				random := rand.New(rand.NewPCG(1, 2))
				f.records = nil
				for i := range many {
					f.records = append(f.records, wire.KeyRecord{MAC: apikey.MAC(f.snapshot.Pepper, apikey.Digest(key(i))), Subscription: uint32(i + 1),
						Revision: 1, State: wire.StateActive, Expires: uint32(start.Unix()) + 100 + random.Uint32N(1000)})
				}
			})
			for i := range 10 {
				_, outcome := f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+key(i)))
				wantStep(t, gate.Ask, outcome)
			}
			before := f.records
			f.records = append([]wire.KeyRecord(nil), f.records...)
			c.change(f)
			f.load()
			_, outcome := f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+key(0)))
			wantRefusal(t, 401, c.reason, outcome)
			f.records = before
			f.snapshot.Pepper, f.snapshot.Scopes[0].Number, f.snapshot.Scopes[1].Number = []byte("pepper"), 101, 102
			f.load()
			_, outcome = f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+key(0)))
			wantStep(t, gate.Ask, outcome)
		})
	}
}

// TestAKeyEndsBeforeItsSubscription: one that is on its way out works until its own expiry,
// to the second, and is then as unknown as if it were gone.
func TestAKeyEndsBeforeItsSubscription(t *testing.T) {
	end := time.Unix(start.Unix()+10, 0)
	f := newFixture(t, func(f *fixture) {
		retiring := f.records[0]
		retiring.MAC, retiring.KeyExpires = apikey.MAC(f.snapshot.Pepper, apikey.Digest("retiring")), uint32(end.Unix())
		f.records = append(f.records, retiring)
	})
	retiring := request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: retiring")
	for range 2 { // looked up, and remembered
		f.now = end.Add(-time.Millisecond)
		_, outcome := f.begin(retiring)
		wantStep(t, gate.Ask, outcome)
		f.now = end
		_, outcome = f.begin(retiring)
		wantRefusal(t, 401, "key_unknown", outcome)
	}
	_, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
}
