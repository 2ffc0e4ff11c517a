package catalog_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/catalog"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestParseSaysWhere(t *testing.T) {
	const rest = "apis: []\n"
	for name, test := range map[string]struct {
		data string
		want []string
	}{
		"a field": {
			"organization:\n  name: Demo\n  administrator: nobody\n" + rest,
			[]string{"dir/f.yaml:3:18: organization.administrator: must be an e-mail address, like ada@example.com"},
		},
		"columns count characters": {
			`organization: {name: "äöü", url: ü, administrator: a@b}` + "\n" + rest,
			[]string{"dir/f.yaml:1:34: organization.url: must be an http or https URL, like https://example.com"},
		},
		"an empty file":  {"", []string{"dir/f.yaml:1:1: the file is empty; it must declare at least an organization and apis"}},
		"only a comment": {"# nothing\n", []string{"dir/f.yaml:1:1: the file is empty; it must declare at least an organization and apis"}},
		"only a marker":  {"---", []string{"dir/f.yaml:1:1: the file is empty; it must declare at least an organization and apis"}},
		"not UTF-8":      {"a: b\nc: \xff\n", []string{"dir/f.yaml:2:4: byte 0xff is not UTF-8; save the file as UTF-8"}},
		"UTF-16":         {"\xff\xfea\x00", []string{"dir/f.yaml:1:1: byte 0xff is not UTF-8; save the file as UTF-8"}},
		"a NUL": {"a: b\r\nc: \x00\r\n", []string{
			`dir/f.yaml:2:4: character U+0000 must not stand in the file; inside double quotes write "\u0000"`,
		}},
		"a line break that editors do not know": {"a: b\u2028c: d\n", []string{
			`dir/f.yaml:1:5: character U+2028 must not stand in the file; inside double quotes write "\u2028"`,
		}},
		"a carriage return alone": {"a: b\rc: d\n", []string{
			`dir/f.yaml:1:5: character U+000D must not stand in the file; inside double quotes write "\u000D"`,
		}},
		"too large": {strings.Repeat("#", catalog.MaxSize+1), []string{"dir/f.yaml:1:1: the file is larger than 16 MiB"}},
		"a tab": {"organization:\n  name: x\n\tadministrator: y\n", []string{
			"dir/f.yaml:3:1: not YAML: found a tab character that violates indentation",
		}},
		"an odd character": {"organization:\n  name: @x\n", []string{
			"dir/f.yaml:2:1: not YAML: found character that cannot start any token (a tab, or one of @ ` % outside quotes)",
		}},
		"an error in a second document": {"a: b\n---\nc: d: e\n", []string{
			"dir/f.yaml:3:1: not YAML: mapping values are not allowed in this context",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, mistakes := catalog.Parse("dir/f.yaml", []byte(test.data), catalog.Options{})
			if c != nil {
				t.Error("a catalog came back with mistakes")
			}
			if diff := cmp.Diff(test.want, texts(mistakes)); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

// texts are mistakes as people read them.
func texts(mistakes []catalog.Mistake) (lines []string) {
	for _, m := range mistakes {
		lines = append(lines, m.String())
	}
	return lines
}

func TestParseTakesWindowsFiles(t *testing.T) {
	data := "\uFEFF" + strings.ReplaceAll(string(demo(t)), "\n", "\r\n")
	got, mistakes := catalog.Parse("f", []byte(data), catalog.Options{})
	if mistakes != nil {
		t.Fatalf("mistakes: %v", mistakes)
	}
	want, _ := catalog.Parse("f", demo(t), catalog.Options{})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("catalog (-LF +CRLF):\n%s", diff)
	}
}

func TestParseAppliesDefaults(t *testing.T) {
	const data = `
organization: {name: Demo, administrator: admin@example.com}
apis:
  - {name: A, suffix: a, backend: {url: "HTTPS://B.example:443/x/"}, operations: [{name: Read, method: GET, template: "/{id}", parameters: [{name: id, in: path}]}]}
products: [{name: P, apis: [A], limits: [{name: minute, kind: rate, amount: 5, window: 1m}, {name: life, kind: quota, amount: 9, period: 0, unit: rows, enforce: false}]}]
developers: [{email: ada@example.com}]
subscriptions:
  - {name: S, developer: ada@example.com, product: P, expires_at: 2027-01-31T02:00:00+02:00, primary_key: {sha256: 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef}}
`
	expires := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	minute, life := catalog.Duration(time.Minute), catalog.Duration(0)
	want := &catalog.Catalog{
		Organization: catalog.Organization{Name: "Demo", Administrator: "admin@example.com"},
		APIs: []catalog.API{{
			Name: "A", Suffix: "a",
			Backend: catalog.Backend{
				URL: "https://b.example/x", Timeout: catalog.Duration(time.Minute), Authorization: "pass",
			},
			Keys:                 catalog.Keys{Header: "Ocp-Apim-Subscription-Key", Query: "subscription-key"},
			SubscriptionRequired: true, Errors: "apim", WhenUnavailable: "deny", Route: "envoy",
			Operations: []catalog.Operation{{
				Name: "Read", Method: "GET", Template: "/{id}",
				Parameters: []catalog.Parameter{{Name: "id", In: "path", Required: true}},
			}},
		}},
		Products: []catalog.Product{{Name: "P", APIs: []string{"A"}, SubscriptionRequired: true, Published: true, Limits: []catalog.Limit{
			{Name: "minute", Kind: "rate", Amount: 5, Window: &minute, Unit: "calls", Count: "all", Enforce: true},
			{Name: "life", Kind: "quota", Amount: 9, Period: &life, Unit: "rows", Count: "all"},
		}}},
		Groups:     []catalog.Group{},
		Developers: []catalog.Developer{{Email: "ada@example.com"}},
		Subscriptions: []catalog.Subscription{{
			Name: "S", Developer: "ada@example.com", Product: "P", State: "active", ExpiresAt: &expires,
			PrimaryKey: &catalog.Secret{SHA256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		}},
	}
	got, mistakes := catalog.Parse("f", []byte(data), catalog.Options{})
	if mistakes != nil {
		t.Fatalf("mistakes: %v", mistakes)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("catalog (-want +got):\n%s", diff)
	}
	if zone := got.Subscriptions[0].ExpiresAt.Location(); zone != time.UTC {
		t.Errorf("expires_at is in zone %v, want UTC", zone)
	}

	empty, mistakes := catalog.Parse("f", []byte("organization: {name: D, administrator: a@b}\napis: []\n"), catalog.Options{})
	if mistakes != nil {
		t.Fatalf("mistakes: %v", mistakes)
	}
	if empty.APIs == nil || empty.Products == nil || empty.Groups == nil || empty.Developers == nil || empty.Subscriptions == nil {
		t.Errorf("a list of an empty catalog is nil: %+v", empty)
	}
}

func TestParseReportsAtMostAThousandMistakes(t *testing.T) {
	data := "organization: {name: Demo, administrator: admin@example.com}\napis: []\nproducts:\n" + strings.Repeat("  - 1\n", 1500)
	_, mistakes := catalog.Parse("f", []byte(data), catalog.Options{})
	if len(mistakes) != 1001 {
		t.Fatalf("%d mistakes, want 1001", len(mistakes))
	}
	if got, want := mistakes[1000].String(), "f:1003:5: 500 more mistakes are not shown"; got != want {
		t.Errorf("the last is %q, want %q", got, want)
	}
}

func TestParseBoundsOperations(t *testing.T) {
	for n, want := range map[int][]string{1000: nil, 1001: {"f:3:88: apis[0].operations: must declare at most 1000 operations"}} {
		var data strings.Builder
		data.WriteString("organization: {name: Demo, administrator: admin@example.com}\napis:\n")
		data.WriteString("  - {name: A, suffix: a, backend: {url: 'https://b.example', timeout: 1m}, operations: [")
		for i := range n {
			fmt.Fprintf(&data, "{name: o%d, method: GET, template: /o%d},", i, i)
		}
		data.WriteString("]}\n")
		_, mistakes := catalog.Parse("f", []byte(data.String()), catalog.Options{})
		if diff := cmp.Diff(want, texts(mistakes)); diff != "" {
			t.Errorf("%d operations, mistakes (-want +got):\n%s", n, diff)
		}
	}
}

// A list that a thousand APIs repeat is five million values.
func TestParseBoundsAliases(t *testing.T) {
	var data strings.Builder
	data.WriteString("organization: {name: Demo, administrator: admin@example.com}\napis:\n")
	data.WriteString("  - {name: A, suffix: a, tags: &t [" + strings.Repeat("x,", 5000) + "], backend: {url: 'https://b.example'}, operations: []}\n")
	for i := range 1000 {
		fmt.Fprintf(&data, "  - {name: A%d, suffix: a%d, tags: *t, backend: {url: 'https://b.example'}, operations: []}\n", i, i)
	}
	_, mistakes := catalog.Parse("f", []byte(data.String()), catalog.Options{})
	if len(mistakes) != 1 || mistakes[0].Message != "aliases (*name) repeat more than 100000 values; write fewer" {
		t.Errorf("mistakes: %v", mistakes)
	}
}

func TestParseShowsNoSecret(t *testing.T) {
	const secret = "hunter2hunter2"
	const head = "organization: {name: Demo, administrator: a@b}\napis:\n  - name: A\n    suffix: a\n    operations: []\n    backend:\n"
	for name, backend := range map[string]string{
		"text for a key":      "{url: 'https://b.example', authorization: inject, key: " + secret + "}",
		"a list for a key":    "{url: 'https://b.example', authorization: inject, key: [" + secret + "]}",
		"the name of a field": "{url: 'https://b.example', authorization: inject, key: {" + secret + "}}",
		"an unknown field":    "{url: 'https://b.example', authorization: inject, key: {value: " + secret + "}}",
		"an odd variable":     "{url: 'https://b.example', authorization: inject, key: {env: '" + secret + " !'}}",
		"a digest":            "{url: 'https://b.example', authorization: inject, key: {sha256: " + secret + "}}",
		"an alias":            "{url: 'https://b.example', authorization: inject, key: *" + secret + "}",
		"a tag":               "{url: 'https://b.example', authorization: inject, key: !" + secret + " x}",
		"an escape in quotes": "{url: 'https://b.example', authorization: inject, key: \"\\q" + secret + "\"}",
		"a password":          "{url: 'https://u:" + secret + "@b.example'}",
		"a broken URL":        "{url: 'https://u:" + secret + "@b.example:x'}",
		"a query":             "{url: 'https://b.example/?sig=" + secret + "'}",
		"a fragment":          "{url: 'https://b.example/#" + secret + "'}",
	} {
		t.Run(name, func(t *testing.T) {
			_, mistakes := catalog.Parse("f", []byte(head+"      "+backend+"\n"), catalog.Options{})
			if len(mistakes) == 0 {
				t.Fatal("no mistakes")
			}
			for _, m := range mistakes {
				if strings.Contains(m.String(), secret) {
					t.Errorf("a mistake shows the secret: %s", m)
				}
			}
		})
	}
}

func TestDemoCatalog(t *testing.T) {
	c, mistakes := catalog.Parse("tollgate.yaml", demo(t), catalog.Options{})
	if mistakes != nil {
		t.Fatalf("mistakes: %v", mistakes)
	}
	got, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/demo.golden.json"
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
	const first = "# yaml-language-server: $schema=../../internal/catalog/schema.json\n"
	if !strings.HasPrefix(string(demo(t)), first) {
		t.Errorf("the demo catalog does not begin with %q", first)
	}
}

// The JSON form of a catalog is a catalog file.
func TestParseReadsWhatItWrites(t *testing.T) {
	files := corpus(t, "good")
	files["the demo"] = demo(t)
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			c, mistakes := catalog.Parse("f", data, catalog.Options{})
			if mistakes != nil {
				t.Fatalf("mistakes: %v", mistakes)
			}
			roundTrip(t, c)
		})
	}
}

