package route

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/wire"
)

// Table is the compiled form of a snapshot's APIs.
type Table struct {
	apis     []wire.API
	bySuffix map[string][]int // indexes into apis; those with hosts first
	routes   [][]template     // per API, most specific first
}

type template struct {
	operation int
	method    string
	segments  []segment
}

// segment is a literal, or a parameter when name is set.
type segment struct{ literal, name string }

// Match is where a request goes.
type Match struct {
	API       int // index into the snapshot's APIs
	Operation int // index into the API's operations
	Params    []Param
	Query     Query

	suffix    string
	segments  []string // decoded, without the suffix
	canonical string   // Target, while Query is what was sent
	pairs     int      // of the query that was sent
}

// Param is a template parameter's decoded value.
type Param struct{ Name, Value string }

// Outcome says how far a match came.
type Outcome int

// The outcomes of Table.Find.
const (
	Found Outcome = iota // Match is whole
	NoAPI
	NoOperation // the API is known: Match.API and Match.Query are set
	BadPath     // see ErrPath; Match is empty
)

// Compile prepares apis. The catalog's check refuses what could not match; here a bad
// template is an error, so that a snapshot is taken whole or not at all.
func Compile(apis []wire.API) (*Table, error) {
	t := &Table{apis: apis, bySuffix: make(map[string][]int, len(apis)), routes: make([][]template, len(apis))}
	for i, api := range apis {
		t.bySuffix[api.Suffix] = append(t.bySuffix[api.Suffix], i)
		for j, operation := range api.Operations {
			segments, err := parseTemplate(operation.Template)
			if err != nil {
				return nil, errors.New("compiling operation " + operation.Name + " of API " + api.Name + ": " + err.Error())
			}
			t.routes[i] = append(t.routes[i], template{j, operation.Method, segments})
		}
		slices.SortStableFunc(t.routes[i], moreSpecific)
	}
	for _, candidates := range t.bySuffix {
		slices.SortStableFunc(candidates, func(a, b int) int { return cmp.Compare(anyHost(apis[a]), anyHost(apis[b])) })
	}
	return t, nil
}

// anyHost is 1 for an API that answers on any host, which comes after those that name
// theirs.
func anyHost(api wire.API) int {
	if len(api.Hosts) == 0 {
		return 1
	}
	return 0
}

func parseTemplate(text string) ([]segment, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("template " + text + " does not begin with a slash")
	}
	var segments []segment
	for part := range strings.SplitSeq(text[1:], "/") {
		if strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}") {
			segments = append(segments, segment{name: part[1 : len(part)-1]})
		} else {
			segments = append(segments, segment{literal: part})
		}
	}
	return segments, nil
}

// moreSpecific orders templates so that the first match is the right one: at the first
// place where they differ in kind, the literal goes before the parameter. Templates of
// other lengths never match the same path; they only need a place of their own.
func moreSpecific(a, b template) int {
	if d := len(a.segments) - len(b.segments); d != 0 {
		return d
	}
	for i := range a.segments {
		if x, y := a.segments[i].name != "", b.segments[i].name != ""; x != y {
			if y {
				return -1
			}
			return 1
		}
	}
	return 0
}

// Find matches method and target (origin form, as the client sent it) on host.
// Literals and methods match with their case, hosts without it and without the port.
func (t *Table) Find(method, host, target string) (Match, Outcome) {
	path, rawQuery, err := splitTarget(target)
	if err != nil {
		return Match{}, BadPath
	}
	segments, err := splitSegments(path)
	if err != nil {
		return Match{}, BadPath
	}
	query, err := parseQuery(rawQuery)
	if err != nil {
		return Match{}, BadPath
	}
	api := t.findAPI(segments[0], host)
	if api < 0 {
		return Match{}, NoAPI
	}
	match := Match{API: api, Operation: -1, Query: query, suffix: segments[0], segments: segments[1:]}
	for _, route := range t.routes[api] {
		if route.method == method && matches(route.segments, match.segments) {
			match.Operation = route.operation
			match.Params = params(route.segments, match.segments)
			match.canonical, match.pairs = match.Target(), len(query)
			return match, Found
		}
	}
	return match, NoOperation
}

func splitSegments(path string) ([]string, error) {
	segments := make([]string, 0, 8)
	for raw := range strings.SplitSeq(path, "/") {
		segment, err := decodeSegment(raw)
		if err != nil {
			return nil, err
		}
		segments = append(segments, segment)
	}
	return segments, nil
}

func (t *Table) findAPI(suffix, host string) int {
	for _, i := range t.bySuffix[suffix] {
		hosts := t.apis[i].Hosts
		if len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, hostname(host)) }) {
			return i
		}
	}
	return -1
}

// hostname cuts the port off an authority.
func hostname(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		return authority[:i]
	}
	return authority
}

func matches(pattern []segment, segments []string) bool {
	if len(pattern) != len(segments) {
		return false
	}
	for i, p := range pattern {
		if p.name == "" && p.literal != segments[i] || p.name != "" && segments[i] == "" {
			return false
		}
	}
	return true
}

func params(pattern []segment, segments []string) []Param {
	var params []Param
	for i, p := range pattern {
		if p.name != "" {
			params = append(params, Param{p.name, segments[i]})
		}
	}
	return params
}

// Target is the canonical request target, suffix included, with what is left in Query.
func (m Match) Target() string {
	if m.canonical != "" && len(m.Query) == m.pairs {
		return m.canonical
	}
	b := make([]byte, 0, 160)
	b = append(append(b, '/'), m.suffix...)
	return string(m.Query.appendTo(m.appendPath(b)))
}

// Path is the canonical path below the suffix, without the query.
func (m Match) Path() string { return string(m.appendPath(make([]byte, 0, 128))) }

func (m Match) appendPath(b []byte) []byte {
	for _, segment := range m.segments {
		b = appendSegment(append(b, '/'), segment)
	}
	return b
}

// Param is the value of the parameter name.
func (m Match) Param(name string) (string, bool) {
	for _, p := range m.Params {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}
