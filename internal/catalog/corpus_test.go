package catalog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
)

// shorthands stand for parts of a catalog that a case is not about, each on one line.
var shorthands = strings.NewReplacer(
	"$ORGANIZATION", `{name: Demo, administrator: admin@example.com}`,
	"$APIS", `[{name: A, suffix: a, backend: {url: "https://a.example"}, operations: [{name: Read, method: GET, template: /}]}]`,
	"$BACKEND", `{url: "https://b.example"}`,
	"$OPERATIONS", `[{name: Read, method: GET, template: /}]`,
	"$DEVELOPERS", `[{email: ada@example.com}]`,
)

// heading begins a file of a txtar archive.
var heading = regexp.MustCompile(`(?m)^-- (.+) --\n`)

// corpus returns the catalog files of testdata/NAME.txtar by their names.
func corpus(t testing.TB, name string) map[string][]byte {
	t.Helper()
	archive, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	headings := heading.FindAllSubmatchIndex(archive, -1)
	files := map[string][]byte{}
	for i, at := range headings {
		file, end := string(archive[at[2]:at[3]]), len(archive)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		if files[file] != nil {
			t.Fatalf("%s.txtar has %q twice", name, file)
		}
		files[file] = []byte(shorthands.Replace(string(archive[at[1]:end])))
	}
	if len(files) == 0 {
		t.Fatalf("%s.txtar has no files", name)
	}
	return files
}

// expected returns what the comments of a file want: "line: field: message" for each.
func expected(data []byte) (want []string) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		for _, message := range strings.Split(string(line), " # want ")[1:] {
			want = append(want, fmt.Sprintf("%d: %s", i+1, strings.TrimSpace(message)))
		}
	}
	slices.Sort(want)
	return want
}

func TestParseReportsEveryMistake(t *testing.T) {
	for name, data := range corpus(t, "bad") {
		t.Run(name, func(t *testing.T) {
			c, mistakes := catalog.Parse("f", data, catalog.Options{})
			if c != nil {
				t.Error("a catalog came back with mistakes")
			}
			var got []string
			for i, m := range mistakes {
				got = append(got, fmt.Sprintf("%d: %s", m.Line, strings.TrimPrefix(m.Field+": "+m.Message, ": ")))
				if i > 0 && m.Line < mistakes[i-1].Line {
					t.Errorf("line %d stands after line %d", m.Line, mistakes[i-1].Line)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(expected(data), got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseAcceptsGoodFiles(t *testing.T) {
	for name, data := range corpus(t, "good") {
		t.Run(name, func(t *testing.T) {
			if _, mistakes := catalog.Parse("f", data, catalog.Options{}); mistakes != nil {
				t.Errorf("mistakes: %v", mistakes)
			}
		})
	}
}

// demo is the catalog that the project ships.
func demo(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("../../examples/azureml-demo/tollgate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}
