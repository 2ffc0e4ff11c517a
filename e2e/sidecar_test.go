package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// TestSidecarFaults: whatever the link to the sidecar does, a request that needs a decision
// is refused with 503 and a time to come back, one whose decision is known goes on, and once
// the fault is over all is well within two seconds (I5). One worker, so that there is one
// cache.
func TestSidecarFaults(t *testing.T) {
	g := harness.Start(t, harness.Options{Concurrency: 1})
	call := func(g *harness.Gateway) harness.Response { return g.Execute(g.Keys.Unlimited) }
	if r := call(g); r.Status != http.StatusOK {
		t.Fatalf("answer %d %s", r.Status, r.Body)
	}
	known := g.Faults.Calls(wire.PathDecide)
	if r := call(g); r.Status != http.StatusOK || g.Faults.Calls(wire.PathDecide) != known {
		t.Fatalf("answer %d, %d decide calls after %d: the decision was not kept", r.Status, g.Faults.Calls(wire.PathDecide), known)
	}
	tests := map[string]struct{ begin, end func() }{
		"killed":      {g.KillSidecar, g.StartSidecar},
		"socket gone": {g.Faults.Down, g.Faults.Up},
		"hangs up":    {func() { g.Faults.Set(wire.PathDecide, harness.HangUp()) }, g.Faults.Clear},
		"silent":      {func() { g.Faults.Set(wire.PathDecide, harness.BlackHole()) }, g.Faults.Clear},
		"error":       {func() { g.Faults.Set(wire.PathDecide, harness.Answer(http.StatusInternalServerError, "")) }, g.Faults.Clear},
		"garbage":     {func() { g.Faults.Set(wire.PathDecide, harness.Garbage()) }, g.Faults.Clear},
		"empty":       {func() { g.Faults.Set(wire.PathDecide, harness.Answer(http.StatusOK, "{}")) }, g.Faults.Clear},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := g.For(t)
			// A status query depends on the job: its decision is never kept.
			fresh := func() harness.Response {
				return g.Do(harness.Call{Path: harness.JobPath("00000000000000000000000000000000", ""), Key: g.Keys.Starter})
			}
			if r := fresh(); r.Status != http.StatusNotFound {
				t.Fatalf("before: answer %d %s", r.Status, r.Body)
			}
			call(g) // within the decision's time to live
			test.begin()
			r := fresh()
			if r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
				t.Errorf("a new decision: answer %d %s, Retry-After %q", r.Status, r.Body, r.Header.Get("Retry-After"))
			}
			if r := call(g); r.Status != http.StatusOK {
				t.Errorf("a decision that is known: answer %d %s", r.Status, r.Body)
			}
			if r := g.Execute("wrong"); r.Status != http.StatusUnauthorized {
				t.Errorf("a wrong key: answer %d %s", r.Status, r.Body)
			}
			test.end()
			g.Eventually(2*time.Second, "all is well again", func() bool { return fresh().Status == http.StatusNotFound })
		})
	}
}

// TestGate holds a decision and lets it go: the request waits for it.
func TestGate(t *testing.T) {
	g := harness.Start(t, harness.Options{Concurrency: 1})
	gate := harness.NewGate()
	g.Faults.Set(wire.PathDecide, gate.Fault)
	answered := make(chan harness.Response, 1)
	go func() {
		r, err := g.Try(t.Context(), harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Starter, Body: harness.GoodDay,
			Header: http.Header{"Content-Type": {"application/json"}}})
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	<-gate.Arrived()
	select {
	case r := <-answered:
		t.Fatalf("answered without a decision: %d %s", r.Status, r.Body)
	default:
	}
	if got := g.Backend.Counts().Requests; got != 0 {
		t.Errorf("%d requests reached the backend without a decision", got)
	}
	gate.Open()
	if r := <-answered; r.Status != http.StatusOK {
		t.Errorf("answer %d %s", r.Status, r.Body)
	}
}
