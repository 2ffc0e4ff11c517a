package xds_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/route"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/bootstrap"
	"github.com/tollgate/tollgate/sidecar/xds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// bundle is any file: only Envoy reads it, and only in TestEnvoyAccepts.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

func parse(t *testing.T, text string) *catalog.Catalog {
	t.Helper()
	c, mistakes := catalog.Parse("catalog.yaml", []byte(text), catalog.Options{})
	for _, m := range mistakes {
		t.Error(m)
	}
	if c == nil {
		t.FailNow()
	}
	return c
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func files(t *testing.T, c *catalog.Catalog) map[string]string {
	t.Helper()
	clusters, routes, err := xds.Files(c, xds.Options{TrustBundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{xds.ClustersFile: string(clusters), xds.RoutesFile: string(routes)}
}

func TestFilesAreGolden(t *testing.T) {
	for name, got := range files(t, parse(t, read(t, "testdata/catalog.yaml"))) {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(read(t, golden), got); diff != "" {
			t.Errorf("%s (-want +got), after a change on purpose run go test -update:\n%s", name, diff)
		}
	}
}

// TestFilesAreDeterministic repeats itself because map order and protojson's spacing vary.
func TestFilesAreDeterministic(t *testing.T) {
	c := parse(t, read(t, "testdata/catalog.yaml"))
	want := files(t, c)
	for range 20 {
		if diff := cmp.Diff(want, files(t, c)); diff != "" {
			t.Fatalf("the same catalog gave other bytes (-first +later):\n%s", diff)
		}
	}
}

// TestDemoCatalog keeps the demo's files valid.
func TestDemoCatalog(t *testing.T) {
	got := files(t, parse(t, read(t, "../../examples/azureml-demo/tollgate.yaml")))
	for _, want := range []string{"host_rewrite_literal: ussouthcentral.services.azureml.net", "cluster: api.azureml-demo"} {
		if !strings.Contains(got[xds.RoutesFile], want) {
			t.Errorf("the demo's routes lack %q:\n%s", want, got[xds.RoutesFile])
		}
	}
}

// TestBatchRoutesMatchTheFiltersPath holds the routes without retries against the targets
// that the filter makes of what clients send.
func TestBatchRoutesMatchTheFiltersPath(t *testing.T) {
	tests := map[string]struct{ template, target string }{
		"unreserved": {"/a-b._~C1", "/jobs/a-b._~C1"},
		"sub-delims": {"/a!$&'()*+,;=b", "/jobs/a!$&'()*+,;=b"},
		"colon, at":  {"/jobs:batch@1", "/jobs/jobs%3abatch@1"},
		"parameters": {"/{w}/jobs;v=1/{j}/start", "/jobs/a;b/jobs;v=1/%C3%A4/start"},
		"a query":    {"/jobs:batch", "/jobs/jobs:batch?x=1"},
		"root":       {"/", "/jobs/"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			api := catalog.API{Name: "Jobs", Suffix: "jobs", Backend: catalog.Backend{URL: "http://192.0.2.7"},
				Operations: []catalog.Operation{{Name: "Submit", Method: "POST", Template: test.template, Creates: "job"}}}
			path := regexp.MustCompile("^(?:" + batchPath(t, files(t, &catalog.Catalog{APIs: []catalog.API{api}})[xds.RoutesFile]) + ")$")
			table, err := route.Compile([]wire.API{{Suffix: "jobs", Operations: []wire.Operation{{Method: "POST", Template: test.template}}}})
			if err != nil {
				t.Fatal(err)
			}
			match, outcome := table.Find("POST", "h", test.target)
			if outcome != route.Found {
				t.Fatalf("Find(%q) = %v, want Found", test.target, outcome)
			}
			if !path.MatchString(match.Target()) {
				t.Errorf("the batch route %s does not match the filter's %s", path, match.Target())
			}
		})
	}
}

// batchPath is what the first route, that of a batch operation, matches paths with.
func batchPath(t *testing.T, routes string) string {
	t.Helper()
	asJSON, err := json.Marshal(resources(t, routes)[0])
	if err != nil {
		t.Fatal(err)
	}
	var table routev3.RouteConfiguration
	if err := protojson.Unmarshal(asJSON, &table); err != nil {
		t.Fatal(err)
	}
	for _, h := range table.VirtualHosts[0].Routes[0].Match.Headers {
		if h.Name == ":path" {
			return h.GetStringMatch().GetSafeRegex().Regex
		}
	}
	t.Fatal("the first route matches no path")
	return ""
}

func TestWriteReplacesOnlyWhatChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "xds")
	c := parse(t, read(t, "testdata/catalog.yaml"))
	write := func() map[string]os.FileInfo {
		t.Helper()
		if err := xds.Write(dir, c, xds.Options{TrustBundle: bundle}); err != nil {
			t.Fatal(err)
		}
		infos := map[string]os.FileInfo{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if infos[e.Name()], err = e.Info(); err != nil {
				t.Fatal(err)
			}
		}
		return infos
	}
	first := write()
	if len(first) != 2 {
		t.Fatalf("Write left %d files, want 2", len(first))
	}
	second := write()
	for name := range first {
		if !os.SameFile(first[name], second[name]) {
			t.Errorf("%s was replaced although nothing changed: Envoy would reload for nothing", name)
		}
	}
	c.APIs[0].Backend.Timeout = catalog.Duration(time.Second) // in the routes, not in the clusters
	third := write()
	if !os.SameFile(second[xds.ClustersFile], third[xds.ClustersFile]) {
		t.Error("the clusters were replaced although only a route changed")
	}
	if os.SameFile(second[xds.RoutesFile], third[xds.RoutesFile]) {
		t.Error("the routes were written in place: Envoy could read half of them, and sees only renames")
	}
}