func roundTrip(t *testing.T, c *catalog.Catalog) {
	t.Helper()
	written, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again, mistakes := catalog.Parse("f", written, catalog.Options{})
	if mistakes != nil {
		t.Fatalf("mistakes in %s: %v", written, mistakes)
	}
	if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("catalog (-first +again):\n%s", diff)
	}
	var decoded catalog.Catalog
	if err := json.Unmarshal(written, &decoded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, &decoded, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("catalog (-first +decoded):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"good", "bad"} {
		for _, data := range corpus(f, name) {
			f.Add(data)
		}
	}
	f.Add(demo(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, mistakes := catalog.Parse("f", data, catalog.Options{})
		if (c == nil) == (len(mistakes) == 0) {
			t.Fatalf("catalog %v with %d mistakes", c, len(mistakes))
		}
		lines := strings.Split(string(data), "\n")
		for _, m := range mistakes {
			if m.Line < 1 || m.Line > len(lines) || m.Column < 1 || m.Column > utf8.RuneCountInString(lines[m.Line-1])+1 {
				t.Errorf("a mistake outside the file: %s", m)
			}
			if strings.ContainsFunc(m.String(), unicode.IsControl) || !utf8.ValidString(m.String()) {
				t.Errorf("a mistake that is not one line: %q", m)
			}
		}
		if c != nil {
			roundTrip(t, c)
		}
	})
}
