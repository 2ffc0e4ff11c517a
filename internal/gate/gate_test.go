package gate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

const (
	goodKey      = "good-0123456789abcdef0123456789abcdef"
	suspendedKey = "susp-0123456789abcdef0123456789abcdef"
	expiringKey  = "expi-0123456789abcdef0123456789abcdef"
	otherKey     = "othr-0123456789abcdef0123456789abcdef"
	backendKey   = "backend-0123456789abcdef"
)

var start = time.Unix(1_800_000_000, 0)

// fixture is a gate with one snapshot; tests change the snapshot before they load it.
type fixture struct {
	t        *testing.T
	gate     *gate.Gate
	snapshot wire.Snapshot
	records  []wire.KeyRecord // Scope is a place in snapshot.Scopes, as the fixture has them
	now      time.Time
}

func newFixture(t *testing.T, change ...func(*fixture)) *fixture {
	t.Helper()
	operations := []wire.Operation{
		{Name: "Execute", Method: "POST", Template: "/execute/{model}"},
		{Name: "Submit", Method: "POST", Template: "/w/{workspace}/jobs", Creates: "job"},
		{Name: "Status", Method: "GET", Template: "/w/{workspace}/jobs/{jobid}", Requires: "job"},
	}
	f := &fixture{t: t, gate: gate.New(), now: start}
	f.snapshot = wire.Snapshot{
		Version: wire.Version, Revision: wire.Revision{Store: "s", Number: 1},
		Gateway: wire.Gateway{Name: "g", MaxStaleSeconds: 300}, Pepper: []byte("pepper"),
		Policy: wire.Policy{Revision: "p1", Vary: []wire.Field{{"resource"}}},
		APIs: []wire.API{
			{
				Name: "Demo", Suffix: "demo", Errors: wire.DialectAPIM, Authorization: wire.AuthorizationInject, BackendKey: backendKey, Open: -1,
				Keys:       wire.Keys{Header: "ocp-apim-subscription-key", HeaderName: "Ocp-Apim-Subscription-Key", Query: "subscription-key", Bearer: true},
				Operations: operations,
			},
			{
				Name: "Other", Suffix: "other", Errors: wire.DialectAzureML, Authorization: wire.AuthorizationPass, Open: -1,
				Keys:       wire.Keys{Header: "x-my-key", HeaderName: "X-My-Key", Query: "my-key"},
				Operations: operations[:1],
			},
			{
				Name: "Open", Suffix: "open", Errors: wire.DialectAPIM, Authorization: wire.AuthorizationConsumerKey, Open: 2,
				Keys:       wire.Keys{Header: "ocp-apim-subscription-key", HeaderName: "Ocp-Apim-Subscription-Key", Query: "subscription-key"},
				Operations: operations,
			},
		},
		Scopes: []wire.Scope{{Number: 101, Product: "Unlimited", APIs: []int{0, 2}}, {Number: 102, APIs: []int{1}}, {Number: 103, Product: "Free", APIs: []int{2}}},
	}
	mac := func(key string) [16]byte { return apikey.MAC(f.snapshot.Pepper, apikey.Digest(key)) }
	f.records = []wire.KeyRecord{
		{MAC: mac(goodKey), Subscription: 1, Revision: 1, State: wire.StateActive},
		{MAC: mac(suspendedKey), Subscription: 2, Revision: 1, State: wire.StateSuspended},
		{MAC: mac(expiringKey), Subscription: 3, Revision: 1, State: wire.StateActive, Expires: uint32(start.Unix()) + 60},
		{MAC: mac(otherKey), Subscription: 4, Revision: 1, State: wire.StateActive, Scope: 1},
	}
	for _, c := range change {
		c(f)
	}
	f.load()
	return f
}

func (f *fixture) load() []wire.Ask {
	f.t.Helper()
	records := slices.Clone(f.records)
	for i := range records {
		records[i].Scope += 101
	}
	var pages wire.Pages
	f.snapshot.Keys, f.snapshot.Subscriptions, pages = wire.PackPages(records)
	f.snapshot.Revision.Number++
	refresh, err := f.gate.Load(f.snapshot, pages, f.now)
	if err != nil {
		f.t.Fatal(err)
	}
	return refresh
}

