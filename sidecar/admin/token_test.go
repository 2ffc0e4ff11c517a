package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/store"
)

// rules are who may do what: a path that is not among them fails the test.
var rules = map[string][]string{
	all("GET", "/v1/organization", "/v1/apis", "/v1/apis/{name}", "/v1/products", "/v1/products/{name}", "/v1/groups", "/v1/groups/{name}",
		"/v1/developers", "/v1/developers/{name}", "/v1/apis/{api}/operations", "/v1/apis/{api}/operations/{operation}",
		"/v1/subscriptions", "/v1/subscriptions/{subscription}", "/v1/limits", "/v1/limits/adjustments", "/v1/limits/events",
		"/v1/usage", "/v1/catalog", "/openapi.json", "/openapi.yaml"): {"administrator", "publisher", "auditor", "reader"},
	all("PUT", "/v1/organization", "/v1/apis/{name}", "/v1/products/{name}", "/v1/groups/{name}", "/v1/developers/{name}",
		"/v1/apis/{api}/operations/{operation}"): {"administrator", "publisher"},
	all("POST", "/v1/apis", "/v1/products", "/v1/groups", "/v1/developers", "/v1/apis/{api}/operations", "/v1/subscriptions",
		"/v1/subscriptions/{subscription}/approve", "/v1/subscriptions/{subscription}/reject", "/v1/subscriptions/{subscription}/suspend",
		"/v1/subscriptions/{subscription}/resume", "/v1/subscriptions/{subscription}/cancel", "/v1/subscriptions/{subscription}/keys/show-once",
		"/v1/subscriptions/{subscription}/keys/{slot}/regenerate", "/v1/limits/reset", "/v1/limits/raise", "/v1/catalog/apply"): {"administrator", "publisher"},
	all("PATCH", "/v1/subscriptions/{subscription}"): {"administrator", "publisher"},
	all("DELETE", "/v1/apis/{name}", "/v1/products/{name}", "/v1/groups/{name}", "/v1/developers/{name}", "/v1/apis/{api}/operations/{operation}",
		"/v1/subscriptions/{subscription}", "/v1/subscriptions/{subscription}/keys/{slot}"): {"administrator", "publisher"},
	all("GET", "/v1/audit", "/v1/audit/verify", "/v1/tokens"): {"administrator", "auditor"},
	all("POST", "/v1/tokens", "/v1/backup"):                   {"administrator"},
	all("DELETE", "/v1/tokens/{name}"):                        {"administrator"},
}

func all(method string, paths ...string) string {
	return method + " " + strings.Join(paths, "\n"+method+" ")
}

func TestWhoMayDoWhat(t *testing.T) {
	o := open(t)
	may := map[string][]string{}
	for routes, roles := range rules {
		for route := range strings.SplitSeq(routes, "\n") {
			may[route] = roles
		}
	}
	registered := map[string]bool{}
	for _, r := range o.server.Routes() {
		registered[r.Method+" "+r.Path] = true
		if may[r.Method+" "+r.Path] == nil {
			t.Errorf("%s %s: no rule says who may", r.Method, r.Path)
		}
	}
	base := o.listen()
	some := strings.NewReplacer("{name}", "nothing", "{api}", "nothing", "{operation}", "nothing", "{subscription}", "nothing", "{slot}", "primary")
	for _, role := range store.Roles {
		l := line{t, http.DefaultClient, base, o.issue(role, time.Time{})}
		for route, roles := range may {
			if !registered[route] {
				t.Errorf("%s: there is no such path", route)
			}
			method, path, _ := strings.Cut(route, " ")
			body := ""
			if method != "GET" && method != "DELETE" {
				body = "{}"
			}
			r := l.call(method, some.Replace(path), body)
			allowed := false
			for _, one := range roles {
				allowed = allowed || one == role
			}
			switch {
			case !allowed:
				r.problem(403, "forbidden", "the role "+role)
			case r.status == 403 || r.status >= 500:
				t.Errorf("%s: %s: %d %s", role, route, r.status, r.body)
			}
		}
	}
	for _, role := range []string{"", "root", "Administrator"} {
		if admin.May(role, admin.RightRead) {
			t.Errorf("the role %q may read", role)
		}
	}
}

