package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
)

// limited is a catalog with every kind of limit, as data.
func limited(t testing.TB) map[string]any {
	t.Helper()
	c, mistakes := catalog.Parse("limited.yaml", []byte(`
organization: {name: Demo, administrator: admin@example.com}
apis:
  - name: orders
    suffix: orders
    subscription_required: false
    backend: {url: "https://b.example"}
    limits: [{name: flight, kind: concurrency, amount: 3}]
    operations:
      - {name: list, method: GET, template: /}
      - {name: make, method: POST, template: /, limits: [{name: rows, kind: quota, amount: 1000000, period: 0, unit: rows, enforce: false}]}
products:
  - name: Starter
    apis: [orders]
    limits:
      - {name: week, kind: quota, amount: 100, period: 7d, count: success}
      - {name: minute, kind: rate, amount: 5, window: 1m}
`), catalog.Options{})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	return policy.CatalogData(c)
}

func TestLimitsOfTheCatalog(t *testing.T) {
	const started = 1767323045678 // ask's 2026-01-02T03:04:05.678Z
	flight := wire.Limit{Name: "flight", Kind: "concurrency", Unit: "calls", Amount: 3}
	minute := wire.Limit{Name: "minute", Kind: "rate", Unit: "calls", Amount: 5, WindowMillis: 60_000}
	week := wire.Limit{Name: "week", Kind: "quota", Unit: "calls", Amount: 100, WindowMillis: 7 * 24 * 3600_000, StartMillis: started, SuccessOnly: true}
	rows := wire.Limit{Name: "rows", Kind: "quota", Unit: "rows", Amount: 1_000_000, StartMillis: started, ReportOnly: true}
	epoch := func(l wire.Limit) wire.Limit { l.StartMillis = 0; return l }
	tests := map[string]struct {
		change func(*policy.Input)
		want   []wire.Limit
	}{
		"of product and API":     {nil, []wire.Limit{keyed(flight, "subscription:42/api:orders"), keyed(week, "subscription:42"), keyed(minute, "subscription:42")}},
		"of no product":          {func(in *policy.Input) { in.Product, in.Subscription.Scope.Kind = nil, "all_apis" }, []wire.Limit{keyed(flight, "subscription:42/api:orders")}},
		"of API and operation":   {func(in *policy.Input) { in.Product, in.Operation.Name = nil, "make" }, []wire.Limit{keyed(flight, "subscription:42/api:orders"), keyed(rows, "subscription:42/api:orders/operation:make")}},
		"without a key":          {func(in *policy.Input) { in.Subscription, in.Operation.Name = nil, "make" }, []wire.Limit{keyed(flight, "api:orders"), keyed(epoch(week), "product:Starter"), keyed(minute, "product:Starter"), keyed(epoch(rows), "api:orders/operation:make")}},
		"of an unknown start":    {func(in *policy.Input) { in.Subscription.StartedAt = time.Time{} }, []wire.Limit{keyed(flight, "subscription:42/api:orders"), keyed(epoch(week), "subscription:42"), keyed(minute, "subscription:42")}},
		"none of what is denied": {func(in *policy.Input) { in.Subscription.State = "suspended" }, nil},
	}
	e := engine(t, policy.Config{Catalog: limited(t)})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decide(t, e, ask(test.change))
			byName := func(a, b wire.Limit) int { return strings.Compare(a.Name, b.Name) }
			slices.SortFunc(test.want, byName)
			slices.SortFunc(got.Limits, byName)
			if diff := cmp.Diff(test.want, got.Limits); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
			if got.TTL != policy.DefaultTTL || got.Allow != (test.want != nil) {
				t.Errorf("allow %v, kept for %v", got.Allow, got.TTL)
			}
		})
	}
	if diff := cmp.Diff([]wire.Field{{"resource"}}, e.Policy().Vary); diff != "" || e.Policy().Full || len(e.Analysis().Unrepeatable) > 0 {
		t.Errorf("what decisions depend on, with limits (-want +got):\n%s", diff)
	}
}

func keyed(l wire.Limit, key string) wire.Limit {
	l.Key = key
	return l
}

// contributing is an engine with one rule for each of limits, written in Rego.
func contributing(t testing.TB, limits ...string) *policy.Engine {
	t.Helper()
	var rules strings.Builder
	for _, limit := range limits {
		fmt.Fprintf(&rules, "limits contains %s\n\n", limit)
	}
	return author(t, "package tollgate.quota\n\n"+rules.String())
}

