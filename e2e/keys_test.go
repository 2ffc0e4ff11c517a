package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// suspended is the demo's catalog with one subscription suspended.
func suspended(t *testing.T, subscription string) string {
	t.Helper()
	text := harness.DemoCatalog(t)
	changed := strings.Replace(text, "- name: "+subscription+"\n", "- name: "+subscription+"\n    state: suspended\n", 1)
	if changed == text {
		t.Fatalf("the demo's catalog has no subscription %q", subscription)
	}
	return changed
}

// I3: every worker refuses a revoked key within a second, though its decision is kept.
func TestARevokedKeyIsRefusedWithinASecond(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	const inARow = 16 // on connections of their own, so that both workers are among them
	for range inARow {
		if r := g.Execute(g.Keys.Unlimited); r.Status != http.StatusOK {
			t.Fatalf("before: %d %s", r.Status, r.Body)
		}
	}
	g.WriteCatalog(suspended(t, "demo"))
	g.Eventually(time.Second, "every worker refuses the key", func() bool {
		for range inARow {
			if g.Execute(g.Keys.Unlimited).Status != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
	if r := g.Execute(g.Keys.Unlimited); r.Header.Get("X-Tollgate-Reason") != "subscription_not_active" {
		t.Errorf("reason %q", r.Header.Get("X-Tollgate-Reason"))
	}
	if r := g.Execute(g.Keys.Starter); r.Status != http.StatusOK {
		t.Errorf("another key: %d %s", r.Status, r.Body)
	}
}

// I3: a key that is revoked while its request waits for a decision is refused, though the
// decision allows.
func TestAKeyRevokedWhileItsRequestWaits(t *testing.T) {
	g := harness.Start(t, harness.Options{Concurrency: 1})
	waiting := harness.NewGate()
	g.Faults.Set(wire.PathDecide, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := &recorded{ResponseWriter: w, header: http.Header{}}
		next.ServeHTTP(answer, r) // decided while the key was good
		waiting.Fault(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer.replay(w) }))
	})
	answered := make(chan harness.Response, 1)
	go func() { answered <- g.Execute(g.Keys.Unlimited) }()
	<-waiting.Arrived()
	watches := g.Faults.Calls(wire.PathWatch)
	g.WriteCatalog(suspended(t, "demo"))
	g.Eventually(5*time.Second, "the worker holds the new snapshot", func() bool { return g.Faults.Calls(wire.PathWatch) >= watches+2 })
	waiting.Open()
	if r := <-answered; r.Status != http.StatusUnauthorized || r.Header.Get("X-Tollgate-Reason") != "subscription_not_active" {
		t.Errorf("answered %d %s %s", r.Status, r.Header.Get("X-Tollgate-Reason"), r.Body)
	}
	if n := g.Backend.Counts().Requests; n != 0 {
		t.Errorf("%d requests reached the backend", n)
	}
}

// recorded keeps an answer until it is to be seen.
type recorded struct {
	http.ResponseWriter
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorded) Flush()                      {}
func (r *recorded) replay(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(max(r.status, http.StatusOK))
	_, _ = w.Write([]byte(r.body.String()))
}

// I7: what is wrong without asking anyone is refused without asking anyone.
func TestRefusedWithoutASidecarCall(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	before := g.Faults.Calls(wire.PathDecide) + g.Faults.Calls(wire.PathResources)
	for range 200 {
		if r := g.Execute(harness.NewKey()); r.Status != http.StatusUnauthorized {
			t.Fatalf("a random key: %d %s", r.Status, r.Body)
		}
	}
	good := g.Keys.Unlimited
	for name, c := range map[string]struct {
		call   harness.Call
		status int
	}{
		"doubled header":    {harness.Call{Method: "POST", Path: harness.ExecutePath, Header: http.Header{harness.KeyHeader: {good, good}}}, 401},
		"doubled parameter": {harness.Call{Method: "POST", Path: harness.ExecutePath + "&subscription-key=" + good + "&subscription-key=" + good}, 401},
		"mistyped key":      {harness.Call{Method: "POST", Path: harness.ExecutePath + "&subscription-kye=" + good}, 401},
		"no operation":      {harness.Call{Method: "POST", Path: "/" + harness.DemoSuffix + "/execute", Key: good}, 404},
		"no API":            {harness.Call{Path: "/other", Key: good}, 404},
		"encoded slash":     {harness.Call{Path: "/" + harness.DemoSuffix + "/workspaces%2fx", Key: good}, 400},
		"doubly encoded":    {harness.Call{Path: "/" + harness.DemoSuffix + "/%252e%252e/x", Key: good}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.For(t).Do(c.call)
			if r.Status != c.status || r.Body == "" {
				t.Errorf("answered %d %q", r.Status, r.Body)
			}
			if early := name == "encoded slash"; !early && r.Header.Get("X-Request-Id") == "" { // Envoy refuses it before it makes an id
				t.Error("no x-request-id")
			}
		})
	}
	if n := g.Faults.Calls(wire.PathDecide) + g.Faults.Calls(wire.PathResources) - before; n != 0 {
		t.Errorf("%d sidecar calls", n)
	}
	if n := g.Backend.Counts().Requests; n != 0 {
		t.Errorf("%d requests reached the backend", n)
	}
}
