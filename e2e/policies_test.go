package e2e_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
)

// denyByHeader is a rule as an author adds it.
const denyByHeader = `package tollgate.access

import rego.v1

# METADATA
# description: Requests that ask for it.
deny contains "asked_for_it" if {
	input.request.headers["x-deny"][0]
}
`

// policyFolder is a folder with one policy file.
func policyFolder(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	writePolicy(t, dir, text)
	return dir
}

func writePolicy(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "extra.rego"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func deniedFor(g *harness.Gateway, header string) harness.Response {
	return g.Do(harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Unlimited, Body: harness.GoodDay,
		Header: http.Header{"Content-Type": {"application/json"}, header: {"yes"}}})
}

// A policy that changes is obeyed, one that breaks is refused with file and line, and the
// last good one stays.
func TestPoliciesAreReloaded(t *testing.T) {
	dir := policyFolder(t, denyByHeader)
	g := harness.Start(t, harness.Options{Policies: dir})
	if r := deniedFor(g, "X-Deny"); r.Status != http.StatusForbidden || r.Header.Get("X-Tollgate-Reason") != "asked_for_it" {
		t.Fatalf("at first: %d %s", r.Status, r.Body)
	}
	if r := deniedFor(g, "X-Refuse"); r.Status != http.StatusOK {
		t.Fatalf("at first: %d %s", r.Status, r.Body)
	}
	obeyed := func(header string, status int) func() bool {
		return func() bool { return deniedFor(g, header).Status == status }
	}
	writePolicy(t, dir, strings.ReplaceAll(denyByHeader, "x-deny", "x-refuse"))
	g.Eventually(time.Second, "the changed policy is obeyed", obeyed("X-Refuse", http.StatusForbidden))
	g.Eventually(time.Second, "the old one is not", obeyed("X-Deny", http.StatusOK))

	writePolicy(t, dir, strings.ReplaceAll(denyByHeader, "contains", "contains contains"))
	g.Eventually(5*time.Second, "the log says where the policy is broken", func() bool {
		return strings.Contains(g.SidecarLog(), "extra.rego line=7")
	})
	if r := deniedFor(g, "X-Refuse"); r.Status != http.StatusForbidden {
		t.Errorf("with a broken policy: %d %s", r.Status, r.Body)
	}
	writePolicy(t, dir, denyByHeader)
	g.Eventually(time.Second, "the mended policy is obeyed", obeyed("X-Deny", http.StatusForbidden))
}

// I5: what a policy does not say, or says wrongly, is an error and never a pass.
func TestAPolicyThatFailsIsAnError(t *testing.T) {
	const quarrel = `package tollgate.headers

import rego.v1

request.set["x-team"] := "a" if input.request.method == "POST"
`
	dir := policyFolder(t, quarrel)
	g := harness.Start(t, harness.Options{Policies: dir})
	if r := g.Execute(g.Keys.Unlimited); r.Status != http.StatusOK {
		t.Fatalf("at first: %d %s", r.Status, r.Body)
	}
	writePolicy(t, dir, strings.ReplaceAll(quarrel, `"a"`, `1 / 0`))
	writePolicy(t, dir, strings.ReplaceAll(quarrel, `"a"`, `count(input.request.headers["content-type"]) + 1`))
	g.Eventually(5*time.Second, "a header that is no text is an error", func() bool {
		return g.Execute(g.Keys.Unlimited).Status == http.StatusInternalServerError
	})
	r := g.Execute(g.Keys.Unlimited)
	want := `{ "statusCode": 500, "message": "Internal server error", "activityId": "` + r.Header.Get("X-Request-Id") + `" }`
	if r.Body != want || r.Header.Get("X-Tollgate-Reason") != "policy_type" {
		t.Errorf("answered %s %s, want %s", r.Header.Get("X-Tollgate-Reason"), r.Body, want)
	}
}

// I8: each deny can be explained by its request id: the rule with file and line, or why the
// filter refused by itself.
func TestExplain(t *testing.T) {
	g := harness.Start(t, harness.Options{Policies: policyFolder(t, denyByHeader)})
	explain := func(id string) string {
		out, _ := exec.CommandContext(t.Context(), harness.Binary(t), "explain", id, "--store", filepath.Join(g.Dir, "tollgate.db")).CombinedOutput()
		return string(out)
	}
	for name, c := range map[string]struct {
		answer harness.Response
		want   []string
	}{
		"by a policy":         {deniedFor(g, "X-Deny"), []string{"asked_for_it", "extra.rego:7", "403", "RRS Execute"}},
		"again, by the cache": {deniedFor(g, "X-Deny"), []string{"asked_for_it", "extra.rego:7", "403"}},
		"an unknown key":      {g.Execute(harness.NewKey()), []string{"key_unknown", "401"}},
		"another's job":       {g.Do(harness.Call{Path: harness.JobPath(strings.Repeat("1", 32), ""), Key: g.Keys.Starter}), []string{"job_not_found", "access.rego:", "404", "BES Status"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := g.For(t)
			id := c.answer.Header.Get("X-Request-Id")
			g.Eventually(5*time.Second, "the denial can be explained", func() bool {
				out := explain(id)
				for _, want := range c.want {
					if !strings.Contains(out, want) {
						return false
					}
				}
				return true
			})
		})
	}
}
