package openapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/openapi"
)

func TestServers(t *testing.T) {
	for name, tc := range map[string]struct {
		gateway string
		hosts   []string
		want    []string
	}{
		"a gateway":        {"https://gateway.example.com", nil, []string{"https://gateway.example.com/s"}},
		"with a slash":     {"https://gateway.example.com/", nil, []string{"https://gateway.example.com/s"}},
		"with a path":      {"https://gateway.example.com/base", nil, []string{"https://gateway.example.com/base/s"}},
		"hosts of the API": {"https://gateway.example.com:8443", []string{"a.example.com", "b.example.com"}, []string{"https://a.example.com:8443/s", "https://b.example.com:8443/s"}},
		"none":             {"", nil, []string{"/s"}},
	} {
		t.Run(name, func(t *testing.T) {
			api := catalog.API{Name: "A", Suffix: "s", Hosts: tc.hosts, Operations: []catalog.Operation{{Name: "o", Method: "GET", Template: "/"}}}
			var got []string
			servers, _ := tree(t, exported(t, api, openapi.ExportOptions{Gateway: tc.gateway}))["servers"].([]any)
			for _, s := range servers {
				got = append(got, dig(s)["url"].(string))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, gateway := range []string{"gateway.example.com", "ftp://g", "https://", "https://u:p@g", "https://g/?a=b", "https://g/#f", "://"} {
		if _, err := openapi.Export(catalog.API{Name: "A", Suffix: "s"}, openapi.ExportOptions{Gateway: gateway}); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("gateway %q: %v, want an error", gateway, err)
		}
	}
	if _, err := openapi.Export(catalog.API{Name: "A", Suffix: "s"}, openapi.ExportOptions{Format: "xml"}); err == nil {
		t.Error("it writes XML")
	}
}

// Clients have to send a key of the gateway in one of its places, and what the backend wants
// only where it is passed on.
func TestSecurity(t *testing.T) {
	api, _ := imported(t, file(t, "petstore.yaml"), openapi.Options{})
	api.Keys = catalog.Keys{Header: "X-Key", Query: "key", Bearer: true}
	for name, tc := range map[string]struct {
		change     func(*catalog.API)
		root, post string
	}{
		"pass": {func(*catalog.API) {},
			`[{"gatewayKeyHeader":[],"token":[]},{"gatewayKeyQuery":[],"token":[]},{"gatewayKeyBearer":[],"token":[]}]`,
			`[{"gatewayKeyHeader":[],"token":[]},{"gatewayKeyHeader":[],"oauth":["write"]},{"gatewayKeyQuery":[],"token":[]},{"gatewayKeyQuery":[],"oauth":["write"]},{"gatewayKeyBearer":[],"token":[]},{"gatewayKeyBearer":[],"oauth":["write"]}]`},
		"inject": {func(a *catalog.API) { a.Backend.Authorization = "inject" },
			`[{"gatewayKeyHeader":[]},{"gatewayKeyQuery":[]},{"gatewayKeyBearer":[]}]`, `null`},
		"no subscription": {func(a *catalog.API) {
			a.Backend.Authorization, a.SubscriptionRequired, a.Keys.Bearer = "inject", false, false
		},
			`[{"gatewayKeyHeader":[]},{"gatewayKeyQuery":[]},{}]`, `null`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := api
			tc.change(&changed)
			doc := tree(t, exported(t, changed, openapi.ExportOptions{}))
			for what, pair := range map[string][2]any{"root": {tc.root, doc["security"]}, "post": {tc.post, dig(doc, "paths", "/pets", "post")["security"]}} {
				var want any
				if err := json.Unmarshal([]byte(pair[0].(string)), &want); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, pair[1]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			if s := dig(doc, "components", "securitySchemes", "gatewayKeyHeader"); s["type"] != "apiKey" || s["in"] != "header" || s["name"] != "X-Key" {
				t.Errorf("scheme %v", s)
			}
			// Clients' document brings the places of the key back.
			back, _ := imported(t, exported(t, changed, openapi.ExportOptions{}), openapi.Options{})
			if diff := cmp.Diff(changed.Keys, back.Keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

// What a document has of its own under the gateway's names stays.
func TestSchemesOfTheSameName(t *testing.T) {
	api, _ := imported(t, []byte(`{"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "servers": [{"url": "https://b.example.com"}], "paths": {"/a": {"get": {"responses": {"200": {"description": "d"}}}}},
		"components": {"securitySchemes": {"gatewayKeyHeader": {"type": "http", "scheme": "basic"}}}, "security": [{"gatewayKeyHeader": []}]}`), openapi.Options{})
	doc := tree(t, exported(t, api, openapi.ExportOptions{}))
	if schemes := dig(doc, "components", "securitySchemes"); dig(schemes, "gatewayKeyHeader")["scheme"] != "basic" || dig(schemes, "gatewayKeyHeader_")["in"] != "header" {
		t.Errorf("schemes %v", schemes)
	}
	again(t, api)
}

// What is changed in the catalog after an import is in the next export.
func TestChangesInTheCatalog(t *testing.T) {
	api, _ := imported(t, file(t, "petstore.yaml"), openapi.Options{})
	api.Description = "Another text."
	for i := range api.Operations {
		op := &api.Operations[i]
		switch op.Name {
		case "listPets":
			op.Name, op.Description = "List the pets", "Another text."
			op.Parameters[0].Description = "another" // by reference until now
			op.Parameters = append(op.Parameters[:1], catalog.Parameter{Name: "page", In: "query", Example: "7"})
		case "PUT /people/{name}/pets/{id}":
			op.Template, op.Parameters = "/people/{name}/cats/{number}", op.Parameters[:1]
		}
	}
	data := exported(t, api, openapi.ExportOptions{Full: true})
	valid(t, data)
	doc := tree(t, data)
	if got := dig(doc, "info")["description"]; got != "Another text." {
		t.Errorf("the API's description is %q", got)
	}
	list := dig(doc, "paths", "/pets", "get")
	if list["description"] != "Another text." || list["operationId"] != "listPets" {
		t.Errorf("operation: %v, %v", list["description"], list["operationId"])
	}
	var got []string
	for _, p := range list["parameters"].([]any) {
		m := dig(p)
		got = append(got, fmt.Sprint(m["in"], " ", m["name"], " ", m["description"], " ", m["example"], " ", dig(m, "schema")["pattern"]))
	}
	if diff := cmp.Diff([]string{
		"header X-Trace another 0af7651916cd43dd8448eb211c80319c ^[0-9a-f]{32}$",   // the rest of it stays
		"query filter[kind] <nil> <nil> <nil>", "cookie session <nil> <nil> <nil>", // which the catalog does not list
		"query page <nil> 7 <nil>",
	}, got); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	got = nil
	for _, p := range dig(doc, "paths", "/people/{name}/cats/{number}", "put")["parameters"].([]any) {
		got = append(got, fmt.Sprint(dig(p)["in"], " ", dig(p)["name"]))
	}
	if diff := cmp.Diff([]string{"path name", "header X_Old", "path number"}, got); diff != "" {
		t.Errorf("parameters of another template (-want +got):\n%s", diff)
	}
	back, _ := imported(t, data, openapi.Options{})
	if diff := cmp.Diff(briefs(api), briefs(back)); diff != "" {
		t.Errorf("imported again (-want +got):\n%s", diff)
	}
	again(t, back)
}

// An operation that others describe with the same words gets a name of its own.
func TestNames(t *testing.T) {
	api, gaps := imported(t, []byte(`
openapi: 3.1.0
info: {title: "  Two\twords\u202E ", version: 1.0.0}
servers: [{url: "https://b.example.com/"}]
paths:
  /a: {get: {summary: Same}, post: {summary: Same}}
  /b: {get: {operationId: Same}}
  /b/{x}: {get: {}}
  /b/{y}: {get: {operationId: other}}
`), openapi.Options{})
	var got []string
	for _, op := range api.Operations {
		got = append(got, op.Name+" = "+op.Method+" "+op.Template)
	}
	if diff := cmp.Diff([]string{"Same = GET /a", "POST /a = POST /a", "GET /b = GET /b", "GET /b/{x} = GET /b/{x}"}, got); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	if api.Name != "Two words" || api.Suffix != "two-words" || api.Backend.URL != "https://b.example.com" {
		t.Errorf("name %q, suffix %q, backend %q", api.Name, api.Suffix, api.Backend.URL)
	}
	lost := ""
	for _, g := range gaps {
		if g.Severity == openapi.Lost {
			lost += g.String()
		}
	}
	if !strings.Contains(lost, "/paths/~1b~1{y}/get: GET matches the same paths as operation") {
		t.Errorf("gaps %v", gaps)
	}
	parsed(t, "names", api)
	again(t, api)
}

func TestBare(t *testing.T) {
	api, gaps := imported(t, file(t, "petstore.yaml"), openapi.Options{Bare: true})
	if api.Definition != nil || api.Operations[0].Definition != nil || len(api.Operations) != 5 {
		t.Errorf("API %+v", api)
	}
	if len(gaps) == 0 || gaps[0].Severity != openapi.Lost || gaps[0].Pointer != "" {
		t.Errorf("gaps %v", gaps)
	}
}

// Backends that nobody told clients of stay hidden from them.
func TestClientsDoNotSeeTheBackend(t *testing.T) {
	for name, data := range documents(t) {
		api, _ := imported(t, data, openapi.Options{})
		out := string(exported(t, api, openapi.ExportOptions{Gateway: "https://gateway.example.com"}))
		for _, hidden := range []string{"eu.pets.example.com", "staging.pets", "admin.pets", "museum.example.com:8443", "services.example.com"} {
			if strings.Contains(out, hidden) {
				t.Errorf("%s: clients are told of %s", name, hidden)
			}
		}
	}
}

// YAML 1.1, which many tools still read, takes more words for something else than text.
func TestTextsOfYAML(t *testing.T) {
	for _, word := range []string{"yes", "No", "on", "OFF", "y", "null", "1e5", "0x10", "1_000", "12:30", "2020-01-01", "=", "~", ""} {
		api := catalog.API{Name: "A", Description: word, Suffix: "s"}
		out := string(exported(t, api, openapi.ExportOptions{Format: openapi.YAML}))
		if !strings.Contains(out, "\n  description: \""+word+"\"\n") && word != "" {
			t.Errorf("%q stands without quotes:\n%s", word, out)
		}
	}
}
