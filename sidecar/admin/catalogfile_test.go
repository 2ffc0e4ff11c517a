package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/sidecar/admin"
)

const part = `# what the team adds
groups:
  - name: Team
products:
  - {name: Team, apis: [Demo], groups: [Team]}
developers:
  - {email: t@example.org, groups: [Team]}
subscriptions:
  - {name: team, developer: t@example.org, product: Team, primary_key: {sha256: "%064d"}}
`

func TestApply(t *testing.T) {
	o := open(t)
	l := o.socket()
	file := fmt.Sprintf(part, 1)
	apply := func(query, file string) reply {
		t.Helper()
		return l.call("POST", "/v1/catalog/apply?source=team.yaml"+query, file, "Content-Type", "application/yaml")
	}
	short := func(p admin.Plan) (list []string) {
		for _, c := range p.Changes {
			list = append(list, c.Action+" "+c.Kind+" "+c.Name)
		}
		return list
	}
	want := []string{"create group Team", "create product Team", "create developer t@example.org", "create subscription team"}
	dry := read[admin.Plan](apply("&dry_run=true", file), 200)
	if diff := cmp.Diff(want, short(dry), cmpopts.SortSlices(strings.Compare)); diff != "" || !dry.DryRun || len(dry.Kept) != 0 {
		t.Errorf("dry (-want +got):\n%s%+v", diff, dry)
	}
	l.call("GET", "/v1/products/Team", "").is(404)
	real := read[admin.Plan](apply("", file), 200)
	dry.DryRun = false
	if diff := cmp.Diff(dry, real); diff != "" {
		t.Errorf("(-dry +real):\n%s", diff)
	}
	if got := read[admin.Object](l.call("GET", "/v1/products/Team", ""), 200); got.Source != "file:team.yaml" {
		t.Errorf("applied: %+v", got)
	}
	if again := read[admin.Plan](apply("", file), 200); len(again.Changes)+len(again.Kept) != 0 {
		t.Errorf("applied twice: %+v", again)
	}
	entry := read[admin.List[admin.AuditEntry]](l.call("GET", "/v1/audit?kind=product&limit=1", ""), 200).Items[0]
	if entry.Actor != self(t) || entry.Origin != "socket" || entry.Name != "Team" {
		t.Errorf("audited: %+v", entry)
	}

	// What others manage is in the way, unless one says what becomes of it.
	const demo = `{"products": [{"name": "Team", "apis": []}], "developers": [{"email": "a@example.org", "name": "A"}]}`
	other := func(query string) reply {
		t.Helper()
		return l.call("POST", "/v1/catalog/apply?source=other.json"+query, demo)
	}
	refused := other("").problem(409, "managed_elsewhere", "1 more")
	if len(refused.Errors) != 2 {
		t.Errorf("in the way: %+v", refused.Errors)
	}
	other("&conflicts=refuse").problem(409, "managed_elsewhere", "")
	kept := read[admin.Plan](other("&conflicts=keep"), 200)
	if diff := cmp.Diff([]admin.Kept{{Kind: "developer", Name: "a@example.org", Source: "file:people.yaml"}, {Kind: "product", Name: "Team", Source: "file:team.yaml"}},
		kept.Kept, cmpopts.SortSlices(func(a, b admin.Kept) bool { return a.Name > b.Name })); diff != "" || len(kept.Changes) != 0 {
		t.Errorf("kept (-want +got):\n%s%+v", diff, kept.Changes)
	}
	read[admin.Plan](other("&conflicts=take_over"), 200)
	if got := read[admin.Object](l.call("GET", "/v1/products/Team", ""), 200); got.Source != "file:other.json" {
		t.Errorf("taken over: %+v", got)
	}
}