func request(method, target string, headers ...string) [][2]string {
	pairs := [][2]string{{":method", method}, {":path", target}, {":authority", "gw.example"}, {":scheme", "javascript"}, {"x-forwarded-proto", "https"}, {"x-request-id", "call-1"}}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		pairs = append(pairs, [2]string{name, value})
	}
	return pairs
}

func (f *fixture) begin(pairs [][2]string) (*gate.Exchange, gate.Outcome) {
	return f.gate.Begin(gate.ReadHead(pairs, func() string { return "192.0.2.7:55555" }), f.now)
}

func (f *fixture) execute() (*gate.Exchange, gate.Outcome) {
	return f.begin(request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+goodKey))
}

func allow(f *fixture) wire.Answer {
	return wire.Answer{Decision: "d1", Allow: true, TTLMillis: 30_000, Policy: f.snapshot.Policy.Revision, SubscriptionRevision: 1}
}

func wantStep(t *testing.T, want gate.Step, got gate.Outcome) {
	t.Helper()
	if got.Step != want {
		t.Fatalf("step %v (reply %d %s), want %v", got.Step, got.Reply.Status, got.Reply.Body, want)
	}
}

func wantRefusal(t *testing.T, status int, reason string, got gate.Outcome) {
	t.Helper()
	wantStep(t, gate.Reply, got)
	gotReason := ""
	for _, h := range got.Reply.Headers {
		if h[0] == "x-tollgate-reason" {
			gotReason = h[1]
		}
	}
	if got.Reply.Status != status || gotReason != reason {
		t.Fatalf("refused with %d %s, want %d %s", got.Reply.Status, gotReason, status, reason)
	}
}

func TestRefusedWithoutAskingAnyone(t *testing.T) {
	key := "ocp-apim-subscription-key: " + goodKey
	for name, c := range map[string]struct {
		pairs  [][2]string
		status int
		reason string
	}{
		"no key":                       {request("POST", "/demo/execute/m"), 401, "key_missing"},
		"an empty key":                 {request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "), 401, "key_missing"},
		"an unknown key":               {request("POST", "/demo/execute/m", "ocp-apim-subscription-key: x"+goodKey), 401, "key_unknown"},
		"a key too long":               {request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+strings.Repeat("k", 257)), 401, "key_unknown"},
		"a key twice in headers":       {request("POST", "/demo/execute/m", key, key), 401, "key_duplicated"},
		"a key twice in the query":     {request("POST", "/demo/execute/m?subscription-key="+goodKey+"&Subscription-Key=x"), 401, "key_duplicated"},
		"a header and a doubled query": {request("POST", "/demo/execute/m?subscription-key=a&subscription-key=a", key), 401, "key_duplicated"},
		"two bearers":                  {request("POST", "/demo/execute/m", "authorization: Bearer "+goodKey, "authorization: Bearer x"), 401, "key_duplicated"},
		"a suspended subscription":     {request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+suspendedKey), 401, "subscription_not_active"},
		"a key of another scope":       {request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+otherKey), 401, "scope_mismatch"},
		"a bearer where none is taken": {request("POST", "/other/execute/m", "authorization: Bearer "+otherKey), 401, "key_missing"},
		"basic authorization":          {request("POST", "/demo/execute/m", "authorization: Basic "+goodKey), 401, "key_missing"},
		"the key inside the path":      {request("POST", "/demo/execute/"+goodKey, key), 400, "key_misplaced"},
		"the key under another name":   {request("POST", "/demo/execute/m?kye="+goodKey, key), 400, "key_misplaced"},
		"the key in disguise":          {request("POST", "/demo/execute/m?kye=%67"+goodKey[1:], key), 400, "key_misplaced"},
		"no such API":                  {request("POST", "/nothing/execute/m", key), 404, "api_not_found"},
		"no such operation":            {request("POST", "/demo/nothing", key), 404, "operation_not_found"},
		"another method":               {request("PUT", "/demo/execute/m", key), 404, "operation_not_found"},
		"a path of two readings":       {request("POST", "/demo/%252e%252e/execute/m", key), 400, "path_invalid"},
		"a submit without a key":       {request("POST", "/open/w/w1/jobs"), 401, "key_missing"},
		"no target":                    {nil, 400, "path_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, outcome := newFixture(t).begin(c.pairs)
			wantRefusal(t, c.status, c.reason, outcome)
			for _, set := range outcome.Edits.Set {
				if set[0] == ":path" && strings.ContainsAny(set[1], "?") {
					t.Errorf("the refused target keeps its query: %s", set[1])
				}
			}
		})
	}
}

