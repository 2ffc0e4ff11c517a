package e2e_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/usage"
)

// settled is how long after a call it is on record at the latest: two ticks, on two cores
// that are busy otherwise.
const settled = 10 * time.Second

// readUsage asks the store beside its sidecar.
func readUsage(t *testing.T, g *harness.Gateway, q usage.Query) usage.Report {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{Source: filepath.Join(g.Dir, "tollgate.db"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := usage.Read(t.Context(), db, q, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// called is what every call was, and how many there were of it.
func called(t *testing.T, g *harness.Gateway) map[string]int64 {
	t.Helper()
	calls := map[string]int64{}
	for _, r := range readUsage(t, g, usage.Query{By: []usage.Dimension{usage.BySubscription, usage.ByProduct, usage.ByAPI, usage.ByOperation, usage.ByOutcome}}).Rows {
		calls[strings.Join([]string{r.Subscription, r.Product, r.API, r.Operation, string(r.Outcome)}, "/")] += r.Calls
	}
	return calls
}

func sum(calls map[string]int64) (n int64) {
	for c := range maps.Values(calls) {
		n += c
	}
	return n
}

// awaitCalls waits until so many calls are on record, and none is reported any more.
func awaitCalls(t *testing.T, g *harness.Gateway, n int64) map[string]int64 {
	t.Helper()
	g.Eventually(settled, "every call is on record", func() bool { return sum(called(t, g)) >= n })
	return called(t, g)
}

// mixed makes 30 calls of every outcome, at once and on connections of their own, so that
// both workers have some of them. It returns the body of a success.
func mixed(t *testing.T, g *harness.Gateway) (body string) {
	t.Helper()
	execute := harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Unlimited, Body: harness.GoodDay, Header: http.Header{"Content-Type": {"application/json"}}}
	with := func(change func(*harness.Call)) harness.Call { c := execute; change(&c); return c }
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, k := range []struct {
		times  int
		call   harness.Call
		status int
	}{
		{12, execute, http.StatusOK},
		{5, with(func(c *harness.Call) { c.Key = harness.NewKey() }), http.StatusUnauthorized},
		{5, with(func(c *harness.Call) { c.Body = "{" }), http.StatusBadRequest},
		{4, harness.Call{Path: harness.JobPath(strings.Repeat("0", 32), ""), Key: g.Keys.Unlimited}, http.StatusNotFound},
		{3, harness.Call{Path: "/nothing/here", Key: g.Keys.Unlimited}, http.StatusNotFound},
		{1, harness.Call{Method: "PATCH", Path: harness.ExecutePath, Key: g.Keys.Unlimited}, http.StatusNotFound},
	} {
		for range k.times {
			calls.Go(func() {
				r, err := g.Try(t.Context(), k.call)
				if err != nil || r.Status != k.status {
					t.Errorf("%s %s: %d %s, %v, want %d", k.call.Method, k.call.Path, r.Status, r.Body, err, k.status)
				}
				if r.Status == http.StatusOK {
					mu.Lock()
					body = r.Body
					mu.Unlock()
				}
			})
		}
	}
	calls.Wait()
	return body
}

func mixedOf(times int64) map[string]int64 {
	const api = "/" + harness.DemoAPI + "/"
	return map[string]int64{
		"demo/Unlimited" + api + "RRS Execute/success": 12 * times,
		"/" + api + "RRS Execute/blocked":              5 * times,
		"demo/Unlimited" + api + "RRS Execute/failed":  5 * times,
		"demo/Unlimited" + api + "BES Status/other":    4 * times,
		"////other":          3 * times,
		"/" + api + "/other": 1 * times,
	}
}

func TestUsageIsCountedOnce(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	body := mixed(t, g)
	if diff := cmp.Diff(mixedOf(1), awaitCalls(t, g, 30)); diff != "" {
		t.Fatalf("calls (-want +got):\n%s", diff)
	}
	measured(t, g, len(body))

	// The sidecar takes reports, and its answers do not arrive: they come again.
	before := g.Faults.Calls(wire.PathUsage)
	g.Faults.Set(wire.PathUsage, func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	mixed(t, g)
	g.Eventually(settled, "reports come again", func() bool { return g.Faults.Calls(wire.PathUsage) >= before+10 })
	g.Faults.Clear()
	if diff := cmp.Diff(mixedOf(2), awaitCalls(t, g, 60)); diff != "" {
		t.Fatalf("answers that were lost: calls (-want +got):\n%s", diff)
	}

	// The sidecar is away. What it cannot hear of is refused meanwhile, but counted too.
	g.KillSidecar()
	outage(t, g)
	g.StartSidecar()
	g.Eventually(settled, "the calls of the outage are on record", func() bool { return sum(called(t, g)) >= 60+20 })
	mixed(t, g)
	got := awaitCalls(t, g, 60+20+30)
	want := mixedOf(3)
	want["/"+"/"+harness.DemoAPI+"/RRS Execute/blocked"] += 20
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("an outage: calls (-want +got):\n%s", diff)
	}
}

// outage makes 20 calls that need no sidecar.
func outage(t *testing.T, g *harness.Gateway) {
	t.Helper()
	for range 20 {
		if r := g.Execute(harness.NewKey()); r.Status != http.StatusUnauthorized {
			t.Fatalf("answer %d %s", r.Status, r.Body)
		}
	}
}

// measured looks at bytes and times of the first calls, whose responses had bodies of so many
// bytes.
func measured(t *testing.T, g *harness.Gateway, body int) {
	t.Helper()
	for _, r := range readUsage(t, g, usage.Query{API: harness.DemoAPI, Operation: "RRS Execute", By: []usage.Dimension{usage.ByOutcome}}).Rows {
		if r.Total.Calls != r.Calls || r.Total.MinMicros <= 0 || r.Total.MaxMicros > int64(time.Minute/time.Microsecond) {
			t.Errorf("%s: total times %+v of %d calls", r.Outcome, r.Total, r.Calls)
		}
		if r.Outcome == wire.CallBlocked {
			if r.Backend != (usage.Times{}) {
				t.Errorf("%s: the backend took %+v for what it never saw", r.Outcome, r.Backend)
			}
			continue
		}
		b := r.Backend
		if b.Calls != r.Calls || b.MinMicros <= 0 || b.MaxMicros > r.Total.MaxMicros || b.AverageMicros > r.Total.AverageMicros || b.MinMicros > r.Total.MinMicros {
			t.Errorf("%s: backend times %+v, total %+v", r.Outcome, b, r.Total)
		}
		if r.Outcome != wire.CallSuccess {
			continue
		}
		const head = 2000 // bytes of headers at most
		request, response := int64(len(harness.GoodDay)), int64(body)
		if each := r.RequestBytes / r.Calls; each <= request || each > request+head {
			t.Errorf("a request has %d bytes, with a body of %d", each, request)
		}
		if each := r.ResponseBytes / r.Calls; each <= response || each > response+head {
			t.Errorf("a response has %d bytes, with a body of %d", each, response)
		}
	}
}

// A proxy that is killed loses what it has not reported: a tick's worth, and nothing that was
// answered a second before.
func TestAKilledProxyLosesOneTick(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	g.Execute(g.Keys.Unlimited)
	var mu sync.Mutex
	var answered []time.Time
	var clients sync.WaitGroup
	killed := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-killed:
					return
				default:
				}
				r, err := g.Try(t.Context(), harness.Call{Method: "POST", Path: harness.ExecutePath, Body: harness.GoodDay}) // without a key
				if err == nil && r.Status == http.StatusUnauthorized {
					mu.Lock()
					answered = append(answered, time.Now())
					mu.Unlock()
				}
			}
		})
	}
	begin := time.Now()
	g.Eventually(time.Minute, "calls are made for three seconds", func() bool { return time.Since(begin) > 3*time.Second })
	at := time.Now()
	g.KillEnvoy()
	close(killed)
	clients.Wait()

	safe := int64(len(slices.DeleteFunc(slices.Clone(answered), func(a time.Time) bool { return a.After(at.Add(-time.Second)) })))
	var got int64
	g.Eventually(settled, "what was reported is on record", func() bool {
		got = called(t, g)["//"+harness.DemoAPI+"/RRS Execute/blocked"]
		return got >= safe
	})
	// Four clients at most had a call counted whose answer never came.
	if all := int64(len(answered)) + 4; safe < 10 || got > all {
		t.Errorf("%d calls are on record, want from %d to %d", got, safe, all)
	}
	t.Logf("%d of %d calls on record, %d of which were answered a second before", got, len(answered), safe)

	// The next proxy counts on.
	g.StartEnvoy()
	g.AwaitReady(settled)
	if r := g.Execute(g.Keys.Unlimited); r.Status != http.StatusOK {
		t.Fatalf("answer %d %s", r.Status, r.Body)
	}
	g.Eventually(settled, "the next proxy's call is on record", func() bool {
		return called(t, g)["demo/Unlimited/"+harness.DemoAPI+"/RRS Execute/success"] == 2
	})
}