func TestLimitsOfAPolicy(t *testing.T) {
	minute := wire.Limit{Name: "minute", Key: "k", Kind: "rate", Unit: "calls", Amount: 5, WindowMillis: 60_000}
	quota := func(change func(*wire.Limit)) wire.Limit {
		l := wire.Limit{Name: "week", Key: "k", Kind: "quota", Unit: "calls", Amount: 100, WindowMillis: 7 * 24 * 3600_000}
		change(&l)
		return l
	}
	longKey := strings.Repeat("é", 256)
	tests := map[string]struct {
		limit string
		want  wire.Limit
	}{
		"a rate":            {`{"name": "minute", "key": "k", "kind": "rate", "amount": 5, "window": "1m"}`, minute},
		"with its defaults": {`{"name": "minute", "key": "k", "kind": "rate", "amount": 5, "window": "60s", "unit": "calls", "count": "all", "enforce": true, "start": null}`, minute},
		"a computed amount": {`{"name": "minute", "key": "k", "kind": "rate", "amount": 10 / 2, "window": "1m"}`, minute},
		"a day":             {`{"name": "minute", "key": "k", "kind": "rate", "amount": 5, "window": "1d"}`, func() wire.Limit { l := minute; l.WindowMillis = 86_400_000; return l }()},
		"a quota":           {`{"name": "week", "key": "k", "kind": "quota", "amount": 100, "period": "7d"}`, quota(func(*wire.Limit) {})},
		"from a start": {`{"name": "week", "key": "k", "kind": "quota", "amount": 100, "period": "7d", "start": "1970-01-05T01:00:00.5+01:00"}`,
			quota(func(l *wire.Limit) { l.StartMillis = 4*86_400_000 + 500 })},
		"for life": {`{"name": "week", "key": "k", "kind": "quota", "amount": 100, "period": "0"}`, quota(func(l *wire.Limit) { l.WindowMillis = 0 })},
		"rows, reported only": {`{"name": "week", "key": "k", "kind": "quota", "amount": 999999999999999, "period": "0s", "unit": "rows", "enforce": false}`,
			quota(func(l *wire.Limit) {
				l.WindowMillis, l.Unit, l.ReportOnly, l.Amount = 0, "rows", true, 999_999_999_999_999
			})},
		"of successes": {`{"name": "week", "key": "k", "kind": "quota", "amount": 0, "period": "7d", "count": "success"}`,
			quota(func(l *wire.Limit) { l.Amount, l.SuccessOnly = 0, true })},
		"concurrency":     {`{"name": "flight", "key": "k", "kind": "concurrency", "amount": 3}`, wire.Limit{Name: "flight", Key: "k", Kind: "concurrency", Unit: "calls", Amount: 3}},
		"bytes":           {`{"name": "minute", "key": "k", "kind": "rate", "amount": 5, "window": "1m", "unit": "bytes"}`, func() wire.Limit { l := minute; l.Unit = "bytes"; return l }()},
		"the longest key": {`{"name": "minute", "key": "` + longKey + `", "kind": "rate", "amount": 5, "window": "1m"}`, keyed(minute, longKey)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decide(t, contributing(t, test.limit), ask(nil))
			if diff := cmp.Diff([]wire.Limit{test.want}, got.Limits); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnusableLimits(t *testing.T) {
	const (
		rate  = `{"name": "minute", "key": "k", "kind": "rate", "amount": 5, "window": "1m"}`
		quota = `{"name": "week", "key": "k", "kind": "quota", "amount": 100, "period": "7d"}`
		once  = `{"name": "flight", "key": "k", "kind": "concurrency", "amount": 3}`
	)
	tests := map[string]struct{ limit, old, new string }{
		"nothing":                  {rate, "", ""},
		"no object":                {rate, rate, `"minute"`},
		"no name":                  {rate, `"name": "minute", `, ""},
		"no key":                   {rate, `"key": "k", `, ""},
		"no kind":                  {rate, `"kind": "rate", `, ""},
		"no amount":                {rate, `"amount": 5, `, ""},
		"no window":                {rate, `, "window": "1m"`, ""},
		"no period":                {quota, `, "period": "7d"`, ""},
		"a misspelt field":         {rate, `"window"`, `"windw"`},
		"a field too many":         {rate, `"name"`, `"more": 1, "name"`},
		"an unknown kind":          {rate, `"rate"`, `"Rate"`},
		"an unknown unit":          {rate, `"name"`, `"unit": "tokens", "name"`},
		"an unknown count":         {rate, `"name"`, `"count": "failure", "name"`},
		"a name with a blank":      {rate, `"minute"`, `"a minute"`},
		"an empty name":            {rate, `"minute"`, `""`},
		"a long name":              {rate, `"minute"`, `"` + strings.Repeat("a", 65) + `"`},
		"a number for a name":      {rate, `"minute"`, `7`},
		"a number for a key":       {rate, `"k"`, `7`},
		"an empty key":             {rate, `"k"`, `""`},
		"a key too long":           {rate, `"k"`, `"` + strings.Repeat("é", 256) + `x"`},
		"a line break in a key":    {rate, `"k"`, `"a\nb"`},
		"a control in a key":       {rate, `"k"`, `"a\u001bb"`},
		"a hidden sign in a key":   {rate, `"k"`, `"a\u202eb"`},
		"a text for an amount":     {rate, `5`, `"5"`},
		"a fraction":               {rate, `5`, `5.5`},
		"below zero":               {rate, `5`, `-5`},
		"a large amount":           {rate, `5`, `1000000000000000`},
		"an absurd amount":         {rate, `5`, `99999999999999999999`},
		"a text for enforce":       {rate, `"name"`, `"enforce": "false", "name"`},
		"null for enforce":         {rate, `"name"`, `"enforce": null, "name"`},
		"null for unit":            {rate, `"name"`, `"unit": null, "name"`},
		"a window of zero":         {rate, `"1m"`, `"0s"`},
		"a window below zero":      {rate, `"1m"`, `"-1m"`},
		"a window without unit":    {rate, `"1m"`, `"60"`},
		"a number for a window":    {rate, `"1m"`, `60`},
		"null for a window":        {rate, `"1m"`, `null`},
		"a window of milliseconds": {rate, `"1m"`, `"1500ms"`},
		"a long window":            {rate, `"1m"`, `"1d1s"`},
		"a period of a rate":       {rate, `"window"`, `"period": "7d", "window"`},
		"a start of a rate":        {rate, `"name"`, `"start": "2026-01-01T00:00:00Z", "name"`},
		"a window of a quota":      {quota, `"period"`, `"window": "1m", "period"`},
		"a period of milliseconds": {quota, `"7d"`, `"1500ms"`},
		"a period below zero":      {quota, `"7d"`, `"-7d"`},
		"a start that is none":     {quota, `"name"`, `"start": "monday", "name"`},
		"a number for a start":     {quota, `"name"`, `"start": 0, "name"`},
		"rows of successes":        {quota, `"name"`, `"unit": "rows", "count": "success", "name"`},
		"a window of concurrency":  {once, `"name"`, `"window": "1m", "name"`},
		"a period of concurrency":  {once, `"name"`, `"period": "0", "name"`},
		"bytes at once":            {once, `"name"`, `"unit": "bytes", "name"`},
		"successes at once":        {once, `"name"`, `"count": "success", "name"`},
		"the counter of another":   {rate, rate, rate + "\n\nlimits contains " + strings.Replace(rate, "5", "6", 1)},
		"one counter of two kinds": {rate, rate, rate + "\n\nlimits contains " + strings.Replace(quota, "week", "minute", 1)},
		"too many":                 {rate, rate, `object.union(` + rate + `, {"key": sprintf("%d", [n])}) if some n in numbers.range(1, 33)`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(test.limit, test.old) {
				t.Fatalf("no %s to replace", test.old)
			}
			want := policy.CodeType
			if name == "nothing" {
				want = ""
			}
			e := contributing(t, strings.Replace(test.limit, test.old, test.new, 1))
			got, err := e.Decide(t.Context(), ask(nil))
			if code(err) != want {
				t.Errorf("decided %+v, %v", got, err)
			}
			if err != nil && !cmp.Equal(got, policy.Decision{}) {
				t.Errorf("a decision beside an error: %+v", got)
			}
		})
	}
}

func TestAsManyLimitsAsMayApply(t *testing.T) {
	e := contributing(t, `{"name": "minute", "key": sprintf("%d", [n]), "kind": "rate", "amount": 5, "window": "1m"} if some n in numbers.range(1, 32)`)
	if got := decide(t, e, ask(nil)); len(got.Limits) != 32 {
		t.Errorf("%d limits", len(got.Limits))
	}
}

// Limits stay in the order of the document; one that stands twice counts once, be its
// defaults written or not.
func TestLimitsKeepTheirOrder(t *testing.T) {
	e := engine(t, policy.Config{Dir: folder(t, map[string]string{"tollgate/decision.rego": `package tollgate

_rate(name) := {"name": name, "key": "k", "kind": "rate", "amount": 5, "window": "1m"}

decision := {
	"allow": true, "reasons": [], "status": 403, "message": "", "ttl": "30s", "valid_until": null,
	"limits": [_rate("b"), _rate("a"), object.union(_rate("b"), {"unit": "calls", "window": "60s"}), _rate("c")],
	"request": {"set": {}, "remove": []}, "response": {"set": {}, "remove": []},
}
`})})
	var names []string
	for _, l := range decide(t, e, ask(nil)).Limits {
		names = append(names, l.Name)
	}
	if diff := cmp.Diff([]string{"b", "a", "c"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// Whoever writes a decision of their own: what it denies has no limits, but they are
// checked.
func TestLimitsOfADenial(t *testing.T) {
	const denial = `package tollgate

decision := {
	"allow": false, "reasons": ["closed"], "status": 403, "message": "", "ttl": "30s", "valid_until": null,
	"limits": [{"name": "a", "key": "k", "kind": "rate", "amount": 5, "window": "1m"}],
	"request": {"set": {}, "remove": []}, "response": {"set": {}, "remove": []},
}
`
	got := decide(t, engine(t, policy.Config{Dir: folder(t, map[string]string{"tollgate/decision.rego": denial})}), ask(nil))
	if got.Allow || len(got.Limits) > 0 {
		t.Errorf("%+v", got)
	}
	broken := engine(t, policy.Config{Dir: folder(t, map[string]string{"tollgate/decision.rego": strings.Replace(denial, `"1m"`, `"1"`, 1)})})
	if got, err := broken.Decide(t.Context(), ask(nil)); code(err) != policy.CodeType {
		t.Errorf("%+v, %v", got, err)
	}
}

// A key that is made of the request makes the decision depend on that part of it, and does
// not keep it from being kept.
func TestCounterKeysOfTheRequest(t *testing.T) {
	const limit = `{"name": "user", "key": concat("", ["user:", %s]), "kind": "rate", "amount": 5, "window": "1m"}`
	tests := map[string]struct {
		key  string
		want wire.Field
		from string // the key of the request in hand
	}{
		"a header":         {`input.request.headers["x-user"][0]`, wire.Field{"request", "headers", "x-user"}, "user:ada"},
		"a digest of one":  {`crypto.sha256(input.request.headers["x-user"][0])`, wire.Field{"request", "headers", "x-user"}, "user:fdee430d40bd57deeac186cd9790033d0f06f909a8806e7ce6e717ab7c7d5029"},
		"an address":       {`input.request.source.address`, wire.Field{"request", "source", "address"}, "user:192.0.2.7"},
		"a parameter":      {`input.request.params.user`, wire.Field{"request", "params", "user"}, "user:bob"},
		"an attribute":     {`input.subscription.attributes.tier`, nil, "user:gold"},
		"not in a request": {`input.request.headers["x-none"][0]`, wire.Field{"request", "headers", "x-none"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := contributing(t, fmt.Sprintf(limit, test.key))
			want := []wire.Field{{"resource"}}
			if test.want != nil {
				want = []wire.Field{test.want, {"resource"}}
			}
			if diff := cmp.Diff(want, e.Policy().Vary); diff != "" || e.Policy().Full {
				t.Errorf("vary (-want +got):\n%s", diff)
			}
			got := decide(t, e, ask(func(in *policy.Input) {
				in.Request.Headers = map[string][]string{"x-user": {"ada"}}
				in.Request.Params = map[string]string{"user": "bob"}
				in.Request.Source = &wire.Source{Address: "192.0.2.7"}
			}))
			if got.TTL != policy.DefaultTTL {
				t.Errorf("kept for %v", got.TTL)
			}
			var keys []string
			for _, l := range got.Limits {
				keys = append(keys, l.Key)
			}
			wanted := []string{test.from}
			if test.from == "" {
				wanted = nil
			}
			if diff := cmp.Diff(wanted, keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}