// What a file dropped is deleted on demand alone.
func TestPrune(t *testing.T) {
	l := open(t).socket()
	apply := func(query, file string) admin.Plan {
		t.Helper()
		return read[admin.Plan](l.call("POST", "/v1/catalog/apply?source=groups.yaml"+query, file, "Content-Type", "application/yaml"), 200)
	}
	names := func(changes []admin.PlannedChange) (list []string) {
		for _, c := range changes {
			list = append(list, c.Action+" "+c.Kind+" "+c.Name+" "+string(c.Before))
		}
		return list
	}
	apply("", "groups: [{name: A}, {name: B}]")
	dropped := []string{`delete group B {"name":"B"}`}
	for _, query := range []string{"&dry_run=true", "", "&prune=false"} {
		plan := apply(query, "groups: [{name: A}]")
		if diff := cmp.Diff(dropped, names(plan.Unpruned)); diff != "" || len(plan.Changes) != 0 {
			t.Errorf("%q: %+v (-want +unpruned):\n%s", query, plan.Changes, diff)
		}
	}
	for _, query := range []string{"&prune=true&dry_run=true", "&prune=true"} {
		l.call("GET", "/v1/groups/B", "").is(200)
		plan := apply(query, "groups: [{name: A}]")
		if diff := cmp.Diff(dropped, names(plan.Changes)); diff != "" || len(plan.Unpruned) != 0 {
			t.Errorf("%q: %+v (-want +changes):\n%s", query, plan.Unpruned, diff)
		}
	}
	l.call("GET", "/v1/groups/B", "").is(404)
}

// Only an administrator names a backend's secret, or moves the backend that gets one.
func TestPublishersNameNoSecrets(t *testing.T) {
	o := open(t)
	boss := o.socket()
	publisher := line{t, http.DefaultClient, o.listen(), o.issue("publisher", time.Time{})}
	const only = "only an administrator"
	api := func(name, host, key string) string {
		backend := fmt.Sprintf(`{"url": "https://%s.example.org"}`, host)
		if key != "" {
			backend = fmt.Sprintf(`{"url": "https://%s.example.org", "authorization": "inject", "key": {"env": %q}}`, host, key)
		}
		return fmt.Sprintf(`{"name": %q, "suffix": %q, "backend": %s, "operations": [{"name": "Call", "method": "GET", "template": "/call"}]}`, name, strings.ToLower(name), backend)
	}
	publisher.call("POST", "/v1/apis", api("Open", "open", "")).is(201)
	publisher.call("PUT", "/v1/apis/Open", api("Open", "elsewhere", "")).is(200)
	publisher.call("PUT", "/v1/apis/Open", api("Open", "elsewhere", "TOLLGATE_SECRET_A")).field("backend.key", only)
	publisher.call("POST", "/v1/apis", api("Shut", "shut", "TOLLGATE_SECRET_A")).field("backend.key", only)
	boss.call("POST", "/v1/apis", api("Shut", "shut", "TOLLGATE_SECRET_A")).is(201)
	publisher.call("PUT", "/v1/apis/Shut", api("Shut", "thief", "TOLLGATE_SECRET_A")).field("backend.key", only)
	publisher.call("PUT", "/v1/apis/Shut", api("Shut", "shut", "TOLLGATE_SECRET_B")).field("backend.key", only)
	publisher.call("PUT", "/v1/apis/Shut", strings.Replace(api("Shut", "shut", "TOLLGATE_SECRET_A"), `"/call"`, `"/other"`, 1)).is(200)
	publisher.call("POST", "/v1/apis/Shut/operations", `{"name": "More", "method": "GET", "template": "/more"}`).is(201)
	file := func(l line, apis string) reply {
		return l.call("POST", "/v1/catalog/apply?source=x.json&conflicts=take_over", `{"apis": [`+apis+`]}`)
	}
	file(publisher, api("Shut", "thief", "TOLLGATE_SECRET_A")).field("apis[0].backend.key", only)
	file(publisher, api("New", "new", "TOLLGATE_SECRET_A")).field("apis[0].backend.key", only)
	file(publisher, api("Shut", "shut", "TOLLGATE_SECRET_A")).is(200)
	file(boss, api("Shut", "moved", "TOLLGATE_SECRET_B")).is(200)
}