// A backend's key that the sidecar does not find closes its API, and no other.
func TestAnAPIWithoutItsBackendsKeyIsClosed(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.snapshot.APIs[0].BackendKey = "" })
	_, outcome := f.begin(request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+goodKey))
	wantRefusal(t, 503, "backend_key_missing", outcome)
	_, outcome = f.begin(request("POST", "/demo/execute/m"))
	wantRefusal(t, 401, "key_missing", outcome) // who has no key learns nothing of it
	if _, outcome = f.begin(request("POST", "/other/execute/m", "x-my-key: "+otherKey)); outcome.Step != gate.Ask {
		t.Errorf("another API: %+v", outcome)
	}
}

func TestEditsOfAForwardedRequest(t *testing.T) {
	for name, c := range map[string]struct {
		pairs [][2]string
		want  gate.Edits
	}{
		"a key in its header": {
			request("POST", "/demo/execute/m?details=true", "ocp-apim-subscription-key: "+goodKey),
			gate.Edits{Remove: []string{"ocp-apim-subscription-key"}, Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}},
		},
		"a key in the query": {
			request("POST", "/demo/execute/m?a=1&subscription-key="+goodKey+"&b=2"),
			gate.Edits{Set: [][2]string{{":path", "/demo/execute/m?a=1&b=2"}, {"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}},
		},
		"a key as the bearer, lower case": {
			request("POST", "/demo/execute/m", "authorization: bearer "+goodKey),
			gate.Edits{Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}},
		},
		"AzureML's PowerShell client": {
			request("POST", "/demo/execute/m", "authorization: Bearer "+goodKey, "x-ms-metaanalytics-authorizationtoken: "+goodKey, "x-aml-sdk: ps"),
			gate.Edits{Remove: []string{"x-ms-metaanalytics-authorizationtoken", "x-aml-sdk"}, Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}},
		},
		"a key copied into another header": {
			request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+goodKey, "x-note: my key is "+goodKey),
			gate.Edits{Remove: []string{"ocp-apim-subscription-key", "x-note"}, Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}},
		},
		"forged headers of ours": {
			request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+goodKey, "x-tollgate-api: other", "x-tollgate-api: other"),
			gate.Edits{Remove: []string{"ocp-apim-subscription-key", "x-tollgate-api"}, Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}},
		},
		"pass keeps the client's own authorization": {
			request("POST", "/other/execute/m", "x-my-key: "+otherKey, "authorization: Bearer own", "ocp-apim-subscription-key: stray"),
			gate.Edits{Remove: []string{"x-my-key", "ocp-apim-subscription-key"}, Set: [][2]string{{"x-tollgate-api", "other"}}},
		},
		"consumer_key hands the key on": {
			request("POST", "/open/execute/m", "ocp-apim-subscription-key: "+goodKey, "authorization: Bearer own"),
			gate.Edits{Remove: []string{"ocp-apim-subscription-key"}, Set: [][2]string{{"authorization", "Bearer " + goodKey}, {"x-tollgate-api", "open"}}},
		},
		"an open product": {
			request("POST", "/open/execute/m", "authorization: Bearer own"),
			gate.Edits{Remove: []string{"authorization"}, Set: [][2]string{{"x-tollgate-api", "open"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			x, outcome := f.begin(c.pairs)
			wantStep(t, gate.Ask, outcome)
			x.Answered(wire.Answer{Allow: true, TTLMillis: 1000, Policy: "p1", SubscriptionRevision: min(outcome.Ask.Subscription, 1)}, f.now)
			_, warm := f.begin(c.pairs)
			wantStep(t, gate.Forward, warm)
			if diff := cmp.Diff(c.want, warm.Edits, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("edits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPausedRequestIsHiddenFirst(t *testing.T) {
	f := newFixture(t)
	x, outcome := f.begin(request("POST", "/demo/execute/m?subscription-key="+goodKey, "authorization: Bearer own", "x-tollgate-decision: forged"))
	wantStep(t, gate.Ask, outcome)
	want := gate.Edits{Remove: []string{"authorization", "x-tollgate-decision"}, Set: [][2]string{{":path", "/demo/execute/m"}}}
	if diff := cmp.Diff(want, outcome.Edits); diff != "" {
		t.Errorf("edits before the pause (-want +got):\n%s", diff)
	}
	forward := x.Answered(allow(f), f.now)
	want = gate.Edits{Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tollgate-api", "demo"}}}
	if diff := cmp.Diff(want, forward.Edits); diff != "" {
		t.Errorf("edits after it (-want +got):\n%s", diff)
	}
}

// I3: what was true before the pause is looked at again after it.
func TestRevokedWhilePaused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fixture)
		reason string
		status int
	}{
		"key gone":        {func(f *fixture) { f.records = f.records[1:] }, "key_unknown", 401},
		"suspended":       {func(f *fixture) { f.records[0].State = wire.StateSuspended }, "subscription_not_active", 401},
		"another scope":   {func(f *fixture) { f.records[0].Scope = 1 }, "scope_mismatch", 401},
		"operation gone":  {func(f *fixture) { f.snapshot.APIs[0].Operations = nil }, "operation_not_found", 404},
		"expired":         {func(f *fixture) { f.records[0].Expires = uint32(start.Unix()) }, "subscription_expired", 401},
		"snapshot stale":  {func(f *fixture) { f.now = start.Add(301 * time.Second) }, "snapshot_stale", 503},
		"pepper replaced": {func(f *fixture) { f.snapshot.Pepper = []byte("other") }, "key_unknown", 401},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			x, outcome := f.execute()
			wantStep(t, gate.Ask, outcome)
			answer := allow(f)
			c.change(f)
			if c.reason != "snapshot_stale" {
				f.load()
			}
			wantRefusal(t, c.status, c.reason, x.Answered(answer, f.now))
		})
	}
}

func TestExpiryIsEnforcedToTheSecond(t *testing.T) {
	f := newFixture(t)
	pairs := request("POST", "/demo/execute/m", "ocp-apim-subscription-key: "+expiringKey)
	f.now = start.Add(59 * time.Second)
	_, outcome := f.begin(pairs)
	wantStep(t, gate.Ask, outcome)
	f.now = start.Add(60 * time.Second)
	_, outcome = f.begin(pairs)
	wantRefusal(t, 401, "subscription_expired", outcome)
}

func TestADecisionIsKeptOnlyForItsOwnQuestion(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(*fixture)
		want          gate.Step
	}{
		"the same again":                  {nil, nil, gate.Forward},
		"just before its ttl":             {nil, func(f *fixture) { f.now = start.Add(30*time.Second - 1) }, gate.Forward},
		"at its ttl":                      {nil, func(f *fixture) { f.now = start.Add(30 * time.Second) }, gate.Ask},
		"the policy moved":                {nil, func(f *fixture) { f.snapshot.Policy.Revision = "p2"; f.load() }, gate.Ask},
		"the subscription moved":          {nil, func(f *fixture) { f.records[0].Revision = 2; f.load() }, gate.Ask},
		"another subscription moved":      {nil, func(f *fixture) { f.records[1].Revision = 2; f.load() }, gate.Forward},
		"the store was replaced":          {nil, func(f *fixture) { f.snapshot.Revision.Store = "t"; f.load() }, gate.Ask},
		"the gateway was renamed":         {nil, func(f *fixture) { f.snapshot.Gateway.Name = "h"; f.load() }, gate.Ask},
		"the whole input is read":         {func(f *fixture) { f.snapshot.Policy.Full, f.snapshot.Policy.Vary = true, nil }, nil, gate.Ask},
		"made under another policy":       {func(f *fixture) { f.snapshot.Policy.Revision = "p0" }, func(f *fixture) { f.snapshot.Policy.Revision = "p1"; f.load() }, gate.Ask},
		"made under another subscription": {func(f *fixture) { f.records[0].Revision = 7 }, nil, gate.Ask},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if c.before != nil {
				c.before(f)
				f.load()
			}
			x, outcome := f.execute()
			wantStep(t, gate.Ask, outcome)
			wantStep(t, gate.Forward, x.Answered(allow(f), f.now))
			if c.after != nil {
				c.after(f)
			}
			_, outcome = f.execute()
			wantStep(t, c.want, outcome)
		})
	}
}

