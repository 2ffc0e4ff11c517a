package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
)

// A backup is taken while the sidecar runs, the store goes on, and is lost. A new sidecar on
// the restored one is obeyed by an Envoy that has seen all that is forgotten now.
func TestARestoredStoreIsObeyed(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	ada, _ := subscribed(g, "ada")
	g.Eventually(time.Second, "the key passes", func() bool { return answered(g, ada, http.StatusOK) })
	file := filepath.Join(g.Dir, "one.backup")
	g.Tollgate("backup", file)

	g.Tollgate("key", "revoke", "ada", "--slot", "primary")
	bob, _ := subscribed(g, "bob")
	g.Eventually(time.Second, "what came after the backup holds", func() bool {
		return answered(g, bob, http.StatusOK) && answered(g, ada, http.StatusUnauthorized)
	})

	g.KillSidecar()
	lost, err := filepath.Glob(filepath.Join(g.Dir, "tollgate.db*"))
	if err != nil || len(lost) == 0 {
		t.Fatalf("the store's files: %v, %v", lost, err)
	}
	for _, name := range lost {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	said := g.Tollgate("restore", file, "--store", filepath.Join(g.Dir, "tollgate.db"))
	if !strings.Contains(said, "work again") {
		t.Errorf("the restore does not say that keys revoked since work again: %s", said)
	}
	g.StartSidecar()
	g.Eventually(10*time.Second, "the backup's keys pass again, and no others", func() bool {
		return answered(g, ada, http.StatusOK) && answered(g, bob, http.StatusUnauthorized)
	})
	if said := g.Tollgate("audit", "verify"); said == "" {
		t.Error("the audit has no head")
	}
	g.Tollgate("key", "revoke", "ada", "--slot", "primary")
	g.Eventually(time.Second, "changes are obeyed", func() bool { return answered(g, ada, http.StatusUnauthorized) })
}
