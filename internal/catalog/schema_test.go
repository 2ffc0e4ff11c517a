package catalog_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/internal/catalog"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(catalog.Schema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// value is a YAML node as JSON sees it: times are text.
func value(n *yaml.Node) any {
	switch n.Kind {
	case yaml.AliasNode:
		return value(n.Alias)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, value(item))
		}
		return list
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			object[n.Content[i].Value] = value(n.Content[i+1])
		}
		return object
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return n.Value == "true"
	case "!!int", "!!float":
		number, _ := strconv.ParseFloat(n.Value, 64)
		return number
	}
	return n.Value
}

// structural are the mistakes that the schema sees as well.
var structural = regexp.MustCompile(`unknown field|is missing|has no value|YAML reads it as|, not (a|text|true)|is none of|in upper case|with its unit|` +
	`exactly one of product|must be true, or|one place where|a key never stands|environment variable|64 hex|its digest is not enough|needs a key|sends no key|` +
	`at least one operation|name at least one origin|must begin with|no user|at most 128|from 0 \(|one lower-case word|without slashes|is the gateway's own|` +
	`belongs? to|must be calls|success is only|at most 10 limits|from 0 to 999|1 to 64 letters|must be a mapping`)

func TestSchemaAgreesWithParse(t *testing.T) {
	s := schema(t)
	files := corpus(t, "good")
	for name, data := range corpus(t, "bad") {
		files["bad/"+name] = data
	}
	files["the demo"] = demo(t)
	refusedByBoth := 0
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			var document yaml.Node
			if err := yaml.Unmarshal(data, &document); err != nil || strings.Contains(name, "alias to itself") {
				return // not YAML, or without end: neither for a schema
			}
			err := s.Validate(value(document.Content[0]))
			_, mistakes := catalog.Parse("f", data, catalog.Options{})
			if err != nil && len(mistakes) == 0 {
				t.Errorf("Parse accepts what the schema refuses: %v", err)
			}
			if err == nil && slices.ContainsFunc(mistakes, func(m catalog.Mistake) bool { return structural.MatchString(m.Message) }) {
				t.Errorf("the schema accepts what Parse refuses: %v", mistakes)
			}
			if err != nil && len(mistakes) > 0 {
				refusedByBoth++
			}
		})
	}
	if refusedByBoth < 10 {
		t.Errorf("only %d files were refused by both", refusedByBoth)
	}
}

