package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/sidecar/admin"
)

// plans are products by name, with their limits as in a catalog: each has one subscription,
// of the same name.
type plans map[string]string

// estate is the catalog of a gateway with plans. Its APIs all have the emulator behind them
// and differ in how they tell errors.
const estate = `
organization: {name: test, administrator: admin@example.com}
apis:
%sproducts:
%sdevelopers:
  - {email: dev@example.com}
subscriptions:
%s`

const estateAPI = `  - name: %[1]s
    suffix: %[2]s
    errors: %[3]s
    backend: {url: "http://127.0.0.1:1", authorization: inject, key: {env: AZUREML_API_KEY}}
    operations:
      - {name: Execute, method: POST, template: "/workspaces/{workspace}/services/{service}/execute"}
`

// Suffixes of the APIs with plans.
const (
	apimSuffix     = harness.DemoSuffix
	azureMLSuffix  = "azureml"
	problemSuffix  = "problem"
	customerSuffix = "customer"
)

var estateAPIs = map[string]string{apimSuffix: "apim", azureMLSuffix: "azureml", problemSuffix: "problem", customerSuffix: "apim"}

// resort is a gateway with plans.
type resort struct {
	*harness.Gateway
	keys map[string]string // by plan
}

// open starts a gateway with plans.
func (p plans) open(t *testing.T, o harness.Options) resort {
	t.Helper()
	keys := map[string]string{}
	for name := range p {
		keys[name] = harness.NewKey()
	}
	return p.start(t, o, keys)
}

func (p plans) start(t *testing.T, o harness.Options, keys map[string]string) resort {
	t.Helper()
	r := resort{keys: keys}
	var products, subscriptions, apis strings.Builder
	for i, name := range slices.Sorted(maps.Keys(p)) {
		variable := "TEST_KEY_" + strconv.Itoa(i)
		o.Env = append(o.Env, variable+"="+r.keys[name])
		fmt.Fprintf(&products, "  - {name: %s, apis: [%s], limits: [%s]}\n", name, strings.Join(slices.Sorted(maps.Keys(estateAPIs)), ", "), p[name])
		fmt.Fprintf(&subscriptions, "  - {name: %s, developer: dev@example.com, product: %s, primary_key: {env: %s}}\n", name, name, variable)
	}
	for _, suffix := range slices.Sorted(maps.Keys(estateAPIs)) {
		o.Emulated = append(o.Emulated, suffix)
		fmt.Fprintf(&apis, estateAPI, suffix, suffix, estateAPIs[suffix])
	}
	o.Catalog = fmt.Sprintf(estate, apis.String(), products.String(), subscriptions.String())
	r.Gateway = harness.Start(t, o)
	return r
}

// beside starts another gateway with the same plans and keys: with the same store they are
// two doors of one house.
func (r resort) beside(t *testing.T, o harness.Options, p plans) resort {
	t.Helper()
	o.Beside = r.Gateway
	return p.start(t, o, r.keys)
}

// For returns the same gateway for a subtest, which fails instead of its parent.
func (r resort) For(t *testing.T) resort { return resort{r.Gateway.For(t), r.keys} }

// request is a call of a plan.
func (r resort) request(plan, suffix string) harness.Call {
	key, ok := r.keys[plan]
	if !ok {
		panic("there is no plan " + plan)
	}
	return harness.Call{Method: "POST", Path: strings.Replace(harness.ExecutePath, harness.DemoSuffix, suffix, 1), Key: key, Body: harness.GoodDay,
		Header: http.Header{"Content-Type": {"application/json"}}}
}

// call makes one call of a plan.
func (r resort) call(plan string) harness.Response { return r.Do(r.request(plan, apimSuffix)) }

// settled waits until a plan has used so much of a limit and no worker holds a lease of it.
func (r resort) settled(t *testing.T, plan, limit string, used int64) {
	t.Helper()
	var last admin.Counter
	defer func() {
		if t.Failed() {
			t.Logf("the counter: %+v", last)
		}
	}()
	r.Eventually(10*time.Second, fmt.Sprintf("%d of %s is used, and nothing is leased", used, limit), func() bool {
		last = r.Limits(plan).Counter(t, limit)
		return last.Used == used && last.Leased == 0
	})
}

// atOnce makes n calls that all begin before one has ended, and returns the answers.
func atOnce(ctx context.Context, t *testing.T, n int, call func(context.Context) (harness.Response, error)) []harness.Response {
	t.Helper()
	answers, errs := make([]harness.Response, n), make([]error, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			answers[i], errs[i] = call(ctx)
		})
	}
	close(begin)
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	return answers
}

// statuses counts answers by their status.
func statuses(answers []harness.Response) map[int]int {
	counts := map[int]int{}
	for _, r := range answers {
		counts[r.Status]++
	}
	return counts
}

// pace lets d pass: a client that keeps to its rate, or to Retry-After.
func pace(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// retryAfter is Retry-After in seconds, which every refusal by a limit has.
func retryAfter(t *testing.T, r harness.Response) int {
	t.Helper()
	seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("%d %s: Retry-After %q", r.Status, r.Body, r.Header.Get("Retry-After"))
	}
	return seconds
}

// rateLimited checks a refusal by a rate and returns after how many seconds to come back.
func rateLimited(t *testing.T, r harness.Response) int {
	t.Helper()
	seconds := retryAfter(t, r)
	want := fmt.Sprintf(`{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in %d seconds." }`, seconds)
	if r.Status != http.StatusTooManyRequests || r.Body != want || r.Header.Get("X-Tollgate-Reason") != "rate_limited" {
		t.Errorf("answered %d %s %s, want %s", r.Status, r.Header.Get("X-Tollgate-Reason"), r.Body, want)
	}
	return seconds
}
