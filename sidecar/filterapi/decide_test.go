package filterapi_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/store"
)

func job(id string) *wire.Resource {
	return &wire.Resource{Kind: "job", Scope: map[string]string{"workspace": "w"}, ID: id}
}

func TestDecide(t *testing.T) {
	s := start(t, options{})
	c := demo()
	expiry := s.clock().Add(time.Hour)
	c.Subscriptions = append(c.Subscriptions,
		catalog.Subscription{Name: "dave", Developer: "a@example.org", API: "Demo", State: "suspended"},
		catalog.Subscription{Name: "erin", Developer: "a@example.org", API: "Demo", ExpiresAt: &expiry},
		catalog.Subscription{Name: "frank", Developer: "a@example.org", API: "Free"})
	s.apply(c)
	if status, _ := s.call(http.MethodPost, wire.PathResources, wire.ResourceRequest{Version: wire.Version, Store: s.store.ID(), Call: "c", Subscription: 1, API: "Demo",
		Operation: "Submit", Resource: *job("j1")}, nil); status != http.StatusOK {
		t.Fatalf("recording a job: %d", status)
	}
	p := s.engine.Policy().Revision
	deny := func(reason string, status int) wire.Answer {
		return wire.Answer{Reasons: []string{reason}, Status: status, TTLMillis: 30_000, Policy: p, SubscriptionRevision: 1}
	}
	keep := func(a wire.Answer, millis int64) wire.Answer { a.TTLMillis = millis; return a }
	failed := func(code string, status int, revision uint32) wire.Answer {
		return wire.Answer{Error: code, Status: status, Policy: p, SubscriptionRevision: revision}
	}
	allow := wire.Answer{Allow: true, TTLMillis: 30_000, Policy: p, SubscriptionRevision: 1}
	keyless := allow
	keyless.SubscriptionRevision = 0
	until := allow
	until.ValidUntilMillis = expiry.UnixMilli()
	for name, tc := range map[string]struct {
		ask  wire.Ask
		want wire.Answer
	}{
		"product subscription":         {wire.Ask{Subscription: 1, API: "Demo", Operation: "Execute"}, allow},
		"API subscription":             {wire.Ask{Subscription: 2, API: "Demo", Operation: "Execute"}, allow},
		"all APIs":                     {wire.Ask{Subscription: 3, API: "Free", Operation: "Ping"}, allow},
		"until its expiry":             {wire.Ask{Subscription: 5, API: "Demo", Operation: "Execute"}, until},
		"no subscription needed":       {wire.Ask{API: "Free", Operation: "Ping"}, keyless},
		"open product":                 {wire.Ask{API: "Public", Operation: "Ping"}, keyless},
		"product comes from the store": {wire.Ask{API: "Public", Operation: "Ping", Product: "Unlimited"}, keyless},
		"suspended":                    {wire.Ask{Subscription: 4, API: "Demo", Operation: "Execute"}, deny("subscription_not_active", 401)},
		"of another API":               {wire.Ask{Subscription: 6, API: "Demo", Operation: "Execute"}, deny("scope_mismatch", 401)},
		"own job":                      {wire.Ask{Subscription: 1, API: "Demo", Operation: "Status", Resource: job("j1")}, allow},
		"another's job":                {wire.Ask{Subscription: 2, API: "Demo", Operation: "Status", Resource: job("j1")}, deny("job_not_found", 404)},
		"unknown job is never kept":    {wire.Ask{Subscription: 1, API: "Demo", Operation: "Status", Resource: job("j2")}, keep(deny("job_not_found", 404), 0)},
		"a resource nobody asked for":  {wire.Ask{Subscription: 1, API: "Demo", Operation: "Execute", Resource: job("j2")}, allow},
		"the job is not named":         {wire.Ask{Subscription: 1, API: "Demo", Operation: "Status"}, failed("resource_missing", 500, 1)},
		"another kind": {wire.Ask{Subscription: 1, API: "Demo", Operation: "Status", Resource: &wire.Resource{Kind: "model", ID: "j1"}},
			failed("resource_missing", 500, 1)},
		"no key, not open":     {wire.Ask{API: "Demo", Operation: "Execute"}, failed("scope_unknown", 401, 0)},
		"unknown API":          {wire.Ask{Subscription: 1, API: "Gone", Operation: "Execute"}, failed("api_unknown", 404, 0)},
		"unknown operation":    {wire.Ask{Subscription: 1, API: "Demo", Operation: "Gone"}, failed("operation_unknown", 404, 0)},
		"unknown subscription": {wire.Ask{Subscription: 99, API: "Demo", Operation: "Execute"}, failed("subscription_unknown", 401, 0)},
		"another policy":       {wire.Ask{Policy: "old", Subscription: 1, API: "Demo", Operation: "Execute"}, wire.Answer{Stale: new(s.engine.Policy()), Policy: p}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.decide(tc.ask)[0]
			if (got.Decision == "") != (got.Stale != nil) {
				t.Errorf("decision id %q", got.Decision)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(wire.Answer{}, "Decision")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpiryIsByTheSidecarsClock(t *testing.T) {
	s := start(t, options{})
	c := demo()
	expiry := s.clock().Add(time.Minute)
	c.Subscriptions[0].ExpiresAt = &expiry
	s.apply(c)
	ask := wire.Ask{Subscription: 1, API: "Demo", Operation: "Execute"}
	s.setClock(expiry.Add(-time.Millisecond))
	if a := s.decide(ask)[0]; !a.Allow {
		t.Errorf("just before: %+v", a)
	}
	s.setClock(expiry)
	if a := s.decide(ask)[0]; a.Allow || a.Reasons[0] != "subscription_expired" {
		t.Errorf("at the expiry: %+v", a)
	}
}

func TestABatchIsAnsweredInOrder(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	asks := make([]wire.Ask, 256)
	for i := range asks {
		asks[i] = wire.Ask{Subscription: uint32(i%4 + 1), API: "Demo", Operation: "Execute"} // 4 is unknown
	}
	for i, a := range s.decide(asks...) {
		if want := i%4 != 3; a.Allow != want {
			t.Errorf("answer %d: %+v, want allow %v", i, a, want)
		}
	}
	for n, want := range map[int]int{0: http.StatusBadRequest, 257: http.StatusBadRequest} {
		if status, _ := s.call(http.MethodPost, wire.PathDecide, wire.DecideRequest{Version: wire.Version, Store: s.store.ID(), VM: "vm1", Asks: make([]wire.Ask, n)}, nil); status != want {
			t.Errorf("%d asks: status %d, want %d", n, status, want)
		}
	}
}

func TestAPolicyThatGivesNoDecisionDenies(t *testing.T) {
	s := start(t, options{policies: map[string]string{
		"tollgate/decision.rego": "package tollgate\n\n# METADATA\n# entrypoint: true\ndecision := {\"allow\": true} if input.request.method == \"GET\"\n",
	}})
	s.apply(demo())
	get, post := "GET", "POST"
	for name, tc := range map[string]struct {
		request wire.Request
		code    string
	}{"undefined": {wire.Request{Method: &post}, "policy_undefined"}, "not a decision": {wire.Request{Method: &get}, "policy_type"}} {
		a := s.decide(wire.Ask{Call: name, Subscription: 1, API: "Demo", Operation: "Execute", Request: tc.request})[0]
		if a.Allow || a.Error != tc.code || a.Status != 500 || a.TTLMillis != 0 {
			t.Errorf("%s: %+v", name, a)
		}
		if got := s.explained(a.Decision); got.Reasons[0] != tc.code || got.Detail == "" {
			t.Errorf("%s: explained as %+v", name, got)
		}
	}
}

func (s *sidecar) explained(id string) store.Explanation {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if found := s.explanations(id); len(found) > 0 {
			return found[0]
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s is not on record", id)
		}
	}
}

// explanations are none where nothing is on record.
func (s *sidecar) explanations(id string) []store.Explanation {
	s.t.Helper()
	log, err := store.OpenLog(context.Background(), filepath.Join(s.dir, "s.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	found, err := log.Explain(context.Background(), id)
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		s.t.Fatalf("explaining %s: %v", id, err)
	}
	return found
}

func TestADenyIsExplained(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	a := s.decide(wire.Ask{Call: "call-1", Subscription: 2, API: "Demo", Operation: "Status", Resource: job("secret-job-id")})[0]
	got := s.explained("call-1")
	if len(got.Rules) != 1 {
		t.Fatalf("rules %+v, want one", got.Rules)
	}
	rule := got.Rules[0]
	b, err := os.ReadFile(filepath.Join("..", "..", rule.File))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(b), "\n")[rule.Line-1]
	if rule.Path != "data.tollgate.access.deny" || rule.Reason != "job_not_found" || !strings.Contains(line, "_not_found") {
		t.Errorf("rule %+v, where that line is %q", rule, line)
	}
	got.Rules = nil
	want := store.Explanation{Request: "call-1", Time: s.clock().UTC(), Status: 404, Reasons: []string{"job_not_found"}, API: "Demo", Operation: "Status",
		Subscription: 2, SubscriptionName: "bob", Decision: a.Decision, Policy: s.engine.Policy().Revision}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// slow holds every record back until it is released.
type slow struct {
	filterapi.Store
	release chan struct{}
}

func (s slow) Record(ctx context.Context, d []store.Decision) error {
	<-s.release
	return s.Store.Record(ctx, d)
}

func TestDeniesAreOnRecordWhenServeReturns(t *testing.T) {
	release := make(chan struct{})
	s := start(t, options{wrap: func(l filterapi.Store) filterapi.Store { return slow{l, release} }})
	s.apply(demo())
	var answers []wire.Answer
	for range 4 {
		asks := make([]wire.Ask, 256)
		for i := range asks {
			asks[i] = wire.Ask{Call: "c", Subscription: 9, API: "Demo", Operation: "Execute"}
		}
		answers = append(answers, s.decide(asks...)...)
	}
	go func() {
		for { // until the server has begun to stop
			c, err := net.Dial("unix", filepath.Join(s.dir, "run", "s.sock"))
			if err != nil {
				break
			}
			c.Close()
		}
		close(release)
	}()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		s.explained(a.Decision)
	}
}

func TestPolicyReloadMakesAsksStale(t *testing.T) {
	s := start(t, options{policies: map[string]string{"more.rego": "package tollgate.access\n\ndeny contains \"closed\" if input.request.method == \"PUT\"\n"}})
	s.apply(demo())
	put := "PUT"
	ask := wire.Ask{Policy: s.engine.Policy().Revision, Subscription: 1, API: "Demo", Operation: "Execute", Request: wire.Request{Method: &put}}
	if a := s.decide(ask)[0]; a.Allow || a.Reasons[0] != "closed" {
		t.Fatalf("before: %+v", a)
	}
	s.writePolicy("more.rego", "package tollgate.access\n\ndeny contains \"later\" if input.request.path == \"/x\"\n")
	if _, err := s.engine.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := s.decide(ask)[0]
	if diff := cmp.Diff(wire.Answer{Stale: new(s.engine.Policy()), Policy: s.engine.Policy().Revision}, a); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// broken is a store that cannot be read or written.
type broken struct{ filterapi.Store }

var errBroken = errors.New("disk I/O error")

func (broken) Owner(context.Context, string, wire.Resource) (uint32, bool, error) {
	return 0, false, errBroken
}
func (broken) Intend(context.Context, store.Submit) error { return errBroken }
func (broken) Own(context.Context, store.Submit) error    { return errBroken }
func (broken) TakeUsage(context.Context, wire.UsageReport) (bool, error) {
	return false, errBroken
}

func TestABrokenStoreDeniesAndSaysWhenToComeBack(t *testing.T) {
	s := start(t, options{wrap: func(l filterapi.Store) filterapi.Store { return broken{l} }})
	s.apply(demo())
	answers := s.decide(wire.Ask{Subscription: 1, API: "Demo", Operation: "Status", Resource: job("j")}, wire.Ask{Subscription: 1, API: "Demo", Operation: "Execute"})
	if a := answers[0]; a.Allow || a.Error != "store_unavailable" || a.Status != 503 || a.TTLMillis != 0 {
		t.Errorf("an ask that needs the store: %+v", a)
	}
	if !answers[1].Allow {
		t.Errorf("an ask that does not need the store: %+v", answers[1])
	}
	intent := wire.ResourceRequest{Version: wire.Version, Store: s.store.ID(), Call: "c", Subscription: 1, API: "Demo", Operation: "Submit", Resource: *job("")}
	id := intent
	id.Resource = *job("j")
	for path, send := range map[string][]any{wire.PathResources: {intent, id}, wire.PathUsage: {wire.UsageReport{Version: wire.Version, VM: "vm"}}} {
		for _, message := range send {
			if status, header := s.call(http.MethodPost, path, message, nil); status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" {
				t.Errorf("%s: status %d, Retry-After %q", path, status, header.Get("Retry-After"))
			}
		}
	}
}

func TestNoSecretIsWrittenDown(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	value := "planted-header-value"
	s.decide(wire.Ask{Call: "c", Subscription: 2, API: "Demo", Operation: "Status", Resource: job("planted-job-id"),
		Request: wire.Request{Path: &value, Headers: map[string][]string{"x": {value}}, Params: map[string]string{"jobid": "planted-job-id"}}})
	s.call(http.MethodPost, wire.PathDecide, `{"version":1,"asks":[{"api":"`+planted+`"`, nil)
	s.explained("c")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	all.WriteString(s.log.String())
	for _, name := range []string{"s.db", "s.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all.Write(b)
	}
	if !bytes.Contains(all.Bytes(), []byte("job_not_found")) {
		t.Error("this test looks at the wrong bytes: the deny is not among them")
	}
	if i := bytes.Index(all.Bytes(), []byte("planted")); i >= 0 {
		t.Errorf("written down: %q", all.Bytes()[i:min(i+60, all.Len())])
	}
}

func BenchmarkDecide(b *testing.B) {
	s := start(b, options{})
	s.apply(demo())
	ask := wire.Ask{Call: "c", Policy: s.engine.Policy().Revision, Subscription: 1, API: "Demo", Operation: "Execute"}
	b.ReportAllocs()
	for b.Loop() {
		if !s.decide(ask)[0].Allow {
			b.Fatal("denied")
		}
	}
}

func BenchmarkDecideBatch(b *testing.B) {
	s := start(b, options{})
	s.apply(demo())
	asks := make([]wire.Ask, 256)
	for i := range asks {
		asks[i] = wire.Ask{Call: "c", Policy: s.engine.Policy().Revision, Subscription: 1, API: "Demo", Operation: "Execute"}
	}
	for b.Loop() {
		s.decide(asks...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(asks)), "ns/ask")
}
