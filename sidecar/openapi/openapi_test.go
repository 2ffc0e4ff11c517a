package openapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/emulator"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/openapi"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// azureML is the document of a classic AzureML web service, Swagger 2.0, as the emulator
// serves it.
func azureML(t testing.TB) []byte {
	t.Helper()
	server, err := emulator.New(emulator.Config{PrimaryKey: "secret-of-the-service"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	request := httptest.NewRequest(http.MethodGet, "https://services.example.com/workspaces/"+emulator.DefaultWorkspace+"/services/"+emulator.DefaultService+"/swagger.json", nil)
	request.Header.Set("Authorization", "Bearer secret-of-the-service")
	answer := httptest.NewRecorder()
	server.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("the emulator answers %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.Bytes()
}

func imported(t testing.TB, data []byte, o openapi.Options) (catalog.API, []openapi.Gap) {
	t.Helper()
	api, gaps, err := openapi.Import(data, o)
	if err != nil {
		t.Fatal(err)
	}
	return api, gaps
}

// brief is what a test looks at of an operation.
type brief struct {
	Name, Method, Template string
	Parameters             []catalog.Parameter
}

func briefs(api catalog.API) []brief {
	var all []brief
	for _, op := range api.Operations {
		all = append(all, brief{op.Name, op.Method, op.Template, op.Parameters})
	}
	return all
}

func TestImportOfVersion3(t *testing.T) {
	api, gaps := imported(t, file(t, "petstore.yaml"), openapi.Options{})
	if api.Name != "Pets and People" || api.Suffix != "pets-and-people" || api.Backend.URL != "https://eu.pets.example.com/v2" ||
		!strings.HasPrefix(api.Description, "Pets, and who keeps them.\n\n* cats") {
		t.Errorf("API %q, suffix %q, backend %q, description %q", api.Name, api.Suffix, api.Backend.URL, api.Description)
	}
	trace := catalog.Parameter{Name: "X-Trace", In: "header", Description: "goes into the log", Example: "0af7651916cd43dd8448eb211c80319c"}
	id := catalog.Parameter{Name: "id", In: "path", Required: true, Description: "a pet's number"}
	want := []brief{
		{"listPets", "GET", "/pets", []catalog.Parameter{trace, {Name: "limit", In: "query", Description: "how many at most", Example: "50"}}},
		{"addPet", "POST", "/pets", []catalog.Parameter{trace}},
		{"showPet", "GET", "/pets/{id}", []catalog.Parameter{id}},
		{"Take a pet away", "DELETE", "/pets/{id}", []catalog.Parameter{id}},
		{"PUT /people/{name}/pets/{id}", "PUT", "/people/{name}/pets/{id}", []catalog.Parameter{
			{Name: "name", In: "path", Required: true}, {Name: "id", In: "path", Required: true}, {Name: "If-Match", In: "header"}}},
	}
	if diff := cmp.Diff(want, briefs(api)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"kept /components/securitySchemes/oauth", "kept /components/securitySchemes/token",
		"lost /paths/~1people~1{name}~1pets~1{id}/put/parameters/2",
		"kept /paths/~1pets/get/parameters/1", "kept /paths/~1pets/get/parameters/2", "kept /paths/~1pets/post/callbacks",
		"changed /paths/~1pets~1{id}/delete/servers", "lost /paths/~1pets~1{id}/trace", "lost /paths/~1pets~1{id}~1photo.{format}/get",
		"changed /servers/0/variables", "kept /servers/1",
	}, pointers(gaps)); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func pointers(gaps []openapi.Gap) []string {
	var all []string
	for _, g := range gaps {
		if g.Reason == "" {
			all = append(all, "without a reason")
		}
		all = append(all, string(g.Severity)+" "+g.Pointer)
	}
	return all
}

func TestImportOfVersion31(t *testing.T) {
	api, gaps := imported(t, file(t, "tickets.json"), openapi.Options{Name: "Tickets", Suffix: "t", Backend: "https://other.example.com"})
	want := []brief{
		{"buy", "POST", "/tickets", nil},
		{"ticket", "GET", "/tickets/{ticketId}", []catalog.Parameter{{Name: "ticketId", In: "path", Required: true, Description: "as it stands on the ticket", Example: "a54a57ca"}}},
	}
	if diff := cmp.Diff(want, briefs(api)); diff != "" || api.Name != "Tickets" || api.Suffix != "t" || api.Backend.URL != "https://other.example.com" {
		t.Errorf("%q %q %q, operations (-want +got):\n%s", api.Name, api.Suffix, api.Backend.URL, diff)
	}
	if diff := cmp.Diff([]string{"kept /components/securitySchemes/mutual", "kept /servers/0", "kept /webhooks"}, pointers(gaps)); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func TestImportOfAzureML(t *testing.T) {
	api, gaps := imported(t, azureML(t), openapi.Options{})
	version := catalog.Parameter{Name: "api-version", In: "query", Required: true, Example: "2.0"}
	job := catalog.Parameter{Name: "jobid", In: "path", Required: true}
	want := []brief{
		{"getSwaggerDocument", "GET", "/swagger.json", nil},
		{"execute", "POST", "/execute", []catalog.Parameter{version, {Name: "format", In: "query", Required: true, Example: "swagger"}}},
		{"submitJob", "POST", "/jobs", []catalog.Parameter{version}},
		{"startJob", "POST", "/jobs/{jobid}/start", []catalog.Parameter{job, version}},
		{"getJob", "GET", "/jobs/{jobid}", []catalog.Parameter{job, version}},
		{"deleteJob", "DELETE", "/jobs/{jobid}", []catalog.Parameter{job, version}},
	}
	if diff := cmp.Diff(want, briefs(api)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	if api.Name != "SimpleFeatureHashingExperiment" ||
		api.Backend.URL != "https://services.example.com/workspaces/"+emulator.DefaultWorkspace+"/services/"+emulator.DefaultService {
		t.Errorf("API %q, backend %q", api.Name, api.Backend.URL)
	}
	for _, g := range gaps {
		if g.Severity == openapi.Lost {
			t.Errorf("lost: %s", g)
		}
	}
}

// What Import gives is what a catalog takes, whatever the document was.
func TestImportedAPIsAreCatalogAPIs(t *testing.T) {
	for name, data := range documents(t) {
		api, _ := imported(t, data, openapi.Options{})
		parsed(t, name, api)
	}
}

// parsed is an API as the catalog reads it, which has to be as it was.
func parsed(t testing.TB, name string, api catalog.API) {
	t.Helper()
	text := jsonOf(t, map[string]any{"apis": []catalog.API{api}})
	c, mistakes := catalog.Parse(name, text, catalog.Options{Partial: true})
	if len(mistakes) > 0 {
		t.Fatalf("%s: the catalog refuses it: %v\n%s", name, mistakes, text)
	}
	if diff := cmp.Diff(api, c.APIs[0]); diff != "" {
		t.Errorf("%s: the catalog has another API (-imported +parsed):\n%s", name, diff)
	}
}

func TestRefusedDocuments(t *testing.T) {
	contacted := false
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { contacted = true }))
	defer stranger.Close()
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte(`{"type": "string"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refer := func(to string) string {
		return `{"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {"/a": {"get": {"responses": {"200": {"description": "d",
			"content": {"application/json": {"schema": {"$ref": "` + to + `"}}}}}}}}}`
	}
	for name, tc := range map[string]struct{ document, want string }{
		"empty":                 {"", "it is empty"},
		"a list":                {"[]", "no mapping"},
		"text":                  {"hello", "no mapping"},
		"not UTF-8":             {"\xff", "UTF-8"},
		"no version":            {`{"info": {}}`, "neither openapi nor swagger"},
		"version 1.2":           {`{"swagger": "1.2"}`, "says swagger 1.2"},
		"version 4":             {`{"openapi": "4.0.0"}`, "says openapi 4.0.0"},
		"paths are a list":      {`{"openapi": "3.0.0", "paths": []}`, "paths"},
		"broken JSON":           {`{"openapi": "3.0.0", `, "JSON"},
		"broken YAML":           {"openapi: [", "YAML"},
		"two YAML documents":    {"openapi: 3.0.0\n---\nopenapi: 3.0.0\n", "more than one document"},
		"a name twice":          {`{"openapi": "3.0.0", "openapi": "3.0.0"}`, "stands twice"},
		"a name twice in YAML":  {"openapi: 3.0.0\nopenapi: 3.0.0\n", "twice"},
		"a tag":                 {"openapi: !run 3.0.0\n", "tags"},
		"merge keys":            {"a: &a {b: 1}\nopenapi: 3.0.0\nc:\n  <<: *a\n", "merge keys"},
		"not a number":          {"openapi: 3.0.0\nx-a: .nan\n", "no number"},
		"too large":             {`{"openapi": "3.0.0", "x-a": "` + strings.Repeat("a", openapi.MaxSize) + `"}`, "larger than 4 MiB"},
		"too deep":              {`{"openapi": "3.0.0", "x-a": ` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "deeper"},
		"too deep in YAML":      {"openapi: 3.0.0\nx-a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "deeper"},
		"aliases that multiply": {laughs(), "values"},
		"an alias of itself":    {"openapi: 3.0.0\nx-a: &a [*a]\n", ""},
		"a reference by HTTP":   {refer(stranger.URL + "/schema.json"), "refers to another document"},
		"a reference to a file": {refer("file://" + secret), "refers to another document"},
		"a relative reference":  {refer(secret), "refers to another document"},
		"definitions too large": {`{"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "x-a": "` + strings.Repeat("a", 1<<20) + `", "paths": {"/a": {"get": {}}}}`, "1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, _, err := openapi.Import([]byte(tc.document), openapi.Options{})
			if !errors.Is(err, openapi.ErrDocument) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want one with %q", err, tc.want)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if spent := time.Since(start); spent > 20*time.Second {
				t.Errorf("it took %v", spent)
			}
		})
	}
	if contacted {
		t.Error("something was fetched")
	}
}

