package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestYAMLOf(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"order stays":         {`{"name":"b","apis":["x","z"],"a":{"z":1,"b":2}}`, "name: b\napis:\n  - x\n  - z\na:\n  z: 1\n  b: 2\n"},
		"texts stay texts":    {`["1","true","null","2027-01-31T00:00:00Z","0x10","~","",": ","- a","1e3","no","ON","12:30","1_000"]`, "- \"1\"\n- \"true\"\n- \"null\"\n- \"2027-01-31T00:00:00Z\"\n- \"0x10\"\n- \"~\"\n- \"\"\n- ': '\n- '- a'\n- \"1e3\"\n- \"no\"\n- \"ON\"\n- \"12:30\"\n- \"1_000\"\n"},
		"values":              {`[1,-1.5,true,false,null]`, "- 1\n- -1.5\n- true\n- false\n- null\n"},
		"empty":               {`{"a":[],"b":{}}`, "a: []\nb: {}\n"},
		"large numbers":       {`[999999999999999,18446744073709551616]`, "- 999999999999999\n- 18446744073709551616\n"},
		"several lines":       {`{"d":"one\ntwo\n"}`, "d: |\n  one\n  two\n"},
		"not ASCII":           {`{"d":"Gerät <a&b>"}`, "d: Gerät <a&b>\n"},
		"a name with a colon": {`{"a: b":1}`, "'a: b': 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := yamlOf([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, string(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			var was, is any
			if err := json.Unmarshal([]byte(c.in), &was); err != nil {
				t.Fatal(err)
			}
			back := jsonText(t, string(got))
			if err := json.Unmarshal([]byte(back), &is); err != nil {
				t.Fatalf("%s: %v", back, err)
			}
			if d := cmp.Diff(was, is); d != "" {
				t.Errorf("read again (-want +got):\n%s", d)
			}
		})
	}
}

func jsonText(t *testing.T, text string) string {
	t.Helper()
	nodes, err := documents([]byte(text))
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%d documents: %v", len(nodes), err)
	}
	got, err := jsonOf(nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestJSONOf(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"order and types":   {"b: 1\na: [x, true, 1.5, null]\n", `{"b":1,"a":["x",true,1.5,null]}`},
		"times as written":  {"a: 2027-01-31T00:00:00+01:00\nb: 2027-01-31\n", `{"a":"2027-01-31T00:00:00+01:00","b":"2027-01-31"}`},
		"aliases":           {"a: &x {env: KEY}\nb: *x\n", `{"a":{"env":"KEY"},"b":{"env":"KEY"}}`},
		"what YAML refuses": {"a: \"\\u0085\\u2028\\uFEFF\\x7f\"\n", `{"a":"\u0085\u2028\uFEFF\u007F"}`},
		"empty":             {"a: {}\nb: []\n", `{"a":{},"b":[]}`},
		"several lines":     {"a: |\n  one\n  two\n", `{"a":"one\ntwo\n"}`},
		"JSON":              {`{"a": "😀 </script>"}`, `{"a":"😀 </script>"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, jsonText(t, c.in)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	for name, text := range map[string]string{"merge key": "a: &x {b: 1}\nc: {<<: *x}\n", "no name": "{[a]: 1}\n", "no number": "a: .nan\n"} {
		t.Run(name, func(t *testing.T) {
			nodes, err := documents([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := jsonOf(nodes[0]); err == nil {
				t.Errorf("%q became %s", text, got)
			}
		})
	}
}

func TestAFewAliasesDoNotFillTheMemory(t *testing.T) {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		text += strings.ReplaceAll(strings.ReplaceAll("aN: &aN [*aM, *aM, *aM, *aM, *aM, *aM, *aM, *aM, *aM, *aM]\n", "N", string(rune('1'+i))), "M", string(rune('0'+i)))
	}
	nodes, err := documents([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jsonOf(nodes[0]); err == nil {
		t.Error("a billion values were written")
	}
}

func TestAt(t *testing.T) {
	const text = `apis:
  - name: Demo
    backend: &b
      url: https://x
  - name: Other
    backend: *b
subscriptions:
  - attributes:
      "a b": one
      c: two
`
	nodes, err := documents([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for field, line := range map[string]int{"": 1, "apis": 2, "apis[0]": 2, "apis[0].backend.url": 4, "apis[1].name": 5, "apis[1].backend.url": 4,
		"apis[1].suffix": 5, "apis[7].name": 2, `subscriptions[0].attributes["a b"]`: 9, "subscriptions[0].attributes.c": 10, "products": 1,
		`subscriptions[0].attributes["not closed`: 9, "apis[x]": 2, "apis[-1]": 2, "[0]": 1} {
		if n := at(nodes[0], field); n.Line != line {
			t.Errorf("%s is in line %d, want %d", field, n.Line, line)
		}
	}
}

func FuzzAt(f *testing.F) {
	root := &yaml.Node{}
	if err := yaml.Unmarshal([]byte("a: [{b: 1}]\n"), root); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"a[0].b", `a["b"]`, "[", `["`, "]", "a..b", "a[99999999999999999999]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if at(root.Content[0], field) == nil {
			t.Error("nowhere")
		}
	})
}
