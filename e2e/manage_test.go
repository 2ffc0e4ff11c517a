package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

// connections are so many that both workers of a gateway are among them.
const connections = 16

// subscribed makes a subscription to the demo's product Unlimited and returns its keys.
func subscribed(g *harness.Gateway, name string) (primary, secondary string) {
	g.Tollgate("subscription", "create", name, "--developer", "demo@example.com", "--product", "Unlimited")
	keys := strings.Fields(g.Tollgate("key", "show-once", name, "-o", "name"))
	if len(keys) != 2 {
		panic(fmt.Sprint("keys: ", len(keys)))
	}
	return keys[0], keys[1]
}

// answered says whether every worker answers a key with a status.
func answered(g *harness.Gateway, key string, status int) bool {
	for range connections {
		if g.Execute(key).Status != status {
			return false
		}
	}
	return true
}

// everywhere waits for a change to be obeyed: within a second of the moment at which the
// administrator was told that it is made, by every worker of every gateway.
func everywhere(t *testing.T, gates []*harness.Gateway, key, what string, status int) {
	t.Helper()
	for _, g := range gates {
		g.Eventually(time.Second, what, func() bool { return answered(g, key, status) })
	}
}

// Two Envoys with two workers each, and two sidecars on one PostgreSQL: whatever one of the
// sidecars is told, all four workers obey within a second.
func TestEveryChangeIsObeyedEverywhereWithinASecond(t *testing.T) {
	o := harness.Options{Store: postgrestest.Start(t).Database(t)}
	first := harness.Start(t, o)
	o.Beside = first
	second := harness.Start(t, o)
	both := []*harness.Gateway{first, second}

	primary, secondary := subscribed(first, "ada")
	everywhere(t, both, primary, "a new key passes", http.StatusOK)
	everywhere(t, both, secondary, "the other key passes", http.StatusOK)

	for _, step := range []struct {
		what   string
		args   []string
		status int
	}{
		{"suspended", []string{"subscription", "suspend", "ada"}, http.StatusUnauthorized},
		{"resumed", []string{"subscription", "resume", "ada"}, http.StatusOK},
		{"with an end", []string{"subscription", "set", "ada", "--expires", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, http.StatusOK},
	} {
		first.Tollgate(step.args...)
		everywhere(t, both, primary, step.what, step.status)
	}

	next := second.Tollgate("key", "regenerate", "ada", "--slot", "primary")
	everywhere(t, both, primary, "the old key is refused", http.StatusUnauthorized)
	everywhere(t, both, next, "the new key passes", http.StatusOK)
	everywhere(t, both, secondary, "the other slot is as it was", http.StatusOK)

	second.Tollgate("key", "revoke", "ada", "--slot", "secondary")
	everywhere(t, both, secondary, "a revoked key is refused", http.StatusUnauthorized)

	second.Tollgate("subscription", "cancel", "ada")
	everywhere(t, both, next, "a cancelled subscription is refused", http.StatusUnauthorized)
}

// The subscription ends in the second that was said, without anybody doing anything then.
func TestAnExpiryHoldsToTheSecond(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	key, _ := subscribed(g, "ada")
	g.Eventually(time.Second, "the key passes", func() bool { return answered(g, key, http.StatusOK) })
	end := time.Now().Add(4 * time.Second).Truncate(time.Second)
	g.Tollgate("subscription", "set", "ada", "--expires", end.UTC().Format(time.RFC3339))
	passed := 0
	for {
		before := time.Now()
		status := g.Execute(key).Status
		after := time.Now()
		switch {
		case after.Before(end) && status != http.StatusOK:
			t.Fatalf("%s before it ends: %d", end.Sub(after), status)
		case !before.Before(end) && status != http.StatusUnauthorized:
			t.Fatalf("%s after it ended: %d", before.Sub(end), status)
		case !before.Before(end):
			if passed == 0 {
				t.Error("no call passed before it ended")
			}
			return
		}
		passed++
	}
}

func TestARotatedKeyWorksForItsGrace(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	old, _ := subscribed(g, "ada")
	next := g.Tollgate("key", "rotate", "ada", "--grace", "4s")
	end := time.Now().Add(5 * time.Second) // its expiry is in whole seconds
	g.Eventually(time.Second, "the new key passes", func() bool { return answered(g, next, http.StatusOK) })
	if !answered(g, old, http.StatusOK) {
		t.Error("the old key does not work for its grace")
	}
	g.Eventually(time.Until(end), "the old key is refused", func() bool { return answered(g, old, http.StatusUnauthorized) })
	if !answered(g, next, http.StatusOK) {
		t.Error("the new key ended with the old one")
	}
}

// Under load a key is regenerated: the old one is refused within a second, and no other
// call fails.
func TestAKeyIsRegeneratedUnderLoad(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	primary, secondary := subscribed(g, "ada")
	other, _ := subscribed(g, "bob")
	for _, key := range []string{primary, secondary, other} {
		g.Eventually(time.Second, "the keys pass", func() bool { return answered(g, key, http.StatusOK) })
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var calls, failed atomic.Int64
	var load sync.WaitGroup
	for _, key := range []string{secondary, other, g.Keys.Unlimited} {
		load.Go(func() {
			for ctx.Err() == nil {
				r, err := g.Try(context.WithoutCancel(ctx), harness.ExecuteCall(key))
				calls.Add(1)
				if err != nil || r.Status != http.StatusOK {
					failed.Add(1)
					t.Errorf("another key's call: %d %s %v", r.Status, r.Body, err)
				}
			}
		})
	}
	g.Eventually(10*time.Second, "there is load", func() bool { return calls.Load() > 100 })
	next := g.Tollgate("key", "regenerate", "ada", "--slot", "primary")
	g.Eventually(time.Second, "the old key is refused by every worker", func() bool { return answered(g, primary, http.StatusUnauthorized) })
	g.Eventually(time.Second, "the new key passes", func() bool { return answered(g, next, http.StatusOK) })
	seen := calls.Load()
	g.Eventually(10*time.Second, "the load goes on", func() bool { return calls.Load() > seen+100 })
	stop()
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d other calls failed", failed.Load(), calls.Load())
	}
}

// What came from the file is the file's; what the API made stays when the file changes.
func TestAFileAndTheAPILiveSideBySide(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	key, _ := subscribed(g, "ada")
	_, err := g.TryTollgate("subscription", "suspend", "demo")
	if err == nil || !strings.Contains(err.Error(), "tollgate.yaml") {
		t.Errorf("suspending a subscription of the file: %v", err)
	}
	g.WriteCatalog(suspended(t, "demo"))
	g.Eventually(2*time.Second, "the file is obeyed", func() bool { return answered(g, g.Keys.Unlimited, http.StatusUnauthorized) })
	if !answered(g, key, http.StatusOK) {
		t.Error("the API's subscription is gone")
	}
	g.Tollgate("subscription", "resume", "demo", "--take-over")
	g.Eventually(time.Second, "it is taken over", func() bool { return answered(g, g.Keys.Unlimited, http.StatusOK) })
	g.WriteCatalog(strings.Replace(suspended(t, "demo"), "description: For applications", "description: Now for applications", 1))
	g.Eventually(5*time.Second, "the rest of the file is followed", func() bool {
		out, err := g.TryTollgate("get", "product", "Unlimited", "-o", "yaml")
		return err == nil && strings.Contains(out, "Now for applications")
	})
	if !answered(g, g.Keys.Unlimited, http.StatusOK) {
		t.Error("the file took back what was taken over")
	}
}
