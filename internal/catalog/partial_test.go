package catalog_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/catalog"
)

func TestParseTakesParts(t *testing.T) {
	const api = `{name: A, suffix: a, backend: {url: "https://a.example"}, operations: [{name: Read, method: GET, template: /}]}`
	known := func(kind, name string) bool { return kind+" "+name == "api A" || kind+" "+name == "group Testers" }
	for name, test := range map[string]struct {
		file    string
		options catalog.Options
		want    []string
	}{
		"nothing":         {"{}", catalog.Options{Partial: true}, nil},
		"nothing, whole":  {"{}", catalog.Options{}, []string{"f:1:1: organization: is missing; every catalog needs it", "f:1:1: apis: is missing; every catalog needs it"}},
		"an organization": {"organization: {name: D, administrator: a@b}", catalog.Options{Partial: true}, nil},
		"half an organization": {"organization: {name: D}", catalog.Options{Partial: true},
			[]string{"f:1:15: organization.administrator: is missing; every organization needs it"}},
		"an unknown API": {"products: [{name: P, apis: [A]}]", catalog.Options{Partial: true},
			[]string{`f:1:29: products[0].apis[0]: there is no API "A"`}},
		"known elsewhere": {"products: [{name: P, apis: [A], groups: [Testers]}]\ndevelopers: [{email: a@b, groups: [Testers]}]",
			catalog.Options{Partial: true, Known: known}, nil},
		"known neither here nor elsewhere": {"products: [{name: P, apis: [B], groups: [Tester]}]\nsubscriptions: [{name: S, developer: a@b, product: Q}]",
			catalog.Options{Partial: true, Known: known},
			[]string{`f:1:29: products[0].apis[0]: there is no API "B"`, `f:1:42: products[0].groups[0]: there is no group "Tester"`,
				`f:2:38: subscriptions[0].developer: there is no developer "a@b"`, `f:2:52: subscriptions[0].product: there is no product "Q"; did you mean "P"?`}},
		"an override of an API elsewhere": {"apis: [" + api + "]",
			catalog.Options{Partial: true, BackendOverrides: map[string]string{"Other": "https://b.example"}}, nil},
		"lines": {"apis:\n - " + api + "\n - " + api, catalog.Options{Partial: true},
			[]string{`f:3:11: apis[1].name: "A" is the name of apis[0] as well (line 2)`,
				`f:3:22: apis[1].suffix: "a" is the suffix of API "A" as well (line 2), for every host`}},
		"no lines": {"apis:\n - " + api + "\n - " + api + "\ngroups: [{name: a, name: b}]", catalog.Options{Partial: true, Unnumbered: true},
			[]string{`f:3:11: apis[1].name: "A" is the name of apis[0] as well`,
				`f:3:22: apis[1].suffix: "a" is the suffix of API "A" as well, for every host`, "f:4:20: groups[0].name: stands twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, mistakes := catalog.Parse("f", []byte(test.file), test.options)
			if diff := cmp.Diff(test.want, texts(mistakes), cmpopts.SortSlices(strings.Compare)); diff != "" {
				t.Fatalf("mistakes (-want +got):\n%s", diff)
			}
			if c == nil {
				return
			}
			written, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			again, mistakes := catalog.Parse("f", written, test.options)
			if diff := cmp.Diff(c, again); diff != "" || mistakes != nil {
				t.Errorf("its JSON form %s (-first +again): %v\n%s", written, mistakes, diff)
			}
		})
	}
}

func TestDefinitionsAreBounded(t *testing.T) {
	const head = "organization: {name: D, administrator: a@b}\napis:\n  - {name: A, suffix: a, backend: {url: 'https://a.example'}, definition: {x: '"
	const tail = "'}, operations: [{name: Read, method: GET, template: /, definition: {y: '"
	const frame = len(`{"x":""}{"y":""}`)
	for name, test := range map[string]struct {
		api, operation int
		want           string
	}{
		"as large as may be": {catalog.MaxDefinition - frame - 5, 5, ""},
		"together too large": {catalog.MaxDefinition - frame - 5, 6, "apis[0].operations[0].definition"},
		"alone too large":    {catalog.MaxDefinition, 0, "apis[0].definition"},
	} {
		t.Run(name, func(t *testing.T) {
			_, mistakes := catalog.Parse("f", []byte(head+strings.Repeat("x", test.api)+tail+strings.Repeat("y", test.operation)+"'}}]}\n"), catalog.Options{})
			if test.want == "" {
				if mistakes != nil {
					t.Fatal(mistakes)
				}
				return
			}
			if len(mistakes) != 1 || mistakes[0].Field != test.want || mistakes[0].Message != "must have at most 1 MiB as JSON, together with the other definitions of the API" {
				t.Errorf("mistakes: %.300v", mistakes)
			}
		})
	}
}

func TestDefinitionsKeepWhatTheyAre(t *testing.T) {
	file := string(corpus(t, "good")["definitions"])
	c, mistakes := catalog.Parse("f", []byte(file), catalog.Options{})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	n := func(text string) json.Number { return json.Number(text) }
	want := catalog.Definition{
		"info": map[string]any{"version": "1.0", "x-null": nil, "x-date": "2020-01-01", "x-yes": "yes",
			"x-numbers": []any{n("1"), n("1.50"), n("1e3"), n("-0"), n("12345678901234567890"), n("31"), n("1000"), n("0.5"), n("1")}},
		"odd key: {}": "\x00\u2028\uFEFF 😀 <&>", "empty": map[string]any{}, "none": []any{},
	}
	if diff := cmp.Diff(want, c.APIs[0].Definition); diff != "" {
		t.Errorf("definition (-want +got):\n%s", diff)
	}
	responses := catalog.Definition{"responses": map[string]any{
		"200": map[string]any{"description": "OK"}, "default": map[string]any{"description": "Bad"}, "4XX": map[string]any{"description": "Bad"}, "true": "x"}}
	if diff := cmp.Diff(responses, c.APIs[0].Operations[0].Definition); diff != "" {
		t.Errorf("definition (-want +got):\n%s", diff)
	}
}

func TestLookAlike(t *testing.T) {
	for name, test := range map[string]struct {
		a, b string
		want bool
	}{
		"the same":             {"Pay", "Pay", false},
		"Cyrillic":             {"Pay", "Рау", true},
		"ASCII":                {"Pool l", "Pool 1", false},
		"other words":          {"Ärzte", "Arzte", false},
		"full width":           {"API", "ＡＰＩ", true},
		"Greek and Latin":      {"A", "Α", true},
		"two that are foreign": {"ОР", "ΟΡ", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := catalog.LookAlike(test.a, test.b); got != test.want {
				t.Errorf("LookAlike(%q, %q) = %v, want %v", test.a, test.b, got, test.want)
			}
			if got := catalog.LookAlike(test.b, test.a); got != test.want {
				t.Errorf("LookAlike(%q, %q) = %v, want %v", test.b, test.a, got, test.want)
			}
		})
	}
}
