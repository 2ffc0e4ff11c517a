package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// manyCatalog is the demo's with n more subscriptions of two keys each: key(i, 1) and
// key(i, 2) for i below n.
func manyCatalog(t *testing.T, n int) (text string, key func(i, slot int) string) {
	t.Helper()
	secret := harness.NewKey()
	key = func(i, slot int) string { return fmt.Sprintf("%s-%d-%d", secret, i, slot) }
	digest := func(i, slot int) string { return fmt.Sprintf("{sha256: %x}", sha256.Sum256([]byte(key(i, slot)))) }
	var b strings.Builder
	b.WriteString(harness.DemoCatalog(t))
	for i := range n {
		fmt.Fprintf(&b, "  - {name: many-%d, developer: demo@example.com, product: Unlimited, primary_key: %s, secondary_key: %s}\n", i, digest(i, 1), digest(i, 2))
	}
	return b.String(), key
}

// fetched notes which pages are asked for, and how often any are.
type fetched struct {
	mu    sync.Mutex
	ever  map[string]bool
	fresh int
	calls int
}

func noteFetches(g *harness.Gateway) *fetched {
	f := &fetched{ever: map[string]bool{}}
	g.Faults.Set(wire.PathPages, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		f.note(r)
		next.ServeHTTP(w, r)
	})
	return f
}

func (f *fetched) note(r *http.Request) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for _, digest := range r.URL.Query()[wire.PagesDigest] {
		if !f.ever[digest] {
			f.ever[digest] = true
			f.fresh++
		}
	}
	return f.calls
}

// take is the number of pages that were asked for for the first time since the last take. The
// filter on Envoy's main thread, which serves nobody, may come later than the workers.
func (f *fetched) take() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.fresh
	f.fresh = 0
	return n
}

// many are so many that a worker fetches their pages with more than one call.
const many = 12_000

// TestManySubscriptions: a table of several pages is loaded, a change moves only the pages
// that it is in, within a second and at every worker, and a sidecar that starts again moves
// none.
func TestManySubscriptions(t *testing.T) {
	text, key := manyCatalog(t, many)
	g := harness.Start(t, harness.Options{Catalog: text})
	pages := noteFetches(g)
	for _, i := range []int{0, 1, 4031, 4032, many / 2, many - 1} {
		for _, slot := range []int{1, 2} {
			if !answered(g, key(i, slot), http.StatusOK) {
				t.Errorf("key %d of subscription %d does not pass", slot, i)
			}
		}
	}
	if r := g.Execute(key(many, 1)); r.Status != http.StatusUnauthorized || r.Header.Get("X-Tollgate-Reason") != "key_unknown" {
		t.Errorf("a key that nobody has: %d %s", r.Status, r.Header.Get("X-Tollgate-Reason"))
	}
	primary, secondary := subscribed(g, "ada")
	everywhere(t, []*harness.Gateway{g}, primary, "a new key passes", http.StatusOK)
	everywhere(t, []*harness.Gateway{g}, secondary, "the other one too", http.StatusOK)
	if n := pages.take(); n == 0 || n > 2+3 { // the subscription came first, its keys after it
		t.Errorf("a new subscription and its keys moved %d pages", n)
	}
	g.Tollgate("subscription", "suspend", "ada")
	everywhere(t, []*harness.Gateway{g}, primary, "a suspended subscription is refused", http.StatusUnauthorized)
	if n := pages.take(); n != 1 {
		t.Errorf("a suspension moved %d pages, want that of the subscription", n)
	}

	g.StopSidecar()
	watches := g.Faults.Calls(wire.PathWatch)
	g.StartSidecar()
	g.Eventually(10*time.Second, "the workers watch again", func() bool { return g.Faults.Calls(wire.PathWatch) >= watches+2 })
	g.Tollgate("subscription", "resume", "ada")
	everywhere(t, []*harness.Gateway{g}, primary, "a resumed subscription passes", http.StatusOK)
	if n := pages.take(); n != 1 {
		t.Errorf("a new sidecar and a resumption moved %d pages, want that of the subscription", n)
	}
	g.Tollgate("key", "revoke", "ada", "--slot", "primary")
	everywhere(t, []*harness.Gateway{g}, primary, "a revoked key is refused", http.StatusUnauthorized)
	if n := pages.take(); n != 2 {
		t.Errorf("a revoked key moved %d pages, want its own and that of the subscription", n)
	}
	if !answered(g, secondary, http.StatusOK) || !answered(g, key(7, 1), http.StatusOK) {
		t.Error("another key does not pass")
	}
}

// TestATableIsLoadedWhileItChanges: each time that a worker has begun to load, what it loads
// is replaced before it gets a page. It gets ready all the same, and then holds the latest.
func TestATableIsLoadedWhileItChanges(t *testing.T) {
	text, key := manyCatalog(t, many)
	g := harness.Start(t, harness.Options{Catalog: text})
	ada, _ := subscribed(g, "ada")
	everywhere(t, []*harness.Gateway{g}, ada, "a new key passes", http.StatusOK)
	g.KillEnvoy()

	var changing sync.Mutex
	var failed []error
	notes := &fetched{ever: map[string]bool{}}
	acts := []string{"suspend", "resume"}
	const changes = 9 // the last one suspends
	g.Faults.Set(wire.PathPages, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		changing.Lock()
		if n := notes.note(r); n <= changes {
			if _, err := g.TryTollgate("subscription", acts[(n-1)%2], "ada"); err != nil {
				failed = append(failed, err)
			}
		}
		changing.Unlock()
		next.ServeHTTP(w, r)
	})
	g.StartEnvoy()
	g.AwaitReady(time.Minute)
	g.Eventually(10*time.Second, "there were so many changes", func() bool {
		changing.Lock()
		defer changing.Unlock()
		return notes.calls >= changes
	})
	for _, err := range failed {
		t.Error(err)
	}
	g.Eventually(time.Second, "every worker holds the last change", func() bool { return answered(g, ada, http.StatusUnauthorized) })
	if !answered(g, key(many-1, 2), http.StatusOK) {
		t.Error("another key does not pass")
	}
	if reason := g.Execute(ada).Header.Get("X-Tollgate-Reason"); reason != "subscription_not_active" {
		t.Errorf("refused for %q", reason)
	}
}