func TestValidUntilBoundsTheTTL(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	answer := allow(f)
	answer.ValidUntilMillis = start.Add(2 * time.Second).UnixMilli()
	x.Answered(answer, f.now)
	f.now = start.Add(2*time.Second - time.Millisecond)
	_, outcome := f.execute()
	wantStep(t, gate.Forward, outcome)
	f.now = start.Add(2 * time.Second)
	_, outcome = f.execute()
	wantStep(t, gate.Ask, outcome)
}

// Each field of the vary list separates; what is not in it does not.
func TestVary(t *testing.T) {
	base := request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1")
	for name, c := range map[string]struct {
		vary  wire.Field
		other [][2]string
		want  gate.Step
	}{
		"header, other value":    {wire.Field{"request", "headers", "x-a"}, request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 2"), gate.Ask},
		"header, absent":         {wire.Field{"request", "headers", "x-a"}, request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey), gate.Ask},
		"header, empty":          {wire.Field{"request", "headers", "x-a"}, request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: "), gate.Ask},
		"header, twice":          {wire.Field{"request", "headers", "x-a"}, request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1", "x-a: 1"), gate.Ask},
		"header, not in the key": {wire.Field{"request", "headers", "x-b"}, request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 2"), gate.Forward},
		"query":                  {wire.Field{"request", "query", "q"}, request("POST", "/demo/execute/m?q=2", "ocp-apim-subscription-key: "+goodKey, "x-a: 1"), gate.Ask},
		"query, not in the key":  {wire.Field{"request", "query", "r"}, request("POST", "/demo/execute/m?q=2", "ocp-apim-subscription-key: "+goodKey, "x-a: 1"), gate.Forward},
		"path":                   {wire.Field{"request", "path"}, request("POST", "/demo/execute/n?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1"), gate.Ask},
		"param":                  {wire.Field{"request", "params", "model"}, request("POST", "/demo/execute/n?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1"), gate.Ask},
		"params":                 {wire.Field{"request", "params"}, request("POST", "/demo/execute/n?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1"), gate.Ask},
		"path, not in the key":   {wire.Field{"request", "method"}, request("POST", "/demo/execute/n?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1"), gate.Forward},
		"a hidden header":        {wire.Field{"request", "headers", "authorization"}, request("POST", "/demo/execute/m?q=1", "ocp-apim-subscription-key: "+goodKey, "x-a: 1", "authorization: x"), gate.Forward},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(f *fixture) { f.snapshot.Policy.Vary = []wire.Field{c.vary} })
			x, outcome := f.begin(base)
			wantStep(t, gate.Ask, outcome)
			x.Answered(allow(f), f.now)
			_, outcome = f.begin(c.other)
			wantStep(t, c.want, outcome)
		})
	}
}

