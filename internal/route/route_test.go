package route_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/route"
	"github.com/tollgate/tollgate/internal/wire"
)

func table(t testing.TB) *route.Table {
	t.Helper()
	table, err := route.Compile([]wire.API{
		{Suffix: "demo", Operations: []wire.Operation{
			{Method: "POST", Template: "/workspaces/{workspace}/jobs"},
			{Method: "POST", Template: "/workspaces/{workspace}/jobs/{jobid}/start"},
			{Method: "GET", Template: "/workspaces/{workspace}/jobs/{jobid}"},
			{Method: "GET", Template: "/workspaces/{workspace}/jobs/latest"},
			{Method: "GET", Template: "/{anything}/{workspace}/jobs/latest"},
			{Method: "GET", Template: "/"},
		}},
		{Suffix: "shared", Operations: []wire.Operation{{Method: "GET", Template: "/any"}}},
		{Suffix: "shared", Hosts: []string{"a.example"}, Operations: []wire.Operation{{Method: "GET", Template: "/a"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFind(t *testing.T) {
	type want struct {
		Outcome        route.Outcome
		API, Operation int
		Target         string
	}
	found := func(api, operation int, target string) want { return want{route.Found, api, operation, target} }
	noOperation := want{Outcome: route.NoOperation}
	badPath := want{Outcome: route.BadPath}
	for name, c := range map[string]struct {
		method, host, target string
		want                 want
	}{
		"a parameter":                {"POST", "h", "/demo/workspaces/w1/jobs", found(0, 0, "/demo/workspaces/w1/jobs")},
		"a literal wins":             {"GET", "h", "/demo/workspaces/w1/jobs/latest", found(0, 3, "/demo/workspaces/w1/jobs/latest")},
		"then the parameter":         {"GET", "h", "/demo/workspaces/w1/jobs/other", found(0, 2, "/demo/workspaces/w1/jobs/other")},
		"the earlier literal wins":   {"GET", "h", "/demo/other/w1/jobs/latest", found(0, 4, "/demo/other/w1/jobs/latest")},
		"the query goes on":          {"POST", "h", "/demo/workspaces/w/jobs?api-version=2.0&x=%41", found(0, 0, "/demo/workspaces/w/jobs?api-version=2.0&x=%41")},
		"escapes are canonical":      {"POST", "h", "/demo/workspaces/%77%20%c3%a4/jobs", found(0, 0, "/demo/workspaces/w%20%C3%A4/jobs")},
		"sub-delims are escaped":     {"POST", "h", "/demo/workspaces/a;b=c/jobs", found(0, 0, "/demo/workspaces/a%3Bb%3Dc/jobs")},
		"the root":                   {"GET", "h", "/demo/", found(0, 5, "/demo/")},
		"another method":             {"DELETE", "h", "/demo/workspaces/w/jobs", noOperation},
		"a method's case counts":     {"post", "h", "/demo/workspaces/w/jobs", noOperation},
		"a literal's case counts":    {"POST", "h", "/demo/Workspaces/w/jobs", noOperation},
		"an empty parameter":         {"POST", "h", "/demo/workspaces//jobs", noOperation},
		"a trailing slash":           {"POST", "h", "/demo/workspaces/w/jobs/", noOperation},
		"another API":                {"GET", "h", "/nowhere/x", want{Outcome: route.NoAPI}},
		"no suffix":                  {"GET", "h", "/", want{Outcome: route.NoAPI}},
		"a host of its own":          {"GET", "A.example:443", "/shared/a", found(2, 0, "/shared/a")},
		"any other host":             {"GET", "b.example", "/shared/any", found(1, 0, "/shared/any")},
		"an IPv6 host":               {"GET", "[::1]:80", "/shared/any", found(1, 0, "/shared/any")},
		"dot segment":                {"GET", "h", "/demo/workspaces/../jobs", badPath},
		"encoded dot segment":        {"GET", "h", "/demo/workspaces/%2e%2E/jobs", badPath},
		"dot segment before ;":       {"GET", "h", "/demo/workspaces/..;x/jobs", badPath},
		"encoded ; after dots":       {"GET", "h", "/demo/workspaces/..%3bx/jobs", badPath},
		"encoded slash":              {"GET", "h", "/demo/workspaces/a%2fb/jobs", badPath},
		"encoded backslash":          {"GET", "h", "/demo/workspaces/a%5cb/jobs", badPath},
		"backslash":                  {"GET", "h", `/demo/workspaces/a\b/jobs`, badPath},
		"doubly encoded":             {"GET", "h", "/demo/workspaces/%252e%252e/jobs", badPath},
		"half an escape":             {"GET", "h", "/demo/workspaces/%4/jobs", badPath},
		"NUL":                        {"GET", "h", "/demo/workspaces/%00/jobs", badPath},
		"not UTF-8":                  {"GET", "h", "/demo/workspaces/%ff/jobs", badPath},
		"a fragment":                 {"GET", "h", "/demo/workspaces/a#b/jobs", badPath},
		"absolute form":              {"GET", "h", "http://h/demo/workspaces", badPath},
		"an empty target":            {"GET", "h", "", badPath},
		"half an escape in a query":  {"POST", "h", "/demo/workspaces/w/jobs?x=%4", badPath},
		"a line break in a query":    {"POST", "h", "/demo/workspaces/w/jobs?x=%0d%0a", badPath},
		"empty pairs are left out":   {"POST", "h", "/demo/workspaces/w/jobs?&&x=1&", found(0, 0, "/demo/workspaces/w/jobs?x=1")},
		"a query of nothing":         {"POST", "h", "/demo/workspaces/w/jobs?", found(0, 0, "/demo/workspaces/w/jobs")},
		"a question mark in a query": {"POST", "h", "/demo/workspaces/w/jobs?x=a?b", found(0, 0, "/demo/workspaces/w/jobs?x=a?b")},
	} {
		t.Run(name, func(t *testing.T) {
			match, outcome := table(t).Find(c.method, c.host, c.target)
			got := want{Outcome: outcome}
			if outcome == route.Found {
				got = want{outcome, match.API, match.Operation, match.Target()}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Find(%q) (-want +got):\n%s", c.target, diff)
			}
		})
	}
}

func TestTakeRemovesEverySpelling(t *testing.T) {
	match, _ := table(t).Find("POST", "h", "/demo/workspaces/w/jobs?a=1&Subscription-Key=K1&b=2&subscription%2dkey=K2&c")
	var values []string
	match.Query, values = match.Query.Take("subscription-key")
	if diff := cmp.Diff([]string{"K1", "K2"}, values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("/demo/workspaces/w/jobs?a=1&b=2&c", match.Target()); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
}

// FuzzFind holds that what goes on is read by net/url as what was matched, and that
// matching it again changes nothing.
func FuzzFind(f *testing.F) {
	f.Add("/demo/workspaces/w1/jobs?x=1")
	f.Add("/demo/workspaces/%2e%2e/jobs")
	f.Add("/demo/workspaces/a;b/jobs?subscription-key=%41")
	f.Fuzz(func(t *testing.T, target string) {
		match, outcome := table(t).Find("POST", "h", target)
		if outcome != route.Found {
			return
		}
		canonical := match.Target()
		again, outcome := table(t).Find("POST", "h", canonical)
		if outcome != route.Found || again.Target() != canonical {
			t.Fatalf("%q became %q, which becomes %q (%v)", target, canonical, again.Target(), outcome)
		}
		u, err := url.ParseRequestURI(canonical)
		if err != nil {
			t.Fatalf("%q became %q: %v", target, canonical, err)
		}
		workspace, _ := match.Param("workspace")
		if want := "/demo/workspaces/" + workspace + "/jobs"; !strings.HasPrefix(u.Path, want) {
			t.Fatalf("%q became %q, which net/url reads as %q, want %q", target, canonical, u.Path, want)
		}
	})
}
