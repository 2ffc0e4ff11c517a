package gate_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

// BenchmarkWarm is one request whose decision is kept: what the filter adds to each.
func BenchmarkWarm(b *testing.B) { benchmarkWarm(b, nil, false) }

// BenchmarkCounted is the same, and counted for usage.
func BenchmarkCounted(b *testing.B) { benchmarkWarm(b, nil, true) }

// BenchmarkLimits is the same with two limits, of which there are leases.
func BenchmarkLimits(b *testing.B) {
	benchmarkWarm(b, []wire.Limit{
		{Name: "minute", Key: "subscription:42", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 1 << 50, WindowMillis: 60_000},
		{Name: "week", Key: "subscription:42", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: 1 << 50, WindowMillis: 604_800_000},
	}, false)
}

func benchmarkWarm(b *testing.B, limits []wire.Limit, counted bool) {
	const key = "k-0123456789abcdef0123456789abcdef"
	pepper := make([]byte, 32)
	keys, subscriptions, pages := wire.PackPages([]wire.KeyRecord{{MAC: apikey.MAC(pepper, apikey.Digest(key)), Subscription: 42, Revision: 1, Scope: 1, State: wire.StateActive}})
	g, now := gate.New(), time.Now()
	if _, err := g.Load(wire.Snapshot{
		Version: wire.Version, Revision: wire.Revision{Store: "s", Number: 1}, Gateway: wire.Gateway{MaxStaleSeconds: 300}, Pepper: pepper,
		Policy: wire.Policy{Revision: "p", Vary: []wire.Field{{"resource"}}},
		APIs: []wire.API{{
			Name: "Demo", Suffix: "azureml-demo", Errors: wire.DialectAPIM, Authorization: wire.AuthorizationInject, BackendKey: "b", Open: -1,
			Keys:       wire.Keys{Header: "ocp-apim-subscription-key", HeaderName: "Ocp-Apim-Subscription-Key", Query: "subscription-key"},
			Operations: []wire.Operation{{Name: "RRS Execute", Method: "POST", Template: "/workspaces/{workspace}/services/{service}/execute"}},
		}},
		Scopes: []wire.Scope{{Number: 1, Product: "Unlimited", APIs: []int{0}}}, Keys: keys, Subscriptions: subscriptions,
	}, pages, now); err != nil {
		b.Fatal(err)
	}
	pairs := [][2]string{
		{":authority", "127.0.0.1:10000"},
		{":path", "/azureml-demo/workspaces/0123456789abcdef0123456789abcdef/services/0123456789abcdef0123456789abcdef/execute?api-version=2.0&details=true"},
		{":method", "POST"}, {":scheme", "http"}, {"user-agent", "Go-http-client/1.1"}, {"content-length", "102"},
		{"accept", "application/json"}, {"content-type", "application/json"}, {"ocp-apim-subscription-key", key},
		{"x-forwarded-proto", "http"}, {"x-request-id", "5bf9ac9c-40bd-4cc7-8344-95eadf25db52"},
	}
	answer := wire.Answer{Allow: true, Decision: "d", TTLMillis: 1 << 40, Policy: "p", SubscriptionRevision: 1, Limits: limits}
	for i := range limits {
		answer.Leases = append(answer.Leases, wire.Lease{Limit: i, Counter: int64(i), Units: 1 << 40, LifeMillis: 15_000, Left: 1 << 40, ResetMillis: 30_000})
	}
	exchange, outcome := g.Begin(gate.ReadHead(pairs, nil), now)
	if outcome.Step != gate.Ask {
		b.Fatalf("step %v, want Ask", outcome.Step)
	}
	exchange.Answered(answer, now)
	b.ReportAllocs()
	for b.Loop() {
		exchange, outcome := g.Begin(gate.ReadHead(pairs, nil), now)
		if outcome.Step != gate.Forward {
			b.Fatalf("step %v, want Forward", outcome.Step)
		}
		exchange.ResponseHead(200)
		exchange.Done(0, 0, now)
		if counted {
			exchange.Responded(now)
			exchange.Ended(gate.End{Status: 200, RequestBytes: 500, ResponseBytes: 1000}, now)
		}
	}
}