func TestAFullPolicySendsEverythingButKeys(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.snapshot.Policy.Full, f.snapshot.Policy.Vary = true, nil })
	_, outcome := f.begin(request("POST", "/demo/execute/m?q=1&q=2&subscription-key="+goodKey, "x-a: 1", "x-a: 2", "authorization: Bearer "+goodKey))
	text := func(s string) *string { return &s }
	want := wire.Request{
		Method: text("POST"), Path: text("/execute/m"), Scheme: text("https"), Host: text("gw.example"),
		Params: map[string]string{"model": "m"}, Query: map[string][]string{"q": {"1", "2"}},
		Headers: map[string][]string{"x-forwarded-proto": {"https"}, "x-request-id": {"call-1"}, "x-a": {"1", "2"}}, Source: &wire.Source{Address: "192.0.2.7"},
	}
	if diff := cmp.Diff(want, outcome.Ask.Request); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestAStaleAnswerIsAskedAgainForTheNewPolicy(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	moved := wire.Policy{Revision: "p2", Vary: []wire.Field{{"request", "method"}}}
	for range 2 {
		outcome := x.Answered(wire.Answer{Stale: &moved, Policy: "p2"}, f.now)
		wantStep(t, gate.Ask, outcome)
		if outcome.Ask.Policy != "p2" || outcome.Ask.Request.Method == nil {
			t.Fatalf("asked again for %q with %+v", outcome.Ask.Policy, outcome.Ask.Request)
		}
	}
	wantRefusal(t, 503, "policy_moving", x.Answered(wire.Answer{Stale: &moved, Policy: "p2"}, f.now))

	x, _ = f.execute()
	x.Answered(wire.Answer{Stale: &moved, Policy: "p2"}, f.now)
	answer := allow(f)
	answer.Policy = "p2"
	wantStep(t, gate.Forward, x.Answered(answer, f.now))
	_, outcome := f.execute()
	wantStep(t, gate.Ask, outcome) // p1 is held: the answer was used, not kept
}

