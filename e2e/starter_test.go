package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// The demo's product Starter: 5 calls a minute, 100 a week. Unlimited has no limits.
func TestStarter(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	execute := func(ctx context.Context) (harness.Response, error) {
		return g.Try(ctx, harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Starter, Body: harness.GoodDay,
			Header: http.Header{"Content-Type": {"application/json"}}})
	}
	g.Faults.Reset()
	answers := atOnce(t.Context(), t, 20, execute)
	if got := statuses(answers); got[http.StatusOK] != 5 || got[http.StatusTooManyRequests] != 15 {
		t.Fatalf("20 calls at once: %v, want 5 that pass and 15 that are refused", got)
	}
	for call, n := range asksByCall(t, g.Faults.Bodies(wire.PathDecide)) {
		if n > 1 {
			t.Errorf("the sidecar was asked %d times for call %s", n, call)
		}
	}
	if n := g.Backend.Counts().Requests; n != 5 {
		t.Errorf("%d requests reached the backend, want 5", n)
	}
	for _, r := range answers {
		if r.Status == http.StatusOK {
			continue
		}
		if n := rateLimited(t, r); n > 62 || len(r.Body) != 84-len("57")+len(fmt.Sprint(n)) {
			t.Errorf("%d bytes, %d seconds: %s", len(r.Body), n, r.Body)
		}
	}
	for range 10 {
		if r := g.Execute(g.Keys.Unlimited); r.Status != http.StatusOK || r.Header.Get("Ratelimit") != "" || r.Header.Get("Ratelimit-Policy") != "" {
			t.Errorf("unlimited: %d, RateLimit %q, %q", r.Status, r.Header.Get("Ratelimit"), r.Header.Get("Ratelimit-Policy"))
		}
	}
	g.Eventually(10*time.Second, "5 of each limit are used", func() bool {
		l := g.Limits("demo-starter")
		minute, week := l.Counter(t, "minute"), l.Counter(t, "week")
		return minute.Used == 5 && minute.Leased == 0 && minute.Left == 0 && week.Used == 5 && week.Leased == 0 && week.Left == 95
	})
	if l := g.Limits("demo"); len(l.Counters) != 0 {
		t.Errorf("Unlimited has counters: %+v", l.Counters)
	}
}

// asksByCall counts the asks for leases in decide messages, by the request that waits.
func asksByCall(t *testing.T, bodies [][]byte) map[string]int {
	t.Helper()
	calls := map[string]int{}
	for _, body := range bodies {
		var message wire.DecideRequest
		if err := json.Unmarshal(body, &message); err != nil {
			t.Errorf("a decide message: %v", err)
		}
		for _, ask := range message.Asks {
			if ask.Take != nil && ask.Take.Waiting {
				calls[ask.Call]++
			}
		}
	}
	return calls
}
