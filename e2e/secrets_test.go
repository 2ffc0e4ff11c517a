package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/emulator/azurite"
	"github.com/tollgate/tollgate/internal/wire"
)

// I4: no planted secret stands in a log, a metric, the database, Envoy's config dump or the
// backend's request, on any path through the gateway, refused ones too.
func TestSecretsAreFoundNowhere(t *testing.T) {
	g := harness.Start(t, harness.Options{Storage: true, Policies: policyFolder(t, denyByHeader)})
	put(t, g)
	planted := harness.NewKey() // a key of nobody, as a mistyped one is
	good, path := g.Keys.Unlimited, harness.ExecutePath
	base := strings.Split(path, "?")[0]
	post := func(path string, headers ...string) {
		t.Helper()
		call := harness.Call{Method: "POST", Path: path, Body: harness.GoodDay, Header: http.Header{"Content-Type": {"application/json"}}}
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			call.Header.Add(name, value)
		}
		if r := g.Do(call); strings.Contains(r.Body, planted) || strings.Contains(r.Body, good) {
			t.Errorf("the answer to %d headers says a key: %s", len(headers), r.Body)
		}
	}
	everyPlace := func() {
		for _, key := range []string{good, planted} {
			post(path, harness.KeyHeader+": "+key)
			post(path, harness.KeyHeader+": "+key, harness.KeyHeader+": "+key)
			post(path, "Authorization: Bearer "+key)
			post(path, "Authorization: Bearer "+good, "X-Ms-Metaanalytics-Authorizationtoken: "+key)
			post(path + "&subscription-key=" + key)
			post(path + "&Subscription-Key=" + key + "&subscription-key=" + key)
			post(path + "&subscription-kye=" + key)
			post(base + "/" + key)
			post("/" + key)
			post("/"+harness.DemoSuffix+"/%252e%252e/"+key, harness.KeyHeader+": "+key)
			post("/"+harness.DemoSuffix+"/a%2f"+key, harness.KeyHeader+": "+key)
			post("/"+harness.DemoSuffix+"/"+key+"?x="+key, "Host: "+key)
			post(path+"&key="+key, harness.KeyHeader+": "+good, "X-Deny: yes")
			g.Do(harness.Call{Path: harness.JobPath(key, ""), Key: good})
		}
	}
	everyPlace()
	starter(t, g, planted)
	submit(g, good)
	for name, fault := range map[string]harness.Fault{"error": harness.Answer(500, ""), "garbage": harness.Garbage(), "hangs up": harness.HangUp()} {
		g.Faults.Set(wire.PathDecide, fault)
		g.Faults.Set(wire.PathResources, fault)
		t.Log(name)
		post(path+"&x="+planted, harness.KeyHeader+": "+good, "X-Deny: "+name)
		submit(g, good)
	}
	g.Limits("demo-starter", "--reset")
	g.KillSidecar()
	everyPlace()
	g.Faults.Clear()
	g.StartSidecar()
	denials := g.Faults.Calls(wire.PathUsage)
	g.Eventually(10*time.Second, "the denials are reported", func() bool { return g.Faults.Calls(wire.PathUsage) > denials })
	// The backend may see a key of nobody where a client put it beside a good one: to the
	// gateway it is text like any other. So the planted one is looked for elsewhere only.
	for _, leak := range g.Leaks(g.Keys.Unlimited, g.Keys.Starter, g.Keys.Backend, azurite.AccountKey) {
		t.Error(leak)
	}
	g.Backend.Reset()
	for _, leak := range g.Leaks(planted) {
		t.Error(leak)
	}
}

// starter uses a limit up: keys and bodies are in no counter, record or refusal of it.
func starter(t *testing.T, g *harness.Gateway, planted string) {
	t.Helper()
	for i := range 8 {
		r := g.Do(harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Starter, Body: harness.GoodDay,
			Header: http.Header{"Content-Type": {"application/json"}, "X-Customer": {planted}}})
		if i >= 5 && r.Status != http.StatusTooManyRequests {
			t.Errorf("call %d: %d %s", i, r.Status, r.Body)
		}
	}
	g.Limits("demo-starter")
}