func TestWriteTouchesNothingOnErrors(t *testing.T) {
	dir := t.TempDir()
	c := parse(t, read(t, "testdata/catalog.yaml"))
	if err := xds.Write(dir, c, xds.Options{TrustBundle: bundle}); err != nil {
		t.Fatal(err)
	}
	before := read(t, filepath.Join(dir, xds.RoutesFile))
	tests := map[string]struct{ url, want string }{
		"no URL":    {"", "must be http or https"},
		"scheme":    {"ftp://example.com", "must be http or https"},
		"password":  {"https://user:secret@example.com", "must not carry a user"},
		"query":     {"https://example.com?key=secret", "must not carry a user, a query"},
		"port zero": {"http://example.com:0", "not in 1 to 65535"},
		"port high": {"http://example.com:65536", "not in 1 to 65535"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			broken := *c
			broken.APIs = slices.Clone(c.APIs)
			broken.APIs[1].Backend.URL = test.url
			broken.APIs[0].Suffix = "other"
			err := xds.Write(dir, &broken, xds.Options{TrustBundle: bundle})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "Pages") {
				t.Errorf("Write = %v, want an error about API Pages that says %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a secret: %v", err)
			}
			if diff := cmp.Diff(before, read(t, filepath.Join(dir, xds.RoutesFile))); diff != "" {
				t.Errorf("the routes changed:\n%s", diff)
			}
		})
	}
}

func TestHTTPSNeedsATrustBundle(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "/etc/hostname")
	clusters, _, err := xds.Files(parse(t, read(t, "testdata/catalog.yaml")), xds.Options{})
	if err != nil || !strings.Contains(string(clusters), "filename: /etc/hostname") {
		t.Errorf("Files = %v: the clusters do not use $SSL_CERT_FILE", err)
	}
}

// TestEnvoyAccepts has the pinned Envoy check what was generated. It checks only what stands
// in its bootstrap, so that is where the resources go.
func TestEnvoyAccepts(t *testing.T) {
	version, err := bootstrap.ReadVersion("../../.envoy-version")
	if err != nil {
		t.Fatal(err)
	}
	envoy, err := bootstrap.FindEnvoy(t.Context(), version, os.Getenv("ENVOY"), "envoy", "../../.tools/envoy/envoy/_bin/envoy")
	if err != nil {
		t.Fatalf("%v: run `make envoy`, or name one in $ENVOY", err)
	}
	got := files(t, parse(t, read(t, "testdata/catalog.yaml")))
	static := map[string]any{"static_resources": map[string]any{
		"clusters":  resources(t, got[xds.ClustersFile]),
		"listeners": []any{listener(resources(t, got[xds.RoutesFile])[0])},
	}}
	text, err := yaml.Marshal(static)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, envoy, "--mode", "validate", "--log-level", "warning", "-c", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "OK") {
		t.Errorf("Envoy refuses the files: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "eprecated") {
		t.Errorf("Envoy warns:\n%s", out)
	}
}

// resources are those of a file as plain values without their type, which a bootstrap does
// not repeat.
func resources(t *testing.T, text string) []any {
	t.Helper()
	var value map[string]any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(asJSON, &discovery.DiscoveryResponse{}); err != nil {
		t.Fatalf("not a discovery response: %v", err)
	}
	list := value["resources"].([]any)
	for _, r := range list {
		delete(r.(map[string]any), "@type")
	}
	return list
}

func listener(routes any) map[string]any {
	const filters = "type.googleapis.com/envoy.extensions.filters."
	return map[string]any{
		"name":    "test",
		"address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 1}},
		"filter_chains": []any{map[string]any{"filters": []any{map[string]any{
			"name": "manager",
			"typed_config": map[string]any{
				"@type":        filters + "network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix":  "test",
				"route_config": routes,
				"http_filters": []any{
					map[string]any{"name": "envoy.filters.http.cors", "typed_config": map[string]any{"@type": filters + "http.cors.v3.Cors"}},
					map[string]any{"name": "envoy.filters.http.router", "typed_config": map[string]any{"@type": filters + "http.router.v3.Router"}},
				},
			},
		}}}},
	}
}