// laughs is a small document with 10^9 values.
func laughs() string {
	var b strings.Builder
	b.WriteString("openapi: 3.0.0\nx-a0: &a0 [1,2,3,4,5,6,7,8,9,0]\n")
	for i := 1; i < 10; i++ {
		n, before := string(rune('0'+i)), string(rune('0'+i-1))
		b.WriteString("x-a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+before+",", 10), ",") + "]\n")
	}
	return b.String()
}

// References that lead in circles, or multiply, are no reason to refuse a document.
func TestReferences(t *testing.T) {
	var dag strings.Builder
	for i := range 40 {
		n, next := fmt.Sprint("s", i), fmt.Sprint("s", i+1)
		if i == 39 {
			next = "end"
		}
		dag.WriteString(`"` + n + `": {"allOf": [{"$ref": "#/components/schemas/` + next + `"}, {"$ref": "#/components/schemas/` + next + `"}]},`)
	}
	for name, components := range map[string]string{
		"a parameter of itself":  `"parameters": {"p": {"$ref": "#/components/parameters/p"}}`,
		"two parameters":         `"parameters": {"p": {"$ref": "#/components/parameters/q"}, "q": {"$ref": "#/components/parameters/p"}}`,
		"a parameter nowhere":    `"schemas": {}`,
		"schemas that multiply":  `"schemas": {` + dag.String() + `"end": {"type": "string"}}`,
		"a schema of itself":     `"schemas": {"s": {"$ref": "#/components/schemas/s"}}`,
		"a schema within itself": `"schemas": {"s": {"properties": {"a": {"$ref": "#/components/schemas/s"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			document := `{"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "servers": [{"url": "https://a.example.com"}],
				"paths": {"/a": {"get": {"operationId": "a", "parameters": [{"$ref": "#/components/parameters/p"}], "responses": {"200": {"description": "d"}}}}},
				"components": {` + components + `}}`
			api, gaps := imported(t, []byte(document), openapi.Options{})
			if diff := cmp.Diff([]brief{{"a", "GET", "/a", nil}}, briefs(api)); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
			if len(gaps) == 0 {
				t.Error("nothing is said about it")
			}
			again(t, api)
			if spent := time.Since(start); spent > 20*time.Second {
				t.Errorf("it took %v", spent)
			}
		})
	}
}
