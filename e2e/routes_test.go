package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
	"github.com/tollgate/tollgate/e2e/harness"
)

// shop is a catalog with a backend of each kind; %s are URLs: good, gone, slow.
const shop = `
organization: {name: test, administrator: admin@example.com}
apis:
  - name: Good
    suffix: good
    backend: {url: "%[1]s/base"}
    cors: {allow_origins: ["https://portal.example.com"], expose_headers: [x-request-id], max_age: 10m}
    operations:
      - {name: Read, method: GET, template: "/{page}"}
  - name: Gone
    suffix: gone
    backend: {url: "%[2]s"}
    operations:
      - {name: Read, method: GET, template: "/{page}"}
      - {name: Submit, method: POST, template: "/jobs", creates: job}
  - name: Slow
    suffix: slow
    backend: {url: "%[3]s", timeout: 100ms}
    operations:
      - {name: Read, method: GET, template: "/{page}"}
%[4]s
products:
  - {name: All, apis: [Good, Gone, Slow%[5]s]}
developers:
  - {email: dev@example.com}
subscriptions:
  - {name: dev, developer: dev@example.com, product: All, primary_key: {env: TOLLGATE_DEMO_KEY}}
`

// TestRoutes holds what the files of sidecar/xds promise, against backends that behave and
// backends that do not. The subtests share one gateway.
func TestRoutes(t *testing.T) {
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*") // wider than the catalog
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	}))
	t.Cleanup(good.Close)
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release); slow.Close() })
	port, err := process.Port("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	catalog := func(apis, names string) string { return fmt.Sprintf(shop, good.URL, gone, slow.URL, apis, names) }
	g := harness.Start(t, harness.Options{Catalog: catalog("", ""), Backends: map[string]string{}})

	t.Run("prefix and host are rewritten", func(t *testing.T) {
		r := g.For(t).Do(harness.Call{Path: "/good/page", Key: g.Keys.Unlimited})
		if r.Status != http.StatusOK || r.Body != "GET /base/page" {
			t.Errorf("answer %d %s", r.Status, r.Body)
		}
	})
	t.Run("a backend that is gone", func(t *testing.T) {
		r := g.For(t).Do(harness.Call{Path: "/gone/page", Key: g.Keys.Unlimited})
		refused(t, r, http.StatusServiceUnavailable, "The backend cannot be reached.")
	})
	t.Run("a backend that takes too long", func(t *testing.T) {
		r := g.For(t).Do(harness.Call{Path: "/slow/page", Key: g.Keys.Unlimited})
		refused(t, r, http.StatusGatewayTimeout, "The backend did not answer in time.")
	})
	t.Run("a batch POST is not tried twice", func(t *testing.T) { retries(t, g.For(t)) })
	t.Run("browsers", func(t *testing.T) { browsers(t, g.For(t)) })
	t.Run("a new API is served within a second", func(t *testing.T) {
		g := g.For(t)
		fresh := fmt.Sprintf("  - name: Fresh\n    suffix: fresh\n    backend: {url: %q}\n    operations:\n      - {name: Read, method: GET, template: \"/{page}\"}\n", good.URL)
		if r := g.Do(harness.Call{Path: "/fresh/page", Key: g.Keys.Unlimited}); r.Status != http.StatusNotFound {
			t.Fatalf("before: answer %d %s", r.Status, r.Body)
		}
		g.WriteCatalog(catalog(fresh, ", Fresh"))
		g.Eventually(time.Second, "the new API answers", func() bool {
			r := g.Do(harness.Call{Path: "/fresh/page", Key: g.Keys.Unlimited})
			return r.Status == http.StatusOK && r.Body == "GET /page"
		})
		g.WriteCatalog(catalog("", ""))
		g.Eventually(time.Second, "the removed API is gone", func() bool {
			return g.Do(harness.Call{Path: "/fresh/page", Key: g.Keys.Unlimited}).Status == http.StatusNotFound
		})
	})
	t.Run("a broken catalog changes nothing", func(t *testing.T) {
		g := g.For(t)
		g.WriteCatalog("apis: [")
		g.Eventually(10*time.Second, "the mistake is logged", func() bool { return strings.Contains(g.SidecarLog(), "tollgate.yaml:1") })
		if r := g.Do(harness.Call{Path: "/good/page", Key: g.Keys.Unlimited}); r.Status != http.StatusOK {
			t.Errorf("answer %d %s", r.Status, r.Body)
		}
	})
}

// refused checks an error that Envoy makes itself.
func refused(t *testing.T, r harness.Response, status int, message string) {
	t.Helper()
	if want := fmt.Sprintf(`{ "statusCode": %d, "message": %q }`, status, message); r.Status != status || r.Body != want {
		t.Errorf("answer %d %s, want %d %s", r.Status, r.Body, status, want)
	}
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", r.Header)
	}
}

func retries(t *testing.T, g *harness.Gateway) {
	count := func() string {
		for line := range strings.Lines(g.Admin("/stats?filter=cluster.api.gone.upstream_rq_retry$").Body) {
			return strings.TrimSpace(line)
		}
		return ""
	}
	before := count()
	if before == "" {
		t.Fatal("Envoy has no such statistic")
	}
	if r := g.Do(harness.Call{Method: "POST", Path: "/gone/jobs", Key: g.Keys.Unlimited}); r.Status != http.StatusServiceUnavailable {
		t.Errorf("answer %d %s", r.Status, r.Body)
	}
	if after := count(); after != before {
		t.Errorf("a submit was tried again: %s, then %s", before, after)
	}
	g.Do(harness.Call{Path: "/gone/page", Key: g.Keys.Unlimited})
	g.Eventually(5*time.Second, "a read is tried again", func() bool { return count() != before })
}

// browsers ask first, without a key, and are answered by the gateway.
func browsers(t *testing.T, g *harness.Gateway) {
	preflight := func(path, origin string) harness.Response {
		return g.Do(harness.Call{Method: "OPTIONS", Path: path, Header: http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"ocp-apim-subscription-key"}}})
	}
	r := preflight("/good/page", "https://portal.example.com")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "https://portal.example.com",
		"Access-Control-Allow-Methods": "GET",
		"Access-Control-Allow-Headers": "Ocp-Apim-Subscription-Key, Content-Type",
		"Access-Control-Max-Age":       "600",
	} {
		if got := r.Header.Get(name); r.Status != http.StatusOK || got != want {
			t.Errorf("preflight: status %d, %s %q, want %q", r.Status, name, got, want)
		}
	}
	if r := preflight("/good/page", "https://evil.example.com"); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a preflight from elsewhere: %d %v", r.Status, r.Header)
	}
	if r := preflight("/gone/page", "https://portal.example.com"); r.Status == http.StatusOK || r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a preflight to an API without CORS: %d %v", r.Status, r.Header)
	}
	for key, status := range map[string]int{g.Keys.Unlimited: http.StatusOK, "wrong": http.StatusUnauthorized} {
		r := g.Do(harness.Call{Path: "/good/page", Key: key, Header: http.Header{"Origin": {"https://portal.example.com"}}})
		if got := r.Header.Values("Access-Control-Allow-Origin"); r.Status != status || len(got) != 1 || got[0] != "https://portal.example.com" {
			t.Errorf("a call: status %d, Access-Control-Allow-Origin %q", r.Status, got)
		}
	}
	r = g.Do(harness.Call{Path: "/good/page", Key: g.Keys.Unlimited, Header: http.Header{"Origin": {"https://evil.example.com"}}})
	if got := r.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("a call from elsewhere: Access-Control-Allow-Origin %q", got)
	}
}