func TestWhoIsNotKnown(t *testing.T) {
	o := open(t)
	base := o.listen()
	good := o.issue("reader", time.Time{})
	expired := o.issue("auditor", time.Now().Add(time.Second))
	revoked := o.issue("publisher", time.Time{})
	if err := o.store.RevokeToken(t.Context(), "publishers", store.Write{}); err != nil {
		t.Fatal(err)
	}
	l := line{t, http.DefaultClient, base, ""}
	for l.token = expired; ; { // until it has expired
		if r := l.call("GET", "/v1/apis", ""); r.status != 200 {
			break
		}
	}
	for name, header := range map[string][]string{
		"nothing":     nil,
		"expired":     {"Authorization", "Bearer " + expired},
		"revoked":     {"Authorization", "Bearer " + revoked},
		"never was":   {"Authorization", "Bearer " + apikey.NewToken(make([]byte, apikey.RandomSize))},
		"a key":       {"Authorization", "Bearer " + apikey.New(make([]byte, apikey.RandomSize))},
		"empty":       {"Authorization", "Bearer "},
		"basic":       {"Authorization", "Basic " + good},
		"the token":   {"Authorization", good},
		"bytes":       {"Authorization", "Bearer \xff\xfe"},
		"in a cookie": {"Cookie", "token=" + good},
	} {
		l := line{t, http.DefaultClient, base, ""}
		r := l.call("GET", "/v1/nothing", "", header...)
		if p := r.problem(401, "unauthenticated", "token"); r.header.Get("WWW-Authenticate") != `Bearer realm="tollgate"` {
			t.Errorf("%s: %+v, WWW-Authenticate %q", name, p, r.header.Get("WWW-Authenticate"))
		}
		o.server = admin.New(o.config) // each has its own bound of failures
		base = o.listen()
	}
	l = line{t, http.DefaultClient, base, ""}
	l.call("GET", "/v1/apis", "", "Authorization", "bearer "+good).is(200)
	l.token = good
	l.call("GET", "/v1/apis?token="+good, "").problem(422, "invalid", "query.token")
	for _, secret := range []string{good, expired, revoked} {
		if strings.Contains(o.log.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

// Who tries tokens gets few answers, and keeps nobody out.
func TestFailuresAreBounded(t *testing.T) {
	o := open(t)
	good := o.issue("reader", time.Time{})
	l := line{t, http.DefaultClient, o.listen(), ""}
	statuses, start := map[int]int{}, time.Now()
	for i := range 1000 {
		r := l.call("GET", "/v1/apis", "", "Authorization", "Bearer tga_wrong")
		statuses[r.status]++
		if r.status == 429 && r.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		if i%100 == 0 {
			l.call("GET", "/v1/apis", "", "Authorization", "Bearer "+good).is(200)
		}
	}
	if took := time.Since(start).Seconds() + 1; statuses[401] < 100 || float64(statuses[401]) > 100+50*took || statuses[401]+statuses[429] != 1000 {
		t.Errorf("statuses %v", statuses)
	}
	if n := strings.Count(o.log.String(), "were not known"); n != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", n, o.log)
	}
}

func TestTokens(t *testing.T) {
	o := open(t)
	l := o.socket()
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	made := read[admin.IssuedToken](l.call("POST", "/v1/tokens", `{"name": "ci", "role": "publisher", "expires_at": "`+later.Format(time.RFC3339)+`"}`), 201)
	if made.Name != "ci" || made.Role != "publisher" || made.Expires == nil || !made.Expires.Equal(later) || !apikey.TokenWellFormed(made.Clear) {
		t.Errorf("made %+v", made)
	}
	l.call("POST", "/v1/tokens", `{"name": "ci", "role": "reader"}`).problem(409, "exists", `"ci" already`)
	l.call("POST", "/v1/tokens", `{"name": "c i", "role": "reader"}`).field("name", "")
	l.call("POST", "/v1/tokens", `{"name": "x", "role": "root"}`).field("role", "administrator")
	l.call("POST", "/v1/tokens", `{"name": "x", "role": "reader", "expires_at": "2001-01-01T00:00:00Z"}`).field("expires_at", "future")
	l.call("POST", "/v1/tokens", `{"role": "reader"}`).field("", "name")

	ci := line{t, http.DefaultClient, o.listen(), made.Clear}
	ci.call("POST", "/v1/groups", `{"name": "By CI"}`).is(201)
	entry := read[admin.List[admin.AuditEntry]](l.call("GET", "/v1/audit?limit=1", ""), 200).Items[0]
	if entry.Actor != "token:ci" || entry.Origin != "127.0.0.1" || entry.Action != "group.create" || entry.Name != "By CI" {
		t.Errorf("audited: %+v", entry)
	}
	list := read[admin.List[admin.Token]](l.call("GET", "/v1/tokens", ""), 200)
	if len(list.Items) != 1 || list.Items[0].Used == nil || cmp.Diff(made.Created, list.Items[0].Created) != "" {
		t.Errorf("tokens: %+v", list)
	}
	l.call("DELETE", "/v1/tokens/ki", "").problem(404, "not_found", `did you mean "ci"?`)
	l.call("DELETE", "/v1/tokens/ci", "").is(204)
	ci.call("GET", "/v1/groups", "").problem(401, "unauthenticated", "")
	l.call("DELETE", "/v1/tokens/ci", "").problem(404, "not_found", "")
	everywhere := o.log.String() + string(l.call("GET", "/v1/audit?limit=1000", "").body) + string(l.call("GET", "/v1/tokens", "").body)
	if strings.Contains(everywhere, made.Clear) {
		t.Error("the token is shown again")
	}
}

// A page in an administrator's browser may not use the API, whatever the browser adds.
func TestPagesOfOtherOrigins(t *testing.T) {
	o := open(t)
	l := line{t, http.DefaultClient, o.listen(), o.issue("administrator", time.Time{})}
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example.org"}} {
		l.call("POST", "/v1/groups", `{"name": "Evil"}`, header...).problem(403, "cross_origin", "")
	}
	r := l.call("GET", "/v1/groups", "", "Origin", "https://evil.example.org").is(200)
	if r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("another origin may read the answer")
	}
	l.call("POST", "/v1/groups", `{"name": "Good"}`, "Sec-Fetch-Site", "same-origin").is(201)
}
