package wire_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files")

func text(s string) *string { return &s }

// messages has one of each with every field set: what an older filter or sidecar on the
// other end is held to.
var messages = map[string]any{
	"snapshot": &wire.Snapshot{
		Version: 2, Revision: wire.Revision{Store: "store", Number: 7, Content: "digest"},
		Gateway: wire.Gateway{Name: "gateway", Region: "eu", MaxStaleSeconds: 300}, Pepper: []byte("pepper"),
		Policy: wire.Policy{Revision: "p1", Full: true, Vary: []wire.Field{{"request", "headers", "x-a"}, {"resource"}}},
		APIs: []wire.API{{
			Name: "API", Suffix: "api", Hosts: []string{"a.example"}, Errors: wire.DialectAzureML,
			Keys:          wire.Keys{Header: "x-key", HeaderName: "X-Key", Query: "key", Bearer: true},
			Authorization: wire.AuthorizationInject, BackendKey: "secret", Open: -1, AllowWhenUnavailable: true, HideResponseHeaders: []string{"server"},
			Operations: []wire.Operation{{Name: "Start", Method: "POST", Template: "/jobs/{jobid}", Creates: "job", Requires: "job"}},
		}},
		Scopes: []wire.Scope{{Number: 5, Product: "Unlimited", APIs: []int{0}}}, Keys: []byte{1, 2, 3}, Subscriptions: []byte{4, 5}, Resets: 4,
	},
	"decide_request": &wire.DecideRequest{Version: 2, Store: "store", VM: "vm", Asks: []wire.Ask{{
		Call: "call", Policy: "p1", Subscription: 42, Product: "Unlimited", API: "API", Operation: "Start",
		Request: wire.Request{
			Method: text("POST"), Path: text("/jobs/1"), Scheme: text("https"), Host: text("h"), Params: map[string]string{"jobid": "1"},
			Query: map[string][]string{"q": {"1", "2"}}, Headers: map[string][]string{"x-a": {""}}, Source: &wire.Source{Address: "192.0.2.1"},
		},
		Resource: &wire.Resource{Kind: "job", Scope: map[string]string{"workspace": "w"}, ID: "1"},
		Take: &wire.Take{
			ID: 7, Waiting: true,
			Held:   []wire.Demand{{Name: "minute", Key: "subscription:42"}},
			Wanted: []wire.Demand{{Name: "week", Key: "subscription:42", Units: 100}},
		},
	}}, Settlements: []wire.Settlement{
		{Take: 5, Counter: 9, Spent: 3, AgeMillis: 250},
		{Take: 6, Counter: 10, Extend: true},
	}, Abandoned: []uint64{4}},
	"decide_reply": &wire.DecideReply{Version: 2, Settled: true, Answers: []wire.Answer{
		{
			Decision: "d", Allow: true, Reasons: []string{"r"}, Status: 403, Message: "m",
			Request:  wire.Change{Set: map[string]string{"x": "1"}, Remove: []string{"y"}},
			Response: wire.Change{Set: map[string]string{"x": "1"}, Remove: []string{"y"}},
			Limits: []wire.Limit{
				{Name: "minute", Key: "subscription:42", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 5, WindowMillis: 60_000, SuccessOnly: true},
				{Name: "week", Key: "subscription:42", Kind: wire.KindQuota, Unit: wire.UnitBytes, Amount: 100, WindowMillis: 604_800_000, StartMillis: 1, ReportOnly: true},
			},
			Leases:    []wire.Lease{{Limit: 1, Counter: 9, Units: 10, LifeMillis: 2000, Left: 80, ResetMillis: 30_000}},
			TTLMillis: 1000, ValidUntilMillis: 2000, Policy: "p1", SubscriptionRevision: 3,
		},
		{
			Decision: "d", Allow: true, Limits: []wire.Limit{{Name: "parallel", Key: "k", Kind: wire.KindConcurrency, Unit: wire.UnitCalls}},
			Exhausted: &wire.Exhausted{Limit: 0, RetryMillis: -1, Leased: true}, Policy: "p1",
		},
		{Error: "policy_error", Stale: &wire.Policy{Revision: "p2", Vary: []wire.Field{{"request", "method"}}}},
	}},
	"resource_request": &wire.ResourceRequest{
		Version: 2, Store: "store", Call: "call", Subscription: 42, API: "API", Operation: "Submit",
		Resource: wire.Resource{Kind: "job", Scope: map[string]string{"workspace": "w"}, ID: "1"},
	},
	"usage_report": &wire.UsageReport{Version: 2, VM: "vm", Sequence: 1, Store: "store", UsageDropped: 3, DenialsDropped: 2, Rows: []wire.UsageRow{
		{
			Minute: 30_000_000, Subscription: 42, Product: "Unlimited", API: "api", Operation: "Start", Outcome: wire.CallSuccess, Calls: 2,
			RequestBytes: 300, ResponseBytes: 4000, Total: wire.UsageTimes{Counts: []int64{0, 1, 1}, SumMicros: 5000, MinMicros: 1500, MaxMicros: 3500},
			Backend: wire.UsageTimes{Counts: []int64{2}, SumMicros: 1500, MinMicros: 600, MaxMicros: 900},
		},
		{Minute: 30_000_000, Outcome: wire.CallOther, Calls: 1, Total: wire.UsageTimes{Counts: []int64{1}, SumMicros: 20, MinMicros: 20, MaxMicros: 20}},
	}, Keys: []wire.KeyUse{{Subscription: 42, Slot: wire.SlotSecondary, Expires: 1_900_000_000, TimeMillis: 1}}, Denials: []wire.Denial{
		{Call: "call", TimeMillis: 1, Status: 401, Reason: "key_unknown", Decision: "d", Subscription: 42, API: "api", Operation: "Start", Limit: "minute"},
	}},
}

func TestGoldenMessages(t *testing.T) {
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(message, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := fmt.Sprintf("testdata/%s.v%d.json", name, wire.Version)
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("a message changed; is it still what version %d promised? (-want +got):\n%s", wire.Version, diff)
			}
		})
	}
}

// TestMessagesOfTheVersionBefore: what has not moved since, our structs still say word for
// word.
func TestMessagesOfTheVersionBefore(t *testing.T) {
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(fmt.Sprintf("testdata/%s.v%d.json", name, wire.Version-1))
			if err != nil {
				t.Fatal(err)
			}
			into := reflect.New(reflect.TypeOf(message).Elem()).Interface()
			decoder := json.NewDecoder(bytes.NewReader(want))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(into); err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(into, "", "  ")
			if diff := cmp.Diff(string(want), string(got)+"\n"); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