// Each structural mistake alone, so that none hides behind another of its file.
func TestSchemaRefusesEachStructuralMistake(t *testing.T) {
	s := schema(t)
	for name, change := range map[string]struct{ old, new string }{
		"nothing":                     {"", ""},
		"unknown at the top":          {"products:", "prodcuts:"},
		"unknown in organization":     {"administrator:", "x: 1, administrator:"},
		"unknown in an API":           {"suffix: a", "suffix: a, x: 1"},
		"unknown in a backend":        {"url:", "x: 1, url:"},
		"unknown in keys":             {"bearer: true", "bearer: true, x: 1"},
		"unknown in CORS":             {"allow_origins:", "x: 1, allow_origins:"},
		"unknown in an operation":     {"method: POST", "method: POST, x: 1"},
		"unknown in a parameter":      {"in: query", "in: query, x: 1"},
		"unknown in a product":        {"{name: P", "{x: 1, name: P"},
		"unknown in a developer":      {"{email:", "{x: 1, email:"},
		"unknown in subscription":     {"{name: S", "{x: 1, name: S"},
		"unknown in a secret":         {"{env: K}", "{env: K, x: 1}"},
		"no organization":             {"organization", "x"},
		"no administrator":            {"administrator: a@b", "url: 'http://x'"},
		"no name of an API":           {"{name: A, ", "{"},
		"no suffix":                   {"suffix: a, ", ""},
		"no url":                      {"url: 'https://b.example', ", ""},
		"no operations":               {"operations: [", "tags: ["},
		"no method":                   {"method: POST, ", ""},
		"no template":                 {", template: /j", ""},
		"no place":                    {", in: query", ""},
		"no origins":                  {"allow_origins: ['*']", "max_age: 1s"},
		"no APIs of a product":        {", apis: [A], limits", ", limits"},
		"no e-mail":                   {"{email: a@b}", "{name: a}"},
		"no developer":                {", developer: a@b", ""},
		"no key to inject":            {", key: {env: K}", ""},
		"a key that is not sent":      {"authorization: inject", "authorization: pass"},
		"a digest of a backend":       {"{env: K}", "{sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}"},
		"two places":                  {"{env: K}", "{env: K, file: k}"},
		"text for a list":             {"apis: [A]", "apis: A"},
		"text for a mapping":          {"{env: K}", "K"},
		"text for a number":           {"max_pending: 1", "max_pending: '1'"},
		"text for true":               {"bearer: true", "bearer: 'true'"},
		"a number for text":           {"{name: P", "{name: 1"},
		"a number for a time":         {"timeout: 1s", "timeout: 1"},
		"null":                        {"bearer: true", "bearer: null"},
		"a number in attributes":      {"{t: x}", "{t: 1}"},
		"authorization":               {"authorization: inject", "authorization: x"},
		"errors":                      {"errors: apim", "errors: x"},
		"when_unavailable":            {"when_unavailable: deny", "when_unavailable: x"},
		"route":                       {"route: envoy", "route: x"},
		"method":                      {"method: POST", "method: post"},
		"in":                          {"in: query", "in: body"},
		"state":                       {"state: active", "state: x"},
		"creates":                     {"creates: job", "creates: Job"},
		"suffix":                      {"suffix: a", "suffix: a/b"},
		"two scopes":                  {"product: P", "product: P, api: A"},
		"no scope":                    {", product: P", ""},
		"unknown alone in a secret":   {"{env: K}", "{x: K}"},
		"an empty secret":             {"{env: K}", "{}"},
		"authorization without a key": {"authorization: inject, key: {env: K}", "authorization: x"},
		"url of organization":         {"administrator: a@b", "administrator: a@b, url: 'ftp://x'"},
		"query":                       {"keys: {", "keys: {query: 'a b', "},
		"template":                    {"template: /j", "template: '/j?x=1'"},
		"expires_at":                  {"product: P", "product: P, expires_at: 2027-01-31"},
		"env":                         {"{env: K}", "{env: 'a b'}"},
		"sha256":                      {"product: P", "product: P, primary_key: {sha256: '12'}"},
		"no operation":                {"operations: [{name: R, method: POST, template: /j, creates: job, parameters: [{name: p, in: query}]}]", "operations: []"},
		"no origin":                   {"['*']", "[]"},
		"all_apis: false":             {"product: P", "all_apis: false"},
		"unknown in a limit":          {"{name: r,", "{x: 1, name: r,"},
		"limits that are no list":     {"limits: [{name: c, kind: concurrency, amount: 3, unit: calls}]", "limits: {}"},
		"no name of a limit":          {"{name: r, ", "{"},
		"no kind":                     {", kind: rate", ""},
		"no amount":                   {", amount: 5, window", ", window"},
		"no window":                   {", window: 1m", ""},
		"no period":                   {", period: 7d", ""},
		"a window of a quota":         {"period: 7d", "period: 7d, window: 1m"},
		"a period of a rate":          {"window: 1m", "window: 1m, period: 7d"},
		"a window of concurrency":     {"unit: calls", "window: 1m"},
		"a period of concurrency":     {"unit: calls", "period: 7d"},
		"bytes at once":               {"unit: calls", "unit: bytes"},
		"success at once":             {"unit: calls", "count: success"},
		"success of rows":             {"count: success", "count: success, unit: rows"},
		"kind":                        {"kind: rate", "kind: spike"},
		"unit":                        {"unit: calls", "unit: tokens"},
		"count":                       {"count: success", "count: failure"},
		"enforce":                     {"count: success", "enforce: 'no'"},
		"a blank in a limit's name":   {"{name: r,", "{name: 'r r',"},
		"a long name of a limit":      {"{name: r,", "{name: " + strings.Repeat("r", 65) + ","},
		"amount below zero":           {"amount: 5", "amount: -5"},
		"amount with a fraction":      {"amount: 5", "amount: 5.5"},
		"amount too large":            {"amount: 5", "amount: 1000000000000000"},
		"days with a fraction":        {"period: 7d", "period: 1.5d"},
		"days last":                   {"period: 7d", "period: 1h7d"},
		"a number of days":            {"period: 7d", "period: 7"},
		"unknown in a group":          {"{name: G}", "{name: G, x: 1}"},
		"no name of a group":          {"{name: G}", "{description: x}"},
		"published":                   {"apis: [A], limits", "apis: [A], published: 'no', limits"},
		"approval_required":           {"apis: [A], limits", "apis: [A], approval_required: 1, limits"},
		"subscriptions_limit":         {"apis: [A], limits", "apis: [A], subscriptions_limit: -1, limits"},
		"subscriptions_limit, large":  {"apis: [A], limits", "apis: [A], subscriptions_limit: 1000001, limits"},
		"groups of a product":         {"apis: [A], limits", "apis: [A], groups: Guests, limits"},
		"terms":                       {"apis: [A], limits", "apis: [A], terms: 1, limits"},
		"price":                       {"apis: [A], limits", "apis: [A], price: 10, limits"},
		"definition":                  {"suffix: a,", "suffix: a, definition: [],"},
		"an operation's definition":   {"template: /j,", "template: /j, definition: x,"},
	} {
		t.Run(name, func(t *testing.T) {
			const data = `
organization: {name: D, administrator: a@b}
apis:
  - {name: A, suffix: a, errors: apim, when_unavailable: deny, route: envoy, backend: {url: 'https://b.example', timeout: 1s, max_pending: 1, authorization: inject, key: {env: K}}, keys: {bearer: true}, cors: {allow_origins: ['*']}, operations: [{name: R, method: POST, template: /j, creates: job, parameters: [{name: p, in: query}]}], limits: [{name: c, kind: concurrency, amount: 3, unit: calls}]}
groups: [{name: G}]
products: [{name: P, apis: [A], limits: [{name: r, kind: rate, amount: 5, window: 1m}, {name: q, kind: quota, amount: 9, period: 7d, count: success}]}]
developers: [{email: a@b}]
subscriptions: [{name: S, developer: a@b, product: P, state: active, attributes: {t: x}}]
`
			if !strings.Contains(data, change.old) {
				t.Fatalf("the catalog has no %q to change", change.old)
			}
			changed := []byte(strings.Replace(data, change.old, change.new, 1))
			var document yaml.Node
			if err := yaml.Unmarshal(changed, &document); err != nil {
				t.Fatal(err)
			}
			refused := name != "nothing"
			if err := s.Validate(value(document.Content[0])); (err != nil) != refused {
				t.Errorf("the schema says %v", err)
			}
			if _, mistakes := catalog.Parse("f", changed, catalog.Options{}); (len(mistakes) > 0) != refused {
				t.Errorf("Parse says %v", mistakes)
			}
		})
	}
}