func TestAnAnswerThatTheWatchOvertookIsNotUsed(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	answer := allow(f)
	f.snapshot.Policy.Revision = "p2"
	f.load()
	outcome := x.Answered(answer, f.now)
	wantStep(t, gate.Ask, outcome)
	if outcome.Ask.Policy != "p2" {
		t.Errorf("asked for %q, want p2", outcome.Ask.Policy)
	}
}

func TestRefreshKeepsTheHottest(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	x.Answered(allow(f), f.now)
	f.snapshot.Policy.Revision = "p2"
	refresh := f.load()
	if len(refresh) != 1 || refresh[0].Policy != "p2" {
		t.Fatalf("to be asked again: %+v", refresh)
	}
	f.gate.Refreshed(refresh, []wire.Answer{allow(f)}, f.now)
	_, outcome := f.execute()
	wantStep(t, gate.Forward, outcome)

	f.snapshot.Policy = wire.Policy{Revision: "p3", Vary: []wire.Field{{"request", "method"}}}
	if refresh := f.load(); len(refresh) != 0 {
		t.Errorf("asked again for fields that the old questions do not have: %+v", refresh)
	}
}

func TestDenied(t *testing.T) {
	f := newFixture(t)
	pairs := request("GET", "/demo/w/w1/jobs/j1", "ocp-apim-subscription-key: "+goodKey)
	x, outcome := f.begin(pairs)
	wantStep(t, gate.Ask, outcome)
	want := &wire.Resource{Kind: "job", Scope: map[string]string{"workspace": "w1"}, ID: "j1"}
	if diff := cmp.Diff(want, outcome.Ask.Resource); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
	deny := wire.Answer{Decision: "d9", Reasons: []string{"job_not_found"}, Status: 404, TTLMillis: 1000, Policy: "p1", SubscriptionRevision: 1}
	wantRefusal(t, 404, "job_not_found", x.Answered(deny, f.now))
	_, outcome = f.begin(pairs)
	wantRefusal(t, 404, "job_not_found", outcome)
	_, outcome = f.begin(request("GET", "/demo/w/w1/jobs/j2", "ocp-apim-subscription-key: "+goodKey))
	wantStep(t, gate.Ask, outcome)
	report, _ := f.gate.Report()
	wantDenials := []wire.Denial{
		{Call: "call-1", TimeMillis: start.UnixMilli(), Status: 404, Reason: "job_not_found", Decision: "d9", Subscription: 1, API: "Demo", Operation: "Status"},
		{Call: "call-1", TimeMillis: start.UnixMilli(), Status: 404, Reason: "job_not_found", Decision: "d9", Subscription: 1, API: "Demo", Operation: "Status"},
	}
	if diff := cmp.Diff(wantDenials, report.Denials); diff != "" {
		t.Errorf("denials (-want +got):\n%s", diff)
	}
}

func TestPolicyErrorsAndFaultsFailClosed(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	wantRefusal(t, 500, "policy_undefined", x.Answered(wire.Answer{Error: "policy_undefined", Allow: true, Policy: "p1"}, f.now))
	x, _ = f.execute()
	wantRefusal(t, 401, "subscription_unknown", x.Answered(wire.Answer{Error: "subscription_unknown", Status: 401, Policy: "p1"}, f.now))
	x, _ = f.execute()
	wantRefusal(t, 500, "odd", x.Answered(wire.Answer{Error: "odd", Status: 200, Policy: "p1"}, f.now))
	x, _ = f.execute()
	wantRefusal(t, 503, "sidecar_unavailable", x.Unavailable(f.now))
	x, _ = f.execute()
	wantRefusal(t, 500, "internal_error", x.Crashed(f.now))
	x, _ = f.execute()
	unknown := &wire.Policy{Revision: "p2", Vary: []wire.Field{{"request", "cookie"}}}
	wantRefusal(t, 500, "policy_unsupported", x.Answered(wire.Answer{Stale: unknown}, f.now))

	odd := newFixture(t).snapshot
	odd.APIs[0].Authorization = "magic"
	if _, err := gate.New().Load(odd, nil, start); err == nil {
		t.Error("an unknown authorization was taken")
	}
	g := gate.New()
	_, outcome := g.Begin(gate.ReadHead(request("POST", "/demo/execute/m"), nil), start)
	wantRefusal(t, 503, "no_snapshot", outcome)
	if _, err := g.Load(wire.Snapshot{Version: wire.Version, Policy: wire.Policy{Vary: []wire.Field{{"request", "cookie"}}}}, nil, start); err == nil {
		t.Error("a policy with an unknown field was taken")
	}
	if _, err := g.Load(wire.Snapshot{Version: wire.Version + 1}, nil, start); err == nil {
		t.Error("a snapshot of another version was taken")
	}
}

