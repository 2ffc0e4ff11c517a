package admin_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
	"github.com/tollgate/tollgate/sidecar/usage"
)

func TestTheAudit(t *testing.T) {
	o := open(t)
	l := o.socket()
	start := time.Now()
	for i := range 5 {
		l.call("POST", "/v1/groups", fmt.Sprintf(`{"name": "G%d"}`, i)).is(201)
	}
	l.call("DELETE", "/v1/groups/G1", "").is(204)
	names := func(query string) (list []string) {
		t.Helper()
		for _, e := range read[admin.List[admin.AuditEntry]](l.call("GET", "/v1/audit"+query, ""), 200).Items {
			list = append(list, e.Action+" "+e.Name)
		}
		return list
	}
	since := "since=" + start.UTC().Format("2006-01-02T15:04:05.000Z")
	for query, want := range map[string][]string{
		"?kind=group":                            {"group.delete G1", "group.create G4", "group.create G3", "group.create G2", "group.create G1", "group.create G0"},
		"?kind=group&name=G1":                    {"group.delete G1", "group.create G1"},
		"?action=group.delete":                   {"group.delete G1"},
		"?actor=nobody":                          nil,
		"?kind=group&limit=1":                    {"group.delete G1"},
		"?kind=group&until=2001-01-01T00:00:00Z": nil,
		"?action=group.delete&" + since:          {"group.delete G1"},
	} {
		if diff := cmp.Diff(want, names(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	page := read[admin.List[admin.AuditEntry]](l.call("GET", "/v1/audit?limit=2", ""), 200)
	if len(page.Items) != 2 || page.Next != fmt.Sprint(page.Items[1].ID) {
		t.Errorf("a page of two: %+v", page)
	}
	if rest := names("?limit=1000&after=" + page.Next); len(rest) != int(page.Items[1].ID)-1 {
		t.Errorf("%d entries after %s", len(rest), page.Next)
	}
	if e := page.Items[0]; e.Actor != self(t) || e.Origin != "socket" || e.Kind != "group" || !strings.Contains(string(e.Before), `"G1"`) || e.After != nil || len(e.Hash) != 64 {
		t.Errorf("an entry: %+v", e)
	}
	for _, query := range []string{"?after=0", "?after=x", "?since=yesterday", "?limit=0", "?until=2001-01-01"} {
		l.call("GET", "/v1/audit"+query, "").problem(422, "invalid", "query.")
	}

	whole := read[admin.AuditReport](l.call("GET", "/v1/audit/verify", ""), 200)
	if whole.Broken != nil || whole.Rows != page.Items[0].ID || whole.Head != fmt.Sprintf("%d:%s", whole.Rows, page.Items[0].Hash) {
		t.Errorf("verified: %+v", whole)
	}
	noted := "?expect=" + whole.Head
	if report := read[admin.AuditReport](l.call("GET", "/v1/audit/verify"+noted, ""), 200); report.Broken != nil {
		t.Errorf("with its head: %+v", report)
	}
	longer := "?expect=" + fmt.Sprintf("%d:%s", whole.Rows+1, page.Items[0].Hash)
	if report := read[admin.AuditReport](l.call("GET", "/v1/audit/verify"+longer, ""), 200); report.Broken == nil || report.Broken.ID != whole.Rows+1 {
		t.Errorf("with a head beyond its own: %+v", report)
	}
	l.call("GET", "/v1/audit/verify?expect=1:x", "").problem(422, "invalid", "query.expect")
}

// A page that is just full is the last one where nothing follows.
func TestTheLastPageHasNoNext(t *testing.T) {
	o := open(t)
	l := o.socket()
	for i := range 2 {
		l.call("POST", "/v1/groups", fmt.Sprintf(`{"name": "G%d"}`, i)).is(201)
		l.call("POST", "/v1/tokens", fmt.Sprintf(`{"name": "t%d", "role": "reader"}`, i)).is(201)
	}
	pages := func(path string) (pages, items int) {
		t.Helper()
		for next := path; ; pages++ {
			list := read[admin.List[json.RawMessage]](l.call("GET", next, ""), 200)
			items += len(list.Items)
			if list.Next == "" {
				return pages + 1, items
			}
			next = path + "&after=" + url.QueryEscape(list.Next)
		}
	}
	for path, want := range map[string][2]int{
		"/v1/audit?kind=group&limit=2": {1, 2}, "/v1/audit?kind=group&limit=1": {2, 2},
		"/v1/subscriptions?limit=3": {1, 3}, "/v1/subscriptions?limit=2": {2, 3}, "/v1/subscriptions?limit=1": {3, 3},
		"/v1/tokens?limit=2": {1, 2}, "/v1/groups?limit=2": {1, 2},
	} {
		if n, items := pages(path); [2]int{n, items} != want {
			t.Errorf("%s: %d items on %d pages, want %v", path, items, n, want)
		}
	}
	o.subscribe(997) // and three
	more := slices.Repeat([]audit.Entry{{Time: time.Now(), Actor: "test", Action: "group.test", Kind: "group", Name: "G"}}, 1000-2)
	if err := o.config.Database.Transact(t.Context(), "auditing", func(tx *database.Tx) error {
		return audit.Append(t.Context(), tx, database.SQLite, more)
	}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/subscriptions?limit=1000", "/v1/audit?kind=group&limit=1000"} {
		if n, items := pages(path); n != 1 || items != 1000 {
			t.Errorf("%s: %d items on %d pages", path, items, n)
		}
	}
	l.call("POST", "/v1/subscriptions", `{"name": "one-more", "developer": "a@example.org", "api": "Demo"}`).is(201)
	l.call("DELETE", "/v1/groups/G1", "").is(204)
	for _, path := range []string{"/v1/subscriptions?limit=1000", "/v1/audit?kind=group&limit=1000"} {
		if n, items := pages(path); n != 2 || items != 1001 {
			t.Errorf("%s, one more: %d items on %d pages", path, items, n)
		}
	}
}

func TestUsage(t *testing.T) {
	l := open(t).socket()
	report := read[usage.Report](l.call("GET", "/v1/usage?per=hour&by=api,outcome&since=2026-01-01T00:00:00Z&limit=10", ""), 200)
	if diff := cmp.Diff([]usage.Dimension{usage.ByAPI, usage.ByOutcome}, report.By); diff != "" || report.Per != usage.Hour || len(report.Rows) != 0 {
		t.Errorf("(-want +got):\n%s%+v", diff, report)
	}
	for query, field := range map[string]string{"per=week": "per", "by=colour": "by", "outcome=good": "outcome", "limit=0": "limit", "since=2999-01-01T00:00:00Z": "since", "apis=x": "apis"} {
		l.call("GET", "/v1/usage?"+query, "").problem(422, "invalid", "query."+field)
	}
}

func TestBackup(t *testing.T) {
	o := open(t)
	r := o.socket().call("POST", "/v1/backup", "").is(200)
	if !bytes.HasPrefix(r.body, []byte("SQLite format 3\x00")) || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a backup of %d bytes, %s", len(r.body), r.header.Get("Content-Type"))
	}
}

func TestPathsAndMethods(t *testing.T) {
	l := open(t).socket()
	for _, path := range []string{"/", "/v1", "/v1/", "/v2/apis", "/v1/apis/", "/v1/apis//x", "/v1//apis", "/v1/apis/a/b", "/v1/./apis", "/v1/x/../apis", "/v1/apis/%ff", "/v1/apis/a%00b", "/docs", "/schemas/Object.json"} {
		l.call("GET", path, "").problem(404, "path_unknown", "nothing is at this path")
	}
	for path, allow := range map[string]string{
		"/v1/apis": "GET, HEAD, POST", "/v1/apis/x": "GET, HEAD, PUT, DELETE", "/v1/subscriptions/x": "GET, HEAD, PATCH, DELETE",
		"/v1/catalog/apply": "POST", "/openapi.json": "GET, HEAD",
	} {
		r := l.call("OPTIONS", path, "")
		if r.problem(405, "method_unknown", allow); r.header.Get("Allow") != allow {
			t.Errorf("%s: Allow %q, want %q", path, r.header.Get("Allow"), allow)
		}
	}
	l.call("GET", "/v1/apis/..%2f", "").problem(404, "not_found", "")
	l.call("GET", "/v1/apis/%2e%2e", "").problem(404, "not_found", `there is no API ".."`)
	l.call("GET", "/v1/apis/"+strings.Repeat("x", 600), "").problem(422, "invalid", "path.name")
	l.call("GET", "/v1/apis?limit=%zz", "").problem(400, "bad_query", "")
	l.call("GET", "/v1/apis?after=%ff", "").problem(422, "invalid", "query")
	l.call("GET", "/v1/apis?after=a%00", "").problem(422, "invalid", "query")
	if r := l.call("HEAD", "/v1/apis", "").is(200); len(r.body) != 0 {
		t.Errorf("HEAD: %s", r.body)
	}
}

// The document is valid, and has every path.
func TestTheOpenAPIDocument(t *testing.T) {
	o := open(t)
	l := o.socket()
	r := l.call("GET", "/openapi.json", "").is(200)
	if r.header.Get("Content-Type") != "application/openapi+json" || !bytes.Equal(r.body, o.server.OpenAPI()) {
		t.Errorf("served %d bytes of %s", len(r.body), r.header.Get("Content-Type"))
	}
	if !strings.Contains(string(l.call("GET", "/openapi.yaml", "").is(200).body), "openapi: 3.1.0") {
		t.Error("the document as YAML is another one")
	}
	document, err := openapi3.NewLoader().LoadFromData(r.body)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(context.Background()); err != nil {
		t.Errorf("the document is not valid: %v", err)
	}
	var want, got []string
	for _, route := range o.server.Routes() {
		if !strings.HasPrefix(route.Path, "/openapi") {
			want = append(want, route.Method+" "+route.Path)
		}
	}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			got = append(got, method+" "+path)
			if operation.Summary == "" || operation.Responses.Default() == nil || len(operation.Tags) != 1 {
				t.Errorf("%s %s says too little of itself", method, path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-served +described):\n%s", diff)
	}
	// Bodies are described by the catalog's own schema.
	for path, schema := range map[string]string{"/v1/apis": "catalog.api", "/v1/apis/{api}/operations": "catalog.operation", "/v1/developers": "catalog.developer"} {
		body := document.Paths.Value(path).Post.RequestBody.Value.Content["application/json"].Schema
		if body.Ref != "#/components/schemas/"+schema || body.Value.Properties["name"] == nil {
			t.Errorf("%s is described by %q", path, body.Ref)
		}
	}
}

func TestAStoreThatCannotBeWritten(t *testing.T) {
	o := open(t)
	l := o.socket()
	other, err := sql.Open("sqlite", filepath.Join(o.dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	for _, statement := range []string{"PRAGMA busy_timeout = 5000", "BEGIN IMMEDIATE"} {
		if _, err := other.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, header := range [][]string{nil, {"Idempotency-Key", "a"}} {
		r := l.call("POST", "/v1/groups", `{"name": "A"}`, header...)
		if r.problem(503, "unavailable", "log says why"); r.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	l.call("GET", "/v1/groups", "").is(200)
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	l.call("POST", "/v1/groups", `{"name": "A"}`, "Idempotency-Key", "a").is(201)
	if !strings.Contains(o.log.String(), "answering an administrator") {
		t.Errorf("the log lacks it:\n%s", o.log)
	}
}

// failing panics, or fails in a way that nobody foresaw.
type failing struct {
	admin.Store
	err error
}

func (f failing) Objects(context.Context, store.Kind, string, int) ([]store.Object, error) {
	if f.err == nil {
		panic("secret")
	}
	return nil, f.err
}

func TestFailuresOfOurOwn(t *testing.T) {
	o := open(t)
	token := o.issue("reader", time.Time{})
	config := o.config
	config.Reader = failing{Store: o.store}
	o.server = admin.New(config)
	request, err := http.NewRequest("GET", o.listen()+"/v1/apis", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if response, err := http.DefaultClient.Do(request); err == nil {
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		t.Errorf("a panic is answered: %s %s", response.Status, text)
	}
	if log := o.log.String(); !strings.Contains(log, "msg=panic path=/v1/apis panic=string") || strings.Contains(log, "secret") {
		t.Errorf("the log:\n%s", log)
	}
	config.Reader = failing{o.store, fmt.Errorf("secret mistake")}
	o.server = admin.New(config)
	l := line{t, http.DefaultClient, o.listen(), token}
	l.call("GET", "/v1/apis", "").problem(500, "internal", "its log says why")
}

func TestTheClient(t *testing.T) {
	o := open(t)
	o.socket().call("POST", "/v1/apis", echo).is(201)
	base, token := o.listen(), o.issue("administrator", time.Time{})
	for name, tc := range map[string]struct {
		server string
		o      admin.Options
	}{
		"socket": {"unix:" + filepath.Join(o.dir, "admin.sock"), admin.Options{}},
		"TCP":    {base + "/", admin.Options{Token: token}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := admin.NewClient(tc.server, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			call := func(r admin.Request) (admin.Object, http.Header, error) {
				return admin.Call[admin.Object](t.Context(), c, r)
			}
			group, header, err := call(admin.Request{Path: admin.Path("groups"), Body: map[string]string{"name": "A/B"}, IdempotencyKey: "a"})
			if err != nil || group.Name != "A/B" || header.Get("Location") != admin.Path("groups", "A/B") {
				t.Fatalf("made %+v, %v, %v", group, header, err)
			}
			at := admin.Path("groups", "A/B")
			if group, _, err = call(admin.Request{Method: "PUT", Path: at, Body: json.RawMessage(`{"name": "A/B", "description": "d"}`), Match: group.Revision}); err != nil || group.Revision == 0 {
				t.Errorf("changed: %+v, %v", group, err)
			}
			var p *admin.Problem
			if _, _, err = call(admin.Request{Method: "PUT", Path: at, Body: []byte(`{"name": "A/B"}`), CreateOnly: true}); !asProblem(err, &p) || p.Status != 412 {
				t.Errorf("made again: %v", err)
			}
			text, _, err := admin.Call[[]byte](t.Context(), c, admin.Request{Path: admin.Path("catalog"), Accept: "application/yaml"})
			if err != nil || !bytes.Contains(text, []byte("- name: A/B\n")) {
				t.Errorf("exported %s, %v", text, err)
			}
			if _, _, err := admin.Call[struct{}](t.Context(), c, admin.Request{Method: "DELETE", Path: at, Match: group.Revision}); err != nil {
				t.Errorf("deleting: %v", err)
			}
			body, _, err := c.Stream(t.Context(), admin.Request{Method: "POST", Path: admin.Path("backup")})
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if n, err := io.Copy(io.Discard, body); err != nil || n == 0 {
				t.Errorf("a backup of %d bytes: %v", n, err)
			}
			if _, _, err := call(admin.Request{Path: admin.Path("groups", "..")}); !asProblem(err, &p) || p.Code != "not_found" {
				t.Errorf("a name of dots: %v", err)
			}
		})
	}
	for _, server := range []string{"", "ftp://host", "/path", "http://", "https://user:secret@host", "http://host?x", "host:80"} {
		if _, err := admin.NewClient(server, admin.Options{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("server %q: %v", server, err)
		}
	}
	if _, err := admin.NewClient(base, admin.Options{CA: filepath.Join(o.dir, "s.db")}); err == nil {
		t.Error("a CA that is none is taken")
	}
	c, err := admin.NewClient(base, admin.Options{Token: "tga_wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = admin.Call[struct{}](t.Context(), c, admin.Request{Path: admin.Path("apis")}); err == nil || strings.Contains(err.Error(), "tga_") {
		t.Errorf("with a wrong token: %v", err)
	}
}

// docs/api.md has every path, and every code of a problem.
func TestTheReferenceIsComplete(t *testing.T) {
	o := open(t)
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	reference := string(text)
	for _, r := range o.server.Routes() {
		path, _, _ := strings.Cut(r.Path, "/{")
		last := r.Path[strings.LastIndex(r.Path, "/")+1:]
		if !strings.Contains(reference, path) || !strings.Contains(last, "{") && !strings.Contains(reference, last) {
			t.Errorf("%s %s is not in it", r.Method, r.Path)
		}
	}
	code := regexp.MustCompile(`(?:problem\(http\.Status\w+, |bad\(|Code: |missing\(|unknownSubscription\(ctx, )"([a-z]+(?:_[a-z]+)*)"`)
	codes := 0
	for _, pattern := range []string{"*.go", "../store/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range code.FindAllSubmatch(source, -1) {
				if codes++; !strings.HasSuffix(file, "_test.go") && !strings.Contains(reference, "`"+string(m[1])+"`") {
					t.Errorf("%s: the code %s is not in it", file, m[1])
				}
			}
		}
	}
	if codes < 30 {
		t.Errorf("only %d codes were found in the source", codes)
	}
}
