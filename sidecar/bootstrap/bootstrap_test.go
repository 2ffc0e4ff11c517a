package bootstrap_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	// Types that envoy.yaml names, for reading it strictly.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/tollgate/tollgate/sidecar/bootstrap"
)

var values = bootstrap.Values{
	Address: "192.0.2.1", Port: 12345, AdminSocket: "/run/admin", SidecarSocket: "/run/sidecar",
	XDS: "/run/xds", Plugin: "/opt/filter.wasm", AccessLog: "/var/log/access",
}

func template(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// read checks the bootstrap against Envoy's own protobuf files.
func read(t *testing.T, text []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(asJSON, b); err != nil {
		t.Fatalf("envoy.yaml: %v", err)
	}
	if err := b.ValidateAll(); err != nil {
		t.Fatalf("envoy.yaml: %v", err)
	}
	return b
}

func TestTemplateIsABootstrap(t *testing.T) { read(t, template(t)) }

func TestFillPutsEveryValueInItsPlace(t *testing.T) {
	filled, err := bootstrap.Fill(template(t), values)
	if err != nil {
		t.Fatal(err)
	}
	b := read(t, filled)
	if got := b.Admin.Address.GetPipe().Path; got != values.AdminSocket {
		t.Errorf("admin socket %q", got)
	}
	if got := b.StaticResources.Listeners[0].Address.GetSocketAddress(); got.Address != values.Address || got.GetPortValue() != 12345 {
		t.Errorf("listener %v", got)
	}
	if got := b.StaticResources.Clusters[0].LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetPipe().Path; got != values.SidecarSocket {
		t.Errorf("sidecar %q", got)
	}
	// Those inside typed_config, and a check that none of the template's is left.
	for _, want := range []string{"/run/xds/routes.yaml", "/run/xds/clusters.yaml", "/opt/filter.wasm", "/var/log/access"} {
		if !strings.Contains(string(filled), want) {
			t.Errorf("%s is missing", want)
		}
	}
	places := 0
	for line := range strings.Lines(string(filled)) {
		if value, _, marked := strings.Cut(line, "# filled in"); marked {
			places++
			if strings.Contains(value, ".tollgate") || strings.Contains(value, "10000") || strings.Contains(value, "127.0.0.1") || strings.Contains(value, "stdout") {
				t.Errorf("left as it was: %s", line)
			}
		}
	}
	if places != 10 {
		t.Errorf("%d places are marked `filled in`, want 10: a comment was lost, or a place added", places)
	}
}

func TestFillKeepsTheRest(t *testing.T) {
	original, err := bootstrap.Fill(template(t), bootstrap.Values{
		Address: "127.0.0.1", Port: 10000, AdminSocket: ".tollgate/admin.sock", SidecarSocket: ".tollgate/sidecar.sock",
		XDS: ".tollgate/xds", Plugin: "bin/tollgate.wasm", AccessLog: "/dev/stdout",
	})
	if err != nil {
		t.Fatal(err)
	}
	var before, after any
	if err := yaml.Unmarshal(template(t), &before); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(original, &after); err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(before)
	y, _ := json.Marshal(after)
	if string(x) != string(y) {
		t.Errorf("Fill changed more than its places:\n%s\n%s", x, y)
	}
}

func TestFillRefuses(t *testing.T) {
	long := "/" + strings.Repeat("x", 107)
	tests := map[string]struct {
		template string
		edit     func(*bootstrap.Values)
		want     string
	}{
		"no port":          {edit: func(v *bootstrap.Values) { v.Port = 0 }, want: "port 0"},
		"high port":        {edit: func(v *bootstrap.Values) { v.Port = 65536 }, want: "port 65536"},
		"no plugin":        {edit: func(v *bootstrap.Values) { v.Plugin = "" }, want: "the plugin is missing"},
		"no socket":        {edit: func(v *bootstrap.Values) { v.AdminSocket = "" }, want: "socket is missing"},
		"long socket":      {edit: func(v *bootstrap.Values) { v.SidecarSocket = long }, want: "at most 107"},
		"another template": {template: "admin: {}", want: `there is no "address"`},
		"no YAML":          {template: "a: b: c", want: "reading Envoy's bootstrap"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v, text := values, template(t)
			if test.edit != nil {
				test.edit(&v)
			}
			if test.template != "" {
				text = []byte(test.template)
			}
			if _, err := bootstrap.Fill(text, v); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Fill = %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestWithout(t *testing.T) {
	got, err := bootstrap.Without(template(t), bootstrap.WasmFilter)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "runtime.v8") || !strings.Contains(string(got), bootstrap.CORSFilter) {
		t.Error("Without removed another filter, or none")
	}
	if _, err := bootstrap.Without(got, bootstrap.WasmFilter); err == nil {
		t.Error("Without removed a filter that is not there")
	}
}

// TestFilterState keeps the prefix and the access log together.
func TestFilterState(t *testing.T) {
	for _, name := range []string{"api", "operation", "subscription", "decision", "reason"} {
		if want := "%FILTER_STATE(" + bootstrap.FilterState + name + ":PLAIN)%"; !strings.Contains(string(template(t)), want) {
			t.Errorf("the access log lacks %s", want)
		}
	}
}

// TestAccessLogShowsNoRequest: a mistyped key may stand in any part of a request.
func TestAccessLogShowsNoRequest(t *testing.T) {
	for _, never := range []string{"%REQ(:PATH", "%REQ(X-", "%PATH(", "%QUERY", "%REQ_WITHOUT_QUERY", "%REQ(:AUTHORITY", "STREAM_ID", "%PROTOCOL_"} {
		for line := range strings.Lines(string(template(t))) {
			if strings.Contains(line, never) && !strings.Contains(line, "x-request-id, value:") {
				t.Errorf("envoy.yaml prints %s: %s", never, line)
			}
		}
	}
}

func TestFindEnvoy(t *testing.T) {
	fake := func(version string) string {
		file := filepath.Join(t.TempDir(), "envoy")
		script := "#!/bin/sh\necho; echo \"envoy  version: abc/" + version + "/Clean/RELEASE/BoringSSL\"\n"
		if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	right, wrong, none := fake("1.40.0"), fake("1.39.9"), filepath.Join(t.TempDir(), "none")
	tests := map[string]struct {
		named      string
		candidates []string
		want, err  string
	}{
		"named":                       {named: right, want: right},
		"named and missing":           {named: none, candidates: []string{right}, err: "Envoy that was named"},
		"named and of another":        {named: wrong, candidates: []string{right}, err: "is Envoy 1.39.9, and this release is tested with 1.40.0"},
		"first that fits":             {candidates: []string{none, wrong, right}, want: right},
		"none at all":                 {candidates: []string{none}, err: "no Envoy found"},
		"only another, which is told": {candidates: []string{wrong}, err: "is Envoy 1.39.9"},
		"no Envoy":                    {named: "/bin/true", err: "does not say which version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bootstrap.FindEnvoy(t.Context(), "1.40.0", test.named, test.candidates...)
			if got != test.want || (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("FindEnvoy = %q, %v; want %q, %q", got, err, test.want, test.err)
			}
		})
	}
}