func TestFilesThatAreNotApplied(t *testing.T) {
	o := open(t)
	l := o.socket()
	apply := func(query, kind, file string) reply {
		t.Helper()
		return l.call("POST", "/v1/catalog/apply?"+query, file, "Content-Type", kind)
	}
	yes := "application/yaml"
	p := apply("source=x.yaml", yes, "products:\n  - name: P\n    apis: [Nothing]\n    prise: 1\n").problem(422, "invalid", "")
	if len(p.Errors) != 2 || p.Errors[1].Field != "products[0].prise" || p.Errors[1].Line != 4 {
		t.Errorf("mistakes: %+v", p.Errors)
	}
	apply("source=x.yaml", yes, "products:\n  - {name: P, apis: [Nothing]}\n").field("products[0].apis[0]", "Nothing")
	apply("source=x.yaml", yes, "products: [\n").problem(422, "invalid", "not YAML")
	apply("source=x.yaml", yes, "").problem(400, "body_missing", "")
	apply("source=x.json", "application/json", "{").problem(400, "bad_json", "")
	apply("source=x.yaml", "text/html", "a: b").problem(415, "content_type", "application/yaml or application/json")
	apply("", yes, "a: b").problem(422, "invalid", "query.source")
	apply("source=x.yaml&conflicts=fight", yes, "a: b").problem(422, "invalid", "query.conflicts")
	apply("source=x.yaml&dry_run=maybe", yes, "a: b").problem(422, "invalid", "query.dry_run")
	for _, source := range []string{"a/b.yaml", "..", ".", "a%5Cb", "a%0Ab", "a%7Fb", "%2F"} {
		apply("source="+source, yes, "groups: []").field("query.source", "without folders")
	}
	// A key's place is on the machine of who applies, not on the sidecar's.
	for _, place := range []string{"env: HOME", "file: /etc/passwd"} {
		apply("source=x.yaml", yes, "subscriptions:\n  - {name: s, developer: a@example.org, api: Demo, secondary_key: {"+place+"}}\n").
			field("subscriptions[0].secondary_key", "sha256")
	}
	large := apply("source=x.yaml", yes, "# "+strings.Repeat("x", 2<<20)+"\ngroups: []\n")
	large.is(200)
	apply("source=x.yaml", yes, strings.Repeat("#\n", 9<<20)).problem(413, "too_large", "16777216")
}

func TestExport(t *testing.T) {
	o := open(t)
	l := o.socket()
	l.call("POST", "/v1/groups", `{"name": "no"}`).is(201) // which YAML must not read as false
	l.call("POST", "/v1/catalog/apply?source=team.yaml", fmt.Sprintf(part, 7), "Content-Type", "application/yaml").is(200)
	asJSON, asYAML := map[string]any{}, map[string]any{}
	if err := json.Unmarshal(l.call("GET", "/v1/catalog", "").is(200).body, &asJSON); err != nil {
		t.Fatal(err)
	}
	text := l.call("GET", "/v1/catalog", "", "Accept", "application/json;q=0.5, application/yaml").is(200)
	if err := yaml.Unmarshal(text.body, &asYAML); err != nil || text.header.Get("Content-Type") != "application/yaml" {
		t.Fatalf("%s: %v", text.header.Get("Content-Type"), err)
	}
	if diff := cmp.Diff(asJSON, asYAML); diff != "" {
		t.Errorf("(-JSON +YAML):\n%s", diff)
	}
	digest := fmt.Sprintf("%064d", 7)
	if !strings.Contains(string(text.body), digest) || !strings.Contains(string(text.body), "\n  - name: \"no\"\n") {
		t.Errorf("export:\n%s", text.body)
	}
	// A new store takes it, and exports the same.
	other := bare(t).socket()
	other.call("POST", "/v1/catalog/apply?source=all.yaml", string(text.body), "Content-Type", "application/yaml").is(200)
	if diff := cmp.Diff(string(text.body), string(other.call("GET", "/v1/catalog", "", "Accept", "application/yaml").is(200).body)); diff != "" {
		t.Errorf("(-one store +another):\n%s", diff)
	}
	// Who may not write does not see what a weak key could be guessed from.
	for role, sees := range map[string]bool{"publisher": true, "auditor": false, "reader": false} {
		l := line{t, http.DefaultClient, o.listen(), o.issue(role, time.Time{})}
		if got := strings.Contains(string(l.call("GET", "/v1/catalog", "").is(200).body), digest); got != sees {
			t.Errorf("a %s sees digests: %v", role, got)
		}
	}
}
