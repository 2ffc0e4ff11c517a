package openapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/openapi"
)

func documents(t testing.TB) map[string][]byte {
	return map[string][]byte{"petstore.yaml": file(t, "petstore.yaml"), "tickets.json": file(t, "tickets.json"), "azureml.json": azureML(t)}
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func exported(t testing.TB, api catalog.API, o openapi.ExportOptions) []byte {
	t.Helper()
	data, err := openapi.Export(api, o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tree reads JSON or YAML apart from the code under test, numbers as they are written.
func tree(t testing.TB, data []byte) map[string]any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	m, _ := value(n.Content[0]).(map[string]any)
	return m
}

func value(n *yaml.Node) any {
	switch n.Kind {
	case yaml.AliasNode:
		return value(n.Alias)
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = value(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := []any{}
		for _, item := range n.Content {
			l = append(l, value(item))
		}
		return l
	}
	switch n.Tag {
	case "!!int", "!!float":
		return json.Number(n.Value)
	case "!!bool":
		return n.Value == "true"
	case "!!null":
		return nil
	}
	return n.Value
}

// three is a document as one of version 3.
func three(t testing.TB, data []byte) map[string]any {
	t.Helper()
	doc := tree(t, data)
	if doc["swagger"] == nil {
		return doc
	}
	var two openapi2.T
	if err := json.Unmarshal(data, &two); err != nil {
		t.Fatal(err)
	}
	converted, err := openapi2conv.ToV3(&two)
	if err != nil {
		t.Fatal(err)
	}
	return tree(t, jsonOf(t, converted))
}

func dig(v any, keys ...string) map[string]any {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	m, _ := v.(map[string]any)
	return m
}

var verbs = []string{"get", "head", "post", "put", "patch", "delete", "options"}

// normal is what a document means: a path's parameters are those of each of its operations,
// and a path by reference is what it leads to. Of one that Export wrote, what the gateway has
// put in its place is undone.
func normal(doc map[string]any) map[string]any {
	own := dig(doc, "x-tollgate")
	undo(doc, own, "servers", "security")
	schemes := dig(doc, "components", "securitySchemes")
	names, _ := own["key_schemes"].([]any)
	for _, name := range names {
		delete(schemes, name.(string))
	}
	if own != nil && len(schemes) == 0 {
		delete(dig(doc, "components"), "securitySchemes")
	}
	if len(dig(doc, "components")) == 0 {
		delete(doc, "components")
	}
	for key, v := range dig(doc, "paths") {
		if reference, ok := dig(v)["$ref"].(string); ok {
			v = dig(doc, strings.Split(strings.TrimPrefix(reference, "#/"), "/")...)
			dig(doc, "paths")[key] = v
		}
		item := dig(v)
		shared, _ := item["parameters"].([]any)
		for _, verb := range verbs {
			op := dig(item, verb)
			if op == nil {
				continue
			}
			undo(op, dig(op, "x-tollgate"), "servers", "security")
			list, _ := op["parameters"].([]any)
			have := map[string]bool{}
			for _, p := range list {
				have[identity(doc, p)] = true
			}
			all := []any{}
			for _, p := range shared {
				if !have[identity(doc, p)] {
					all = append(all, p)
				}
			}
			if all = append(all, list...); len(all) > 0 {
				op["parameters"] = all
			} else {
				delete(op, "parameters")
			}
		}
		if dig(item, "trace") == nil {
			delete(item, "parameters")
		}
	}
	return doc
}

func identity(doc map[string]any, parameter any) string {
	p := dig(parameter)
	if reference, ok := p["$ref"].(string); ok {
		p = dig(doc, strings.Split(strings.TrimPrefix(reference, "#/"), "/")...)
	}
	return fmt.Sprint(p["in"], p["name"])
}

func undo(m, own map[string]any, fields ...string) {
	if own == nil {
		return
	}
	delete(m, "x-tollgate")
	for _, field := range fields {
		delete(m, field)
		if v, ok := own[field]; ok {
			m[field] = v
		}
	}
	implied, _ := own["implied"].([]any)
	for _, field := range implied {
		delete(m, field.(string))
	}
	if names, _ := own["implied_parameters"].([]any); len(names) > 0 {
		list, _ := m["parameters"].([]any)
		m["parameters"] = slices.DeleteFunc(list, func(p any) bool {
			return dig(p)["in"] == "path" && slices.Contains(names, dig(p)["name"])
		})
	}
}

// again exports an API and imports it, which gives the same API.
func again(t testing.TB, api catalog.API) {
	t.Helper()
	for _, format := range []openapi.Format{openapi.JSON, openapi.YAML} {
		o := openapi.ExportOptions{Gateway: "https://gateway.example.com", Format: format, Full: true}
		data := exported(t, api, o)
		back, _, err := openapi.Import(data, openapi.Options{})
		if err != nil {
			t.Fatalf("%s: %v\n%s", format, err, data)
		}
		if diff := cmp.Diff(api, back); diff != "" {
			t.Fatalf("%s: import(export(api)) is another API (-want +got):\n%s\n%s", format, diff, data)
		}
		if second := exported(t, back, o); !bytes.Equal(data, second) {
			t.Fatalf("%s: the second export differs (-first +second):\n%s", format, cmp.Diff(string(data), string(second)))
		}
	}
}

func TestRoundTripOfDocuments(t *testing.T) {
	for name, data := range documents(t) {
		t.Run(name, func(t *testing.T) {
			api, _ := imported(t, data, openapi.Options{})
			again(t, api)
			for _, format := range []openapi.Format{openapi.JSON, openapi.YAML} {
				out := exported(t, api, openapi.ExportOptions{Gateway: "https://gateway.example.com", Format: format, Full: true})
				if diff := cmp.Diff(normal(three(t, data)), normal(tree(t, out))); diff != "" {
					t.Errorf("%s: what the document had (-want +got):\n%s", format, diff)
				}
				valid(t, out)
			}
		})
	}
}

// valid says whether others take a document, but for what it was before.
func valid(t testing.TB, data []byte) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	options := []openapi3.ValidationOption{openapi3.AllowExtraSiblingFields("pathItems")}
	if strings.HasPrefix(doc.OpenAPI, "3.1") {
		options = append(options, openapi3.IsOpenAPI31OrLater())
	}
	if err := doc.Validate(t.Context(), options...); err != nil {
		t.Errorf("it is not valid: %v", err)
	}
}

// The order of a document's paths and methods is that of the operations, and comes back: some
// clients take them by their position.
func TestTheOrderComesBack(t *testing.T) {
	api, _ := imported(t, azureML(t), openapi.Options{})
	var want, got []string
	for _, op := range api.Operations {
		want = append(want, op.Name)
	}
	slices.Reverse(api.Operations)
	back, _ := imported(t, exported(t, api, openapi.ExportOptions{}), openapi.Options{})
	for _, op := range slices.Backward(back.Operations) {
		got = append(got, op.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// drawn is a random API as a catalog has it, without definitions.
func drawn(t *rapid.T) catalog.API {
	word := rapid.StringMatching(`[A-Za-z][A-Za-z0-9]{0,8}`)
	line := rapid.SampledFrom([]string{"", "a text", "two\nlines", "yes", "2020-01-01", "1e5", "- a: b", " blank", "ünï", `"quoted"`, "# no", "null", "trail ", "\ttab"})
	name := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"", "GET ", "null ", "1 "}).Draw(t, "before") + word.Draw(t, "name")
	})
	api := catalog.API{
		Name: name.Draw(t, "api"), Description: line.Draw(t, "description"), Suffix: "s", SubscriptionRequired: rapid.Bool().Draw(t, "required"),
		Errors: rapid.SampledFrom([]string{"apim", "problem"}).Draw(t, "errors"), WhenUnavailable: "deny", Route: "envoy",
		Backend: catalog.Backend{URL: "https://backend.example.com", Timeout: catalog.Duration(5e9), Authorization: "pass"},
		Keys:    catalog.Keys{Header: rapid.SampledFrom([]string{catalog.DefaultKeyHeader, "X-Key"}).Draw(t, "header"), Query: "key", Bearer: rapid.Bool().Draw(t, "bearer")},
	}
	if rapid.Bool().Draw(t, "inject") {
		api.Backend.Authorization, api.Backend.Key = "inject", &catalog.Secret{Env: "KEY"}
	}
	used := map[string]bool{}
	for range rapid.IntRange(1, 6).Draw(t, "operations") {
		op := catalog.Operation{Name: name.Draw(t, "operation"), Description: line.Draw(t, "description"),
			Method:   rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"}).Draw(t, "method"),
			Template: rapid.SampledFrom([]string{"/", "/a", "/a/{id}", "/a/{id}/b", "/{id}/{other}", "/b.json"}).Draw(t, "template")}
		if used[strings.ToLower(op.Name)] || used[op.Method+op.Template] {
			continue
		}
		used[strings.ToLower(op.Name)], used[op.Method+op.Template] = true, true
		for _, n := range []string{"id", "other"} {
			if strings.Contains(op.Template, "{"+n+"}") && rapid.Bool().Draw(t, "described") {
				op.Parameters = append(op.Parameters, catalog.Parameter{Name: n, In: "path", Required: true, Description: line.Draw(t, "what"), Example: line.Draw(t, "example")})
			}
		}
		if rapid.Bool().Draw(t, "query") {
			op.Parameters = append(op.Parameters, catalog.Parameter{Name: "q", In: "query", Required: rapid.Bool().Draw(t, "must"), Example: line.Draw(t, "example")})
		}
		if rapid.Bool().Draw(t, "limit") {
			window := catalog.Duration(60e9)
			op.Limits = []catalog.Limit{{Name: "m", Kind: "rate", Amount: 5, Window: &window, Unit: "calls", Count: "all", Enforce: true}}
		}
		api.Operations = append(api.Operations, op)
	}
	return api
}

func TestRoundTripOfAPIs(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		api := drawn(r)
		again(t, api)
		if t.Failed() {
			r.FailNow()
		}
		public := exported(t, api, openapi.ExportOptions{Gateway: "https://gateway.example.com"})
		valid(t, public)
		for _, hidden := range []string{"backend.example.com", "KEY", "limits"} {
			if bytes.Contains(public, []byte(hidden)) {
				r.Fatalf("clients are told of %s:\n%s", hidden, public)
			}
		}
		back, _ := imported(t, public, openapi.Options{Backend: api.Backend.URL})
		if diff := cmp.Diff(briefs(api), briefs(back)); diff != "" {
			r.Fatalf("operations (-want +got):\n%s", diff)
		}
	})
}