// structs are the types of the catalog by the names that the schema has for them.
var structs = map[string]reflect.Type{
	"":             reflect.TypeFor[catalog.Catalog](),
	"organization": reflect.TypeFor[catalog.Organization](),
	"api":          reflect.TypeFor[catalog.API](),
	"backend":      reflect.TypeFor[catalog.Backend](),
	"keys":         reflect.TypeFor[catalog.Keys](),
	"cors":         reflect.TypeFor[catalog.CORS](),
	"operation":    reflect.TypeFor[catalog.Operation](),
	"parameter":    reflect.TypeFor[catalog.Parameter](),
	"product":      reflect.TypeFor[catalog.Product](),
	"group":        reflect.TypeFor[catalog.Group](),
	"limit":        reflect.TypeFor[catalog.Limit](),
	"developer":    reflect.TypeFor[catalog.Developer](),
	"subscription": reflect.TypeFor[catalog.Subscription](),
	"secret":       reflect.TypeFor[catalog.Secret](),
}

// yamlFields are the names of a struct's fields in a file.
func yamlFields(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("yaml"))
	}
	slices.Sort(names)
	return names
}

func TestSchemaDescribesEveryField(t *testing.T) {
	type object struct {
		Properties map[string]struct{ Description string }
		Defs       map[string]object `json:"$defs"`
	}
	var root object
	if err := json.Unmarshal(catalog.Schema, &root); err != nil {
		t.Fatal(err)
	}
	for name, typ := range structs {
		t.Run(name, func(t *testing.T) {
			o := root
			if name != "" {
				o = root.Defs[name]
			}
			var got []string
			for field, property := range o.Properties {
				got = append(got, field)
				if len(property.Description) < 10 {
					t.Errorf("%s has no description", field)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(yamlFields(typ), got); diff != "" {
				t.Errorf("fields (-struct +schema):\n%s", diff)
			}
		})
	}
	seen := map[reflect.Type]bool{}
	collect(reflect.TypeFor[catalog.Catalog](), seen)
	for _, typ := range structs {
		delete(seen, typ)
	}
	if len(seen) > 0 {
		t.Errorf("types that this test does not know: %v", seen)
	}
}

// collect adds the structs of this package that typ is made of.
func collect(typ reflect.Type, seen map[reflect.Type]bool) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collect(typ.Elem(), seen)
	case reflect.Struct:
		if typ.PkgPath() != reflect.TypeFor[catalog.Catalog]().PkgPath() || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			collect(typ.Field(i).Type, seen)
		}
	}
}

// docs/catalog.md has a row for every field, in the table of its struct.
func TestReferenceMentionsEveryField(t *testing.T) {
	data, err := os.ReadFile("../../docs/catalog.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(data), "\n## ")
	for name, typ := range structs {
		t.Run(name, func(t *testing.T) {
			heading := "`" + name + "`"
			if name == "" {
				heading = "The file"
			}
			i := slices.IndexFunc(sections, func(s string) bool { return strings.HasPrefix(s, heading) })
			if i < 0 {
				t.Fatalf("no section begins with %q", heading)
			}
			for _, field := range yamlFields(typ) {
				if !strings.Contains(sections[i], "\n| `"+field+"` |") {
					t.Errorf("no row for %q", field)
				}
			}
		})
	}
}
