// Package corpus holds the cases that every form of the filter must pass: the decisions
// alone, the filter in Go, the compiled module under wazero, and a real Envoy.
package corpus

import (
	_ "embed"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed testdata/cases.yaml
var casesYAML []byte

// Catalog is the text of the corpus's catalog; ${backend_url} is where the backend listens.
//
//go:embed testdata/tollgate.yaml
var Catalog string

// Keys are the names of the corpus's secrets: ${good} in a case, CORPUS_GOOD in the
// environment.
var Keys = []string{"good", "second", "another", "suspended", "expired", "passonly", "blocked", "limited", "trial", "backend"}

// Case is one request, or the same one several times, and what must come of it.
type Case struct {
	Name    string
	Request Request
	Want    Want
}

// Request is what a client sends. ${NAME} stands for a key of Keys.
type Request struct {
	Method  string
	Target  string
	Headers []string // "name: value"
	Times   int      // how often it is sent; 1 unless given
}

// Want is what must come of the last sending.
type Want struct {
	Status  int
	Reason  string            // x-tollgate-reason; none when empty
	Body    string            // exactly; not compared when empty
	Headers map[string]string // of the response, among others
	Asks    int               // decide calls for all the sendings
	Backend *Backend          // what reaches it; nothing does when nil
}

// Backend is what must reach the backend.
type Backend struct {
	Target  string
	Headers map[string]string
	Absent  []string // headers that must not be there
}

// Cases reads the corpus with its ${NAME}s replaced.
func Cases(values map[string]string) ([]Case, error) {
	var cases []Case
	decoder := yaml.NewDecoder(strings.NewReader(Expand(string(casesYAML), values)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&cases); err != nil {
		return nil, fmt.Errorf("reading the corpus: %w", err)
	}
	for i := range cases {
		cases[i].Request.Times = max(cases[i].Request.Times, 1)
	}
	return cases, nil
}

// Expand replaces each ${NAME} that values has.
func Expand(text string, values map[string]string) string {
	for name, value := range values {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}