// mutated is a document with a few things of it replaced by others of it, or by anything.
func mutated(t *rapid.T, doc map[string]any) {
	var parts []any
	collect(doc, &parts)
	for range rapid.IntRange(1, 6).Draw(t, "changes") {
		holders := parts[:0:0]
		for _, p := range parts {
			if m, ok := p.(map[string]any); ok && len(m) > 0 {
				holders = append(holders, p)
			}
		}
		m := holders[rapid.IntRange(0, len(holders)-1).Draw(t, "where")].(map[string]any)
		if len(m) == 0 {
			continue
		}
		key := rapid.SampledFrom(slices.Sorted(maps.Keys(m))).Draw(t, "key")
		switch rapid.IntRange(0, 4).Draw(t, "how") {
		case 0:
			delete(m, key)
		case 1:
			m[key] = copied(parts[rapid.IntRange(0, len(parts)-1).Draw(t, "what")])
		case 2:
			m[key] = rapid.SampledFrom([]any{nil, true, json.Number("7"), "", "text", []any{}, map[string]any{}, "#/components/schemas/Pet", "#/"}).Draw(t, "value")
		case 3:
			m[rapid.SampledFrom([]string{"$ref", "x-tollgate", "/a/{b}/{b}", "/pets?x=1", "get", "trace", "parameters", "description", "name", "servers", "security"}).Draw(t, "name")] =
				copied(parts[rapid.IntRange(0, len(parts)-1).Draw(t, "what")])
		case 4:
			v := m[key]
			delete(m, key)
			m[rapid.SampledFrom([]string{"/", "/pets/", "/{x}", "/%41", "/a b", "nothing"}).Draw(t, "name")] = v
		}
	}
}

