package policy_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
)

// folder writes files, named by their paths, into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	return dir
}

func put(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func demoCatalog() map[string]any {
	return policy.CatalogData(&catalog.Catalog{
		APIs: []catalog.API{
			{Name: "orders", Suffix: "orders", Tags: []string{"demo"}, SubscriptionRequired: true, Backend: catalog.Backend{URL: "http://192.0.2.1"}, Operations: []catalog.Operation{{Name: "list", Method: "GET", Template: "/orders"}}},
			{Name: "status", Suffix: "status"},
		},
		Products:   []catalog.Product{{Name: "Starter", APIs: []string{"orders"}, SubscriptionRequired: true}},
		Developers: []catalog.Developer{{Email: "a@example.com", Groups: []string{"testers", "admins"}}, {Email: "b@example.com", Groups: []string{"admins"}}},
	})
}

func engine(t testing.TB, config policy.Config) *policy.Engine {
	t.Helper()
	if config.Catalog == nil {
		config.Catalog = demoCatalog()
	}
	config.Log = slog.New(slog.DiscardHandler)
	// A loaded machine may take its time; the deadline has a test of its own.
	config.Timeout = max(config.Timeout, 5*time.Second)
	e, err := policy.Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// author is an engine with one file of an author's.
func author(t testing.TB, text string) *policy.Engine {
	t.Helper()
	return engine(t, policy.Config{Dir: folder(t, map[string]string{"own.rego": text})})
}

func text(s string) *string { return &s }

// ask is an allowed request; change makes another of it.
func ask(change func(*policy.Input)) policy.Input {
	in := policy.Input{
		API:       policy.API{Name: "orders", Suffix: "orders", Tags: []string{"demo"}},
		Operation: policy.Operation{Name: "list", Method: "GET", Template: "/"},
		Product:   &policy.Product{Name: "Starter"},
		Subscription: &policy.Subscription{
			ID: 42, Name: "demo", State: "active", Scope: policy.Scope{Kind: "product", Name: "Starter"},
			StartedAt:  time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
			Attributes: map[string]string{"tier": "gold"},
			Developer:  policy.Developer{Email: "a@example.com", Name: "A", Groups: []string{"testers"}},
		},
		Request: wire.Request{Method: text("GET"), Path: text("/"), Headers: map[string][]string{"x-plan": {"gold"}}},
		Gateway: policy.Gateway{Name: "gw", Region: "here"},
	}
	if change != nil {
		change(&in)
	}
	return in
}

func decide(t testing.TB, e *policy.Engine, in policy.Input) policy.Decision {
	t.Helper()
	decision, err := e.Decide(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return decision
}

func TestDecideByDefault(t *testing.T) {
	other := uint32(7)
	expiry := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	deny := func(status int, reasons ...string) policy.Decision {
		return policy.Decision{Reasons: reasons, Status: status, TTL: 30 * time.Second}
	}
	tests := map[string]struct {
		change func(*policy.Input)
		want   policy.Decision
	}{
		"active":             {nil, policy.Decision{Allow: true, TTL: 30 * time.Second}},
		"expires later":      {func(in *policy.Input) { in.Subscription.ExpiresAt = expiry }, policy.Decision{Allow: true, TTL: 30 * time.Second, ValidUntil: expiry}},
		"expires never ever": {func(in *policy.Input) { in.Subscription.ExpiresAt = expiry.AddDate(7000, 0, 0) }, policy.Decision{Allow: true, TTL: 30 * time.Second, ValidUntil: expiry.AddDate(7000, 0, 0)}},
		"expired": {func(in *policy.Input) {
			in.Subscription.State, in.Subscription.ExpiresAt = "expired", expiry
		}, deny(401, "subscription_expired")},
		"suspended":     {func(in *policy.Input) { in.Subscription.State = "suspended" }, deny(401, "subscription_not_active")},
		"other scope":   {func(in *policy.Input) { in.Subscription.Scope = policy.Scope{Kind: "api", Name: "status"} }, deny(401, "scope_mismatch")},
		"all APIs":      {func(in *policy.Input) { in.Subscription.Scope = policy.Scope{Kind: "all_apis"} }, policy.Decision{Allow: true, TTL: 30 * time.Second}},
		"keyless":       {func(in *policy.Input) { in.Subscription = nil }, deny(401, "subscription_required")},
		"keyless, open": {func(in *policy.Input) { in.Subscription, in.Product, in.API.Name = nil, nil, "status" }, policy.Decision{Allow: true, TTL: 30 * time.Second}},
		"own job": {func(in *policy.Input) {
			in.Resource = &policy.Resource{Kind: "job", ID: "1", Owner: &in.Subscription.ID}
		}, policy.Decision{Allow: true, TTL: 30 * time.Second}},
		"another's job": {func(in *policy.Input) { in.Resource = &policy.Resource{Kind: "job", ID: "1", Owner: &other} }, deny(404, "job_not_found")},
		"nobody's job":  {func(in *policy.Input) { in.Resource = &policy.Resource{Kind: "job", ID: "1"} }, policy.Decision{Reasons: []string{"job_not_found"}, Status: 404}},
		"two denials": {func(in *policy.Input) {
			in.Subscription.State, in.Resource = "suspended", &policy.Resource{Kind: "job", ID: "1", Owner: &other}
		}, deny(401, "job_not_found", "subscription_not_active")},
		"an empty ask":    {func(in *policy.Input) { *in = policy.Input{} }, deny(401, "subscription_required")},
		"odd kind of job": {func(in *policy.Input) { in.Resource = &policy.Resource{Kind: "Job!", ID: "1", Owner: &other} }, policy.Decision{}},
	}
	e := engine(t, policy.Config{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := e.Decide(context.Background(), ask(test.change))
			if cmp.Equal(test.want, policy.Decision{}) {
				if code(err) != policy.CodeType {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Policy = e.Policy().Revision
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func code(err error) string {
	var found *policy.Error
	if errors.As(err, &found) {
		return found.Code
	}
	return ""
}

const access = "package tollgate.access\n\n"

func TestAuthorsRules(t *testing.T) {
	const minute = time.Minute
	tests := map[string]struct {
		rego string
		want policy.Decision
	}{
		"a plain reason":        {access + `deny contains "closed"`, policy.Decision{Reasons: []string{"closed"}, Status: 403, TTL: minute / 2}},
		"a status and text":     {access + `deny contains {"reason": "closed", "status": 503, "message": "later"}`, policy.Decision{Reasons: []string{"closed"}, Status: 503, Message: "later", TTL: minute / 2}},
		"the lowest status":     {access + `deny contains {"reason": "b", "status": 402, "message": "pay"}` + "\n\n" + `deny contains "a"`, policy.Decision{Reasons: []string{"a", "b"}, Status: 402, Message: "pay", TTL: minute / 2}},
		"a longer ttl":          {access + `ttl contains "1m"`, policy.Decision{Allow: true, TTL: minute}},
		"the shortest ttl":      {access + `ttl contains "1m"` + "\n\n" + `ttl contains "2s"`, policy.Decision{Allow: true, TTL: 2 * time.Second}},
		"an instant":            {access + `valid_until contains "2030-01-01T01:00:00+01:00"`, policy.Decision{Allow: true, TTL: minute / 2, ValidUntil: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"the clock":             {access + `deny contains "late" if time.now_ns() < 0`, policy.Decision{Allow: true}},
		"the clock and a bound": {access + `deny contains "late" if time.now_ns() < 0` + "\n\n" + `valid_until contains "2030-01-01T00:00:00Z"`, policy.Decision{Allow: true, TTL: minute / 2, ValidUntil: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"all headers":           {access + `deny contains "many" if count(input.request.headers) > 9`, policy.Decision{Allow: true}},
		"headers": {
			"package tollgate.headers\n\nrequest.set[\"X-Plan\"] := input.subscription.attributes.tier\n\nrequest.remove contains \"x-debug\"\n\nresponse.remove contains name if some name in [\"Server\", \"server\"]\n\nresponse.set[\"x-on\"] := \"1\"\n\nresponse.remove contains \"x-on\"",
			policy.Decision{Allow: true, TTL: minute / 2, Request: wire.Change{Set: map[string]string{"x-plan": "gold"}, Remove: []string{"x-debug"}}, Response: wire.Change{Set: map[string]string{"x-on": "1"}, Remove: []string{"server"}}},
		},
		// What docs/policies.md warns of, and what it says to do instead.
		"undefined behind a not": {access + `deny contains "beta_only" if not "beta" in input.request.query.channel`, policy.Decision{Allow: true, TTL: minute / 2}},
		"a rule behind a not":    {access + "deny contains \"beta_only\" if not _beta\n\n_beta if \"beta\" in input.request.query.channel", policy.Decision{Reasons: []string{"beta_only"}, Status: 403, TTL: minute / 2}},
		"equality behind a not":  {access + `deny contains "beta_only" if not input.request.query.channel[0] == "beta"`, policy.Decision{Reasons: []string{"beta_only"}, Status: 403, TTL: minute / 2}},
		"input as documented": {access + `deny contains "wrong" if {
	expected := {
		"api": {"name": "orders", "suffix": "orders", "tags": ["demo"]},
		"operation": {"name": "list", "method": "GET", "template": "/"},
		"product": {"name": "Starter"},
		"subscription": {
			"id": 42, "name": "demo", "state": "active", "scope": {"kind": "product", "name": "Starter"},
			"started_at": "2026-01-02T03:04:05.678Z", "expires_at": null, "attributes": {"tier": "gold"},
			"developer": {"email": "a@example.com", "name": "A", "groups": ["testers"]},
		},
		"request": {
			"method": "GET", "path": "/", "params": {}, "query": {}, "headers": {"x-plan": ["gold"]}, "jwt": null,
		},
		"resource": null,
		"gateway": {"name": "gw", "region": "here"},
	}
	input != expected
}`, policy.Decision{Allow: true}},
		"the catalog as documented": {access + `deny contains "wrong" if {
	expected := {
		"apis": {
			"orders": {
				"suffix": "orders", "hosts": [], "tags": ["demo"], "backend": "http://192.0.2.1", "subscription_required": true, "limits": [],
				"operations": {"list": {"method": "GET", "template": "/orders", "creates": "", "requires": "", "limits": []}},
			},
			"status": {"suffix": "status", "hosts": [], "tags": [], "backend": "", "subscription_required": false, "limits": [], "operations": {}},
		},
		"products": {"Starter": {"apis": ["orders"], "subscription_required": true, "limits": []}},
		"groups": ["admins", "testers"],
	}
	data.catalog != expected
}`, policy.Decision{Allow: true, TTL: minute / 2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := author(t, test.rego)
			got := decide(t, e, ask(nil))
			got.ValidUntil = got.ValidUntil.UTC()
			test.want.Policy = e.Policy().Revision
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

// A clock that an author's rule reads is not bounded by the subscription's expiry, which
// the base policy returns as valid_until.
func TestExpiryDoesNotBoundAClock(t *testing.T) {
	e := author(t, access+`deny contains "late" if time.now_ns() < 0`)
	expiry := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	got := decide(t, e, ask(func(in *policy.Input) { in.Subscription.ExpiresAt = expiry }))
	if got.TTL != 0 || !got.ValidUntil.Equal(expiry) {
		t.Errorf("kept for %v until %v", got.TTL, got.ValidUntil)
	}
}

// An owner that is not known yet may be known in a moment, whatever a policy says.
func TestAnUnknownOwnerIsNeverKept(t *testing.T) {
	e := engine(t, policy.Config{Dir: folder(t, map[string]string{
		"tollgate/access/access.rego": access + "deny contains \"a\" if input.resource.owner == null\n\nttl contains \"1m\"\n\nvalid_until := set()\n",
	})})
	got := decide(t, e, ask(func(in *policy.Input) { in.Resource = &policy.Resource{Kind: "job", ID: "1"} }))
	if got.TTL != 0 || got.Allow {
		t.Errorf("%+v", got)
	}
}

func TestUnusableDecisions(t *testing.T) {
	const whole = `package tollgate

decision := {"allow": true, "reasons": [], "status": 403, "message": "", "limits": [], "request": {"set": {}, "remove": []}, "response": {"set": {}, "remove": []}, "ttl": "30s", "valid_until": null}
`
	replaced := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	header := func(rule string) map[string]string {
		return map[string]string{"own.rego": "package tollgate.headers\n\n" + rule}
	}
	decision := func(text string) map[string]string { return map[string]string{"tollgate/decision.rego": text} }
	deny := func(rule string) map[string]string { return map[string]string{"own.rego": access + rule} }
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"usable":                    {decision(whole), ""},
		"undefined":                 {decision("package tollgate\n\ndecision := 1 if input.request.path == \"/none\"\n"), policy.CodeUndefined},
		"no rule":                   {decision("package tollgate\n"), policy.CodeUndefined},
		"no object":                 {decision("package tollgate\n\ndecision := true\n"), policy.CodeType},
		"a text for allow":          {decision(replaced(`"allow": true`, `"allow": "true"`)), policy.CodeType},
		"nothing for allow":         {decision(replaced(`"allow": true, `, ``)), policy.CodeType},
		"a field too many":          {decision(replaced(`"allow"`, `"more": 1, "allow"`)), policy.CodeType},
		"a denial without reason":   {decision(replaced(`"allow": true`, `"allow": false`)), policy.CodeType},
		"a reason without denial":   {decision(replaced(`"reasons": []`, `"reasons": ["a"]`)), policy.CodeType},
		"reasons that are no list":  {decision(replaced(`"reasons": []`, `"reasons": "a"`)), policy.CodeType},
		"a status of success":       {decision(strings.NewReplacer(`"allow": true`, `"allow": false`, `"reasons": []`, `"reasons": ["a"]`, "403", "200").Replace(whole)), policy.CodeType},
		"a ttl without unit":        {decision(replaced(`"30s"`, `"30"`)), policy.CodeType},
		"a negative ttl":            {decision(replaced(`"30s"`, `"-30s"`)), policy.CodeType},
		"an instant that is none":   {decision(replaced(`null`, `"tomorrow"`)), policy.CodeType},
		"limits":                    {decision(replaced(`"limits": []`, `"limits": [{"name": "minute"}]`)), policy.CodeType},
		"no limits at all":          {map[string]string{"tollgate/quota/quota.rego": "package tollgate.quota\n"}, policy.CodeUndefined},
		"limits that are no list":   {decision(replaced(`"limits": []`, `"limits": 1`)), policy.CodeType},
		"a change that is none":     {decision(replaced(`{"set": {}, "remove": []}`, `[]`)), policy.CodeType},
		"an unknown change":         {header(`request.append["a"] := "b"`), policy.CodeType},
		"a number for a header":     {header(`request.set["a"] := 1`), policy.CodeType},
		"a line break in a header":  {header(`request.set["a"] := "b\r\nc: d"`), policy.CodeType},
		"a name that is none":       {header(`request.set["a b"] := "c"`), policy.CodeType},
		"a pseudo header":           {header(`request.set[":path"] := "/other"`), policy.CodeType},
		"the upstream":              {header(`request.set["X-Tollgate-Api"] := "other"`), policy.CodeType},
		"the host":                  {header(`request.remove contains "Host"`), policy.CodeType},
		"two spellings":             {header("request.set[\"a\"] := \"b\"\n\nrequest.set[\"A\"] := \"c\""), policy.CodeType},
		"two values for a header":   {header("request.set[\"a\"] := \"b\"\n\nrequest.set[\"a\"] := \"c\""), policy.CodeError},
		"a number for a reason":     {deny(`deny contains 7`), policy.CodeType},
		"a sentence for a reason":   {deny(`deny contains "Not today!"`), policy.CodeType},
		"a long reason":             {deny(`deny contains "` + strings.Repeat("a", 65) + `"`), policy.CodeType},
		"an empty reason":           {deny(`deny contains ""`), policy.CodeType},
		"a misspelt field":          {deny(`deny contains {"reason": "a", "mesage": "b"}`), policy.CodeType},
		"a status out of range":     {deny(`deny contains {"reason": "a", "status": 600}`), policy.CodeType},
		"a contributed ttl":         {deny(`ttl contains "soon"`), policy.CodeError},
		"a contributed instant":     {deny(`valid_until contains "soon"`), policy.CodeError},
		"an argument that is wrong": {deny(`deny contains "a" if to_number(input.subscription.attributes.tier) > 3`), policy.CodeError},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := engine(t, policy.Config{Dir: folder(t, test.files)})
			got, err := e.Decide(context.Background(), ask(nil))
			if code(err) != test.want {
				t.Errorf("decided %+v, %v", got, err)
			}
			if err != nil && !cmp.Equal(got, policy.Decision{}) {
				t.Errorf("a decision beside an error: %+v", got)
			}
		})
	}
}

// counted is a limit with what a client sent in one of its fields.
func counted(field string) string {
	return `package tollgate.quota

limits contains object.union(
	{"name": "a b", "key": "k", "kind": "rate", "amount": 5, "window": "1m"},
	{"` + field + `": input.request.headers["x-plan"][0]},
)`
}

// Errors are logged, so they may not quote what a client sent.
func TestErrorsHoldNoInput(t *testing.T) {
	const planted = "s3cr3t-value"
	for _, rego := range []string{
		access + `deny contains input.request.headers["x-plan"][0]`,
		access + `deny contains "a" if to_number(input.request.headers["x-plan"][0]) > 3`,
		access + `deny contains {"reason": "a", "status": input.request.headers["x-plan"][0]}`,
		access + `valid_until contains input.request.headers["x-plan"][0]`,
		access + "_v := input.request.headers[\"x-plan\"][0]\n\n_v := 1\n\n" + `deny contains "a" if _v == 1`,
		"package tollgate.headers\n\nrequest.set[input.request.headers[\"x-plan\"][0]] := 1",
		counted("kind"), counted("window"), counted("unit"), counted("count"), counted("amount"), counted("start"),
	} {
		e := author(t, rego)
		_, err := e.Decide(context.Background(), ask(func(in *policy.Input) {
			in.Request.Headers = map[string][]string{"x-plan": {planted}}
		}))
		if err == nil || strings.Contains(err.Error(), planted) {
			t.Errorf("%s\ngave %v", rego, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	dir := folder(t, map[string]string{"own.rego": access + `deny contains "slow" if {
	some x in numbers.range(1, 100000)
	some y in numbers.range(1, 100000)
	x * y < 0
}`})
	e, err := policy.Open(context.Background(), policy.Config{Dir: dir, Catalog: demoCatalog(), Timeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Decide(context.Background(), ask(nil)); code(err) != policy.CodeTimeout {
		t.Errorf("after the deadline: %v", err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Decide(gone, ask(nil)); err == nil {
		t.Error("decided for a caller that is gone")
	}
}

func TestForbiddenBuiltins(t *testing.T) {
	for name, call := range map[string]string{
		"http.send":          `http.send({"method": "get", "url": "http://127.0.0.1"})`,
		"opa.runtime":        `opa.runtime()`,
		"net.lookup_ip_addr": `net.lookup_ip_addr("localhost")`,
		"rand.intn":          `rand.intn("a", 2)`,
		"uuid.rfc4122":       `uuid.rfc4122("a")`,
	} {
		dir := folder(t, map[string]string{"own.rego": access + `deny contains "a" if ` + call})
		_, err := policy.Open(context.Background(), policy.Config{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "own.rego:3") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Revisions tell sets of policies apart, and stay while nothing changes.
func TestRevision(t *testing.T) {
	const rego = access + `deny contains "a" if data.limits.off`
	base := policy.Config{Dir: folder(t, map[string]string{"own.rego": rego, "data.json": `{"limits": {"off": false}}`})}
	revisions := map[string]string{}
	for name, config := range map[string]policy.Config{
		"base":           base,
		"embedded":       {},
		"other text":     {Dir: folder(t, map[string]string{"own.rego": rego + " # changed", "data.json": `{"limits": {"off": false}}`})},
		"other data":     {Dir: folder(t, map[string]string{"own.rego": rego, "data.json": `{"limits": {"off": true}}`})},
		"data elsewhere": {Dir: folder(t, map[string]string{"own.rego": rego, "limits/data.yaml": "off: true\nmore: 1\n"})},
		"other path":     {Dir: folder(t, map[string]string{"sub/own.rego": rego, "data.json": `{"limits": {"off": false}}`})},
		"other ttl":      {Dir: base.Dir, TTL: time.Second},
		"other catalog":  {Dir: base.Dir, Catalog: map[string]any{"apis": map[string]any{}}},
	} {
		r := engine(t, config).Policy().Revision
		if other, twice := revisions[r]; twice {
			t.Errorf("%s and %s have the revision %s", name, other, r)
		}
		revisions[r] = name
		if again := engine(t, config).Policy().Revision; again != r {
			t.Errorf("%s: first %s, then %s", name, r, again)
		}
	}
}

func TestSetCatalog(t *testing.T) {
	e := engine(t, policy.Config{Catalog: map[string]any{}})
	before := e.Policy().Revision
	if got := decide(t, e, ask(nil)); got.Allow {
		t.Error("allowed without a catalog")
	}
	moved, err := e.SetCatalog(demoCatalog())
	if err != nil || !moved || e.Policy().Revision == before {
		t.Errorf("a new catalog: moved %v, %v", moved, err)
	}
	if got := decide(t, e, ask(nil)); !got.Allow || got.Policy != e.Policy().Revision {
		t.Errorf("%+v", got)
	}
	if moved, err := e.SetCatalog(demoCatalog()); err != nil || moved {
		t.Errorf("the same catalog: moved %v, %v", moved, err)
	}
	if _, err := e.Decide(context.Background(), ask(func(in *policy.Input) { in.Policy = before })); !errors.Is(err, policy.ErrStale) {
		t.Errorf("an ask for the old revision: %v", err)
	}
	if _, err := e.Explain(context.Background(), ask(func(in *policy.Input) { in.Policy = before })); !errors.Is(err, policy.ErrStale) {
		t.Errorf("an explanation of the old revision: %v", err)
	}
}

// The revision of a decision is that of the set that made it, however often sets change.
func TestDecisionBelongsToItsRevision(t *testing.T) {
	e := engine(t, policy.Config{})
	open := e.Policy().Revision
	closed := map[string]any{"apis": map[string]any{}}
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := e.Decide(context.Background(), ask(nil))
				if err != nil || got.Allow != (got.Policy == open) {
					t.Errorf("%+v, %v", got, err)
					return
				}
			}
		})
	}
	for range 50 {
		for _, data := range []map[string]any{closed, demoCatalog()} {
			if _, err := e.SetCatalog(data); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	group.Wait()
}

func TestDefaultVary(t *testing.T) {
	p := engine(t, policy.Config{}).Policy()
	want := wire.Policy{Revision: p.Revision, Vary: []wire.Field{{"resource"}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

func BenchmarkDecide(b *testing.B) {
	expiry := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	e := engine(b, policy.Config{})
	for name, in := range map[string]policy.Input{
		"allow": ask(func(in *policy.Input) { in.Subscription.ExpiresAt = expiry }),
		"job": ask(func(in *policy.Input) {
			in.Resource = &policy.Resource{Kind: "job", ID: "1", Owner: &in.Subscription.ID}
		}),
		"deny": ask(func(in *policy.Input) { in.Subscription.State = "suspended" }),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				if _, err := e.Decide(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what this process has used of its processors, in nanoseconds. Unlike
// the wall clock it does not depend on what else runs on the machine.
func processorTime(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}