func TestWhenUnavailableAllow(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.snapshot.APIs[0].AllowWhenUnavailable = true })
	x, _ := f.execute()
	wantStep(t, gate.Forward, x.Unavailable(f.now))
	x, _ = f.begin(request("GET", "/demo/w/w1/jobs/j1", "ocp-apim-subscription-key: "+goodKey))
	wantRefusal(t, 503, "sidecar_unavailable", x.Unavailable(f.now)) // a job's owner is never left open
}

// I6: the client sees a job's id only once it is recorded.
func TestASubmit(t *testing.T) {
	submit := func(f *fixture) *gate.Exchange {
		x, outcome := f.begin(request("POST", "/demo/w/w1/jobs", "ocp-apim-subscription-key: "+goodKey, "accept-encoding: gzip"))
		if outcome.Step == gate.Ask { // the first one
			outcome = x.Answered(allow(f), f.now)
		}
		wantStep(t, gate.Record, outcome)
		want := wire.ResourceRequest{
			Version: wire.Version, Store: "s", Call: "call-1", Subscription: 1, API: "Demo", Operation: "Submit",
			Resource: wire.Resource{Kind: "job", Scope: map[string]string{"workspace": "w1"}},
		}
		if diff := cmp.Diff(&want, outcome.Record); diff != "" {
			t.Fatalf("intent (-want +got):\n%s", diff)
		}
		return x
	}
	forwarded := func(f *fixture) *gate.Exchange {
		x := submit(f)
		outcome := x.Intended(true, f.now)
		wantStep(t, gate.Forward, outcome)
		if id := x.Identity(); id.Decision != "d1" || id.Reason != gate.Allowed {
			t.Fatalf("identity %+v", id)
		}
		if diff := cmp.Diff([]string{"accept-encoding"}, outcome.Edits.Remove); diff != "" {
			t.Fatalf("removed (-want +got):\n%s", diff)
		}
		wantStep(t, gate.Hold, x.ResponseHead(200))
		return x
	}
	f := newFixture(t)
	wantRefusal(t, 503, "sidecar_unavailable", submit(f).Intended(false, f.now))

	x := forwarded(f)
	outcome := x.Created([]byte(`"539d0bc2fde945b6ac986b851d0000f0"`), f.now)
	wantStep(t, gate.Record, outcome)
	if got := outcome.Record.Resource.ID; got != "539d0bc2fde945b6ac986b851d0000f0" {
		t.Fatalf("recorded %q", got)
	}
	wantStep(t, gate.Forward, x.Recorded(true, f.now))
	wantRefusal(t, 503, "job_not_recorded", forwarded(f).Recorded(false, f.now))
	for _, body := range []string{"", `""`, `"`, `"a/b"`, `{"id":"a"}`, "\x1f\x8b\x08", `"` + strings.Repeat("a", 257) + `"`} {
		wantRefusal(t, 502, "job_id_unreadable", forwarded(f).Created([]byte(body), f.now))
	}
	x = submit(f)
	x.Intended(true, f.now)
	wantStep(t, gate.Forward, x.ResponseHead(400)) // a refused submit creates nothing
}