func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for key, value := range v {
			m[key] = copied(value)
		}
		return m
	case []any:
		l := []any{}
		for _, item := range v {
			l = append(l, copied(item))
		}
		return l
	}
	return v
}

func collect(v any, parts *[]any) {
	*parts = append(*parts, v)
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			collect(v[key], parts)
		}
	case []any:
		for _, item := range v {
			collect(item, parts)
		}
	}
}

// Whatever a document says: it is refused, or it comes back.
func TestRoundTripOfMutatedDocuments(t *testing.T) {
	var seeds [][]byte
	all := documents(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		seeds = append(seeds, all[name])
		api, _ := imported(t, all[name], openapi.Options{})
		seeds = append(seeds, exported(t, api, openapi.ExportOptions{Full: true}))
	}
	rapid.Check(t, func(r *rapid.T) {
		doc := tree(t, rapid.SampledFrom(seeds).Draw(r, "seed"))
		mutated(r, doc)
		tried(t, jsonOf(t, doc))
		if t.Failed() {
			r.FailNow()
		}
	})
}

// tried imports a document that may be anything.
func tried(t testing.TB, data []byte) {
	t.Helper()
	api, gaps, err := openapi.Import(data, openapi.Options{})
	if err != nil {
		return
	}
	for _, g := range gaps {
		if g.Reason == "" || g.Pointer != "" && g.Pointer[0] != '/' {
			t.Fatalf("gap %+v", g)
		}
	}
	again(t, api)
}

func FuzzImport(f *testing.F) {
	for _, data := range documents(f) {
		f.Add(data)
		api, _ := imported(f, data, openapi.Options{})
		f.Add(exported(f, api, openapi.ExportOptions{Full: true, Format: openapi.YAML}))
	}
	f.Add([]byte(laughs()))
	f.Fuzz(func(t *testing.T, data []byte) { tried(t, data) })
}