func TestPolicyHeaders(t *testing.T) {
	f := newFixture(t)
	f.snapshot.APIs[0].HideResponseHeaders = []string{"x-internal"}
	f.load()
	x, _ := f.execute()
	answer := allow(f)
	answer.Request = wire.Change{Set: map[string]string{"x-tenant": "t", ":path": "/evil", "x-tollgate-api": "other", "host": "evil"}, Remove: []string{"cookie", ":path"}}
	answer.Response = wire.Change{Set: map[string]string{"x-served-by": "us"}, Remove: []string{"etag"}}
	got := x.Answered(answer, f.now).Edits
	want := gate.Edits{Remove: []string{"cookie"}, Set: [][2]string{{"authorization", "Bearer " + backendKey}, {"x-tenant", "t"}, {"x-tollgate-api", "demo"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request edits (-want +got):\n%s", diff)
	}
	want = gate.Edits{Remove: []string{"x-internal", "etag"}, Set: [][2]string{{"x-served-by", "us"}}}
	if diff := cmp.Diff(want, x.ResponseHead(200).Edits); diff != "" {
		t.Errorf("response edits (-want +got):\n%s", diff)
	}
}

func TestPendingIsBounded(t *testing.T) {
	f := newFixture(t)
	// One subscription cannot take the places of all.
	asked := 0
	for {
		_, outcome := f.execute()
		if outcome.Step != gate.Ask {
			wantRefusal(t, 503, "overloaded", outcome)
			break
		}
		if asked++; asked > gate.PendingMax/4 {
			t.Fatalf("one subscription has %d asks under way", asked)
		}
	}
	other := request("POST", "/demo/execute/m1", "ocp-apim-subscription-key: "+expiringKey)
	_, outcome := f.begin(other)
	wantStep(t, gate.Ask, outcome)
	f.now = f.now.Add(3 * time.Second) // streams that ended while they waited are forgotten
	_, outcome = f.execute()
	wantStep(t, gate.Ask, outcome)
}

// What a request was about is looked at again after a pause: an answer about something else
// is no answer, though every revision is as it was.
func TestAnAnswerAboutSomethingElseIsNoAnswer(t *testing.T) {
	for name, change := range map[string]func(*fixture){
		"the key names another subscription": func(f *fixture) { f.records[0].Subscription = 9 },
		"another product":                    func(f *fixture) { f.snapshot.Scopes[0].Product = "Other" },
		"the operation requires a job now":   func(f *fixture) { f.snapshot.APIs[0].Operations[0].Requires = "model" },
		"the suffix is another API's":        func(f *fixture) { f.snapshot.APIs[0].Name = "Another" },
		"the key stands elsewhere":           func(f *fixture) { f.snapshot.APIs[0].Keys.Query = "key" },
		"the store was replaced":             func(f *fixture) { f.snapshot.Revision.Store = "t" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			x, _ := f.execute()
			answer := allow(f)
			f.snapshot.APIs = append([]wire.API(nil), f.snapshot.APIs...)
			f.snapshot.APIs[0].Operations = append([]wire.Operation(nil), f.snapshot.APIs[0].Operations...)
			change(f)
			f.load()
			wantStep(t, gate.Ask, x.Answered(answer, f.now))
			_, again := f.execute()
			wantStep(t, gate.Ask, again) // nor is it kept
		})
	}
	t.Run("a submit's key names another subscription", func(t *testing.T) {
		f := newFixture(t)
		x, _ := f.begin(request("POST", "/demo/w/w1/jobs", "ocp-apim-subscription-key: "+goodKey))
		wantStep(t, gate.Record, x.Answered(allow(f), f.now))
		f.records[0].Subscription = 9
		f.load()
		wantStep(t, gate.Ask, x.Intended(true, f.now))
	})
}

// A restored store may come to the same number again; nothing kept under it is worth anything.
func TestARestoredStoreStartsAnew(t *testing.T) {
	f := newFixture(t)
	x, _ := f.execute()
	x.Answered(allow(f), f.now)
	f.snapshot.Revision.Number -= 2
	f.load()
	_, outcome := f.execute()
	wantStep(t, gate.Ask, outcome)
}

func TestReady(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		now  time.Time
		want int
	}{{start, 200}, {start.Add(300 * time.Second), 200}, {start.Add(301 * time.Second), 503}} {
		f.now = c.now
		if _, outcome := f.begin(request("GET", gate.ReadyPath)); outcome.Reply.Status != c.want {
			t.Errorf("ready at +%v: %d, want %d", c.now.Sub(start), outcome.Reply.Status, c.want)
		}
	}
	f.gate.Contact(f.now)
	if !f.gate.Ready(f.now) {
		t.Error("not ready after contact")
	}
}

func TestReadHeadWhereverPseudoHeadersStand(t *testing.T) {
	head := gate.ReadHead([][2]string{{"x-a", "1"}, {":method", "GET"}, {":protocol", "x"}, {"x-b", "2"}, {":path", "/p"}}, nil)
	if diff := cmp.Diff([][2]string{{"x-a", "1"}, {"x-b", "2"}}, head.Headers); diff != "" || head.Method != "GET" || head.Target != "/p" {
		t.Errorf("head %+v (-want +got):\n%s", head, diff)
	}
}
