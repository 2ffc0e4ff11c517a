package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// byCustomer counts by a header of one API, as an author would (rate-limit-by-key).
const byCustomer = `package tollgate.quota

import rego.v1

# METADATA
# title: Per customer
# description: Whom the caller names as its customer.
limits contains {
	"name": "customer",
	"key": concat("", ["customer:", crypto.sha256(customer)]),
	"kind": "rate",
	"amount": 3,
	"window": "1m",
} if {
	input.api.name == "customer"
	customer := input.request.headers["x-customer"][0]
}
`

// TestLimits holds what a client sees of limits, over two workers. The subtests share one
// gateway, each with a plan of its own.
func TestLimits(t *testing.T) {
	r := plans{
		"short":     "{name: short, kind: rate, amount: 5, window: 3s}",
		"steady":    "{name: steady, kind: rate, amount: 5, window: 2s}",
		"told":      "{name: minute, kind: rate, amount: 5, window: 1m}, {name: week, kind: quota, amount: 100, period: 7d}",
		"dialects":  "{name: once, kind: rate, amount: 1, window: 1m}",
		"nothing":   "{name: none, kind: rate, amount: 0, window: 1m}",
		"weekless":  "{name: life, kind: quota, amount: 1, period: 0}",
		"customers": "",
		"reset":     "{name: minute, kind: rate, amount: 40, window: 1m}, {name: week, kind: quota, amount: 200, period: 7d}",
		"raised":    "{name: week, kind: quota, amount: 3, period: 7d}",
		"gone":      "{name: minute, kind: rate, amount: 5, window: 1m}, {name: week, kind: quota, amount: 300, period: 7d}",
	}.open(t, harness.Options{Policies: policyFolder(t, byCustomer)})
	for _, s := range []struct {
		name string
		run  func(*testing.T, resort)
	}{
		{"Retry-After is true", retryAfterIsTrue},
		{"a steady client is never refused", aSteadyClientIsNeverRefused},
		{"answers tell the limits", answersTellTheLimits},
		{"each dialect", refusalsInEachDialect},
		{"an amount of nothing", nothingPasses},
		{"what is used up for life", usedUpForLife},
		{"by a key of a policy", byAKeyOfAPolicy},
		{"reset", resetIsObeyedAtOnce},
		{"raised", raiseIsObeyedAtOnce},
		{"clients that go before their decision", clientsThatGo},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(t, r.For(t)) })
	}
}

func retryAfterIsTrue(t *testing.T, r resort) {
	for range 3 {
		var refused harness.Response
		passed := 0
		for refused = r.call("short"); refused.Status == http.StatusOK; refused = r.call("short") {
			passed++
		}
		answered := time.Now()
		seconds := rateLimited(t, refused)
		if passed > 5 || seconds > 5 {
			t.Errorf("%d calls passed before one was told to wait %d s", passed, seconds)
		}
		pace(t, time.Until(answered.Add(time.Duration(seconds)*time.Second)))
		if again := r.call("short"); again.Status != http.StatusOK {
			t.Errorf("after the %d s that it was told to wait: %d %s", seconds, again.Status, again.Body)
		}
	}
}

// aSteadyClientIsNeverRefused has the shape of 5 a minute and a call every 12.1 s, from the
// answer to one to the next.
func aSteadyClientIsNeverRefused(t *testing.T, r resort) {
	for i := range 30 {
		if answer := r.call("steady"); answer.Status != http.StatusOK {
			t.Fatalf("call %d: %d %s", i, answer.Status, answer.Body)
		}
		pace(t, 410*time.Millisecond)
	}
}

var rateLimit = regexp.MustCompile(`^"minute";r=(\d+);t=(\d+)$`)

func answersTellTheLimits(t *testing.T, r resort) {
	const policy = `"minute";q=5;w=60,"week";q=100;w=604800`
	for i := range 7 {
		answer := r.call("told")
		if got := answer.Header.Get("Ratelimit-Policy"); got != policy {
			t.Errorf("call %d: RateLimit-Policy %s, want %s", i, got, policy)
		}
		got := rateLimit.FindStringSubmatch(answer.Header.Get("Ratelimit"))
		if got == nil {
			t.Fatalf("call %d: RateLimit %q", i, answer.Header.Get("Ratelimit"))
		}
		if want := strconv.Itoa(max(0, 4-i)); got[1] != want {
			t.Errorf("call %d: RateLimit %s, want %s left", i, got[0], want)
		}
		if seconds, err := strconv.Atoi(got[2]); err != nil || seconds < 1 || seconds > 62 {
			t.Errorf("call %d: RateLimit %s: more in %s s", i, got[0], got[2])
		}
		if i < 5 {
			if answer.Status != http.StatusOK {
				t.Errorf("call %d: %d %s", i, answer.Status, answer.Body)
			}
			continue
		}
		if seconds := rateLimited(t, answer); got[2] != strconv.Itoa(seconds) {
			t.Errorf("call %d: RateLimit %s, Retry-After %d", i, got[0], seconds)
		}
	}
}

func refusalsInEachDialect(t *testing.T, r resort) {
	const (
		message = "Rate limit is exceeded. Try again in %[1]d seconds."
		apim    = `{ "statusCode": 429, "message": "` + message + `" }`
		azureML = `{"error":{"code":"TooManyRequests","message":"Too many requests.","details":[{"code":"RequestThrottled","message":"` + message + `"}]}}`
		problem = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded",` +
			`"status":429,"detail":"` + message + `","reason":"rate_limited","request_id":"%[2]s","violated-policies":["once"]}`
	)
	if answer := r.call("dialects"); answer.Status != http.StatusOK {
		t.Fatalf("the first: %d %s", answer.Status, answer.Body)
	}
	for name, c := range map[string]struct{ suffix, accept, kind, want string }{
		"apim":                     {apimSuffix, "*/*", "application/json", apim},
		"azureml":                  {azureMLSuffix, "*/*", "application/json", azureML},
		"problem":                  {problemSuffix, "*/*", "application/problem+json", problem},
		"apim, asked for problems": {apimSuffix, "application/problem+json", "application/problem+json", problem},
	} {
		t.Run(name, func(t *testing.T) {
			request := r.request("dialects", c.suffix)
			request.Header.Set("Accept", c.accept)
			answer := r.For(t).Do(request)
			want := strings.NewReplacer("%[1]d", strconv.Itoa(retryAfter(t, answer)), "%[2]s", answer.Header.Get("X-Request-Id")).Replace(c.want)
			if diff := cmp.Diff(want, answer.Body); diff != "" || answer.Status != http.StatusTooManyRequests {
				t.Errorf("%d (-want +got):\n%s", answer.Status, diff)
			}
			if got := answer.Header.Get("Content-Type"); got != c.kind {
				t.Errorf("Content-Type %q, want %q", got, c.kind)
			}
		})
	}
}

func nothingPasses(t *testing.T, r resort) {
	const want = `{ "statusCode": 429, "message": "Rate limit is exceeded." }`
	for range 3 {
		if answer := r.call("nothing"); answer.Status != http.StatusTooManyRequests || answer.Body != want || answer.Header.Get("Retry-After") != "" {
			t.Errorf("%d %s, Retry-After %q; want %s", answer.Status, answer.Body, answer.Header.Get("Retry-After"), want)
		}
	}
}

func usedUpForLife(t *testing.T, r resort) {
	if answer := r.call("weekless"); answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	answer := r.call("weekless")
	const want = `{ "statusCode": 403, "message": "Out of call volume quota." }`
	if answer.Status != http.StatusForbidden || answer.Body != want || answer.Header.Get("X-Tollgate-Reason") != "quota_exceeded" {
		t.Errorf("%d %s, want %s", answer.Status, answer.Body, want)
	}
	if got := answer.Header.Values("Retry-After"); len(got) > 0 {
		t.Errorf("Retry-After %q", got)
	}
	if got, want := answer.Header.Get("Ratelimit-Policy"), `"life";q=1`; got != want {
		t.Errorf("RateLimit-Policy %s, want %s", got, want)
	}
	if got, want := answer.Header.Get("Ratelimit"), `"life";r=0`; got != want {
		t.Errorf("RateLimit %s, want %s", got, want)
	}
}

func byAKeyOfAPolicy(t *testing.T, r resort) {
	call := func(customer string) harness.Response {
		request := r.request("customers", customerSuffix)
		if customer != "" {
			request.Header.Set("X-Customer", customer)
		}
		return r.Do(request)
	}
	for _, customer := range []string{"alice", "bob"} {
		for i := range 3 {
			if answer := call(customer); answer.Status != http.StatusOK {
				t.Errorf("call %d for %s: %d %s", i, customer, answer.Status, answer.Body)
			}
		}
		rateLimited(t, call(customer))
	}
	for range 5 {
		if answer := call(""); answer.Status != http.StatusOK {
			t.Errorf("without a customer: %d %s", answer.Status, answer.Body)
		}
	}
	keys := map[string]bool{}
	for _, c := range r.Limits("customers").Counters {
		keys[c.Key] = true
	}
	for _, customer := range []string{"alice", "bob"} {
		if key := fmt.Sprintf("customer:%x", sha256.Sum256([]byte(customer))); !keys[key] {
			t.Errorf("no counter has the key of %s, %s: %v", customer, key, keys)
		}
	}
}

// inARow calls, on connections of their own, so often that with good luck every worker was
// among them. It says whether all answers had that status.
func inARow(r resort, plan string, status int) bool {
	for range 16 {
		if r.call(plan).Status != status {
			return false
		}
	}
	return true
}

func resetIsObeyedAtOnce(t *testing.T, r resort) {
	for i := range 40 {
		if answer := r.call("reset"); answer.Status != http.StatusOK {
			t.Fatalf("call %d: %d %s", i, answer.Status, answer.Body)
		}
	}
	r.settled(t, "reset", "minute", 40)
	r.Eventually(10*time.Second, "every worker refuses by itself", func() bool {
		before := r.Faults.Calls(wire.PathDecide)
		return inARow(r, "reset", http.StatusTooManyRequests) && r.Faults.Calls(wire.PathDecide) == before
	})
	l := r.Limits("reset", "--reset", "--limit", "minute")
	if got := l.Counter(t, "minute"); got.Used != 0 || got.Left != 40 {
		t.Errorf("after the reset: %+v", got)
	}
	if got := l.Counter(t, "week"); got.Used != 40 || got.Left != 160 {
		t.Errorf("the other limit: %+v", got)
	}
	if len(l.Adjustments) != 1 || l.Adjustments[0].Action != "limit.reset" || l.Adjustments[0].Before.Limit != "minute" || l.Adjustments[0].Before.Used != 40 || l.Adjustments[0].Actor == "" {
		t.Errorf("on record: %+v", l.Adjustments)
	}
	r.Eventually(time.Second, "every worker lets calls pass", func() bool { return inARow(r, "reset", http.StatusOK) })
}

func raiseIsObeyedAtOnce(t *testing.T, r resort) {
	for i := range 3 {
		if answer := r.call("raised"); answer.Status != http.StatusOK {
			t.Fatalf("call %d: %d %s", i, answer.Status, answer.Body)
		}
	}
	r.settled(t, "raised", "week", 3)
	if !inARow(r, "raised", http.StatusForbidden) {
		t.Fatal("what is used up is not refused")
	}
	l := r.Limits("raised", "--raise", "2", "--limit", "week")
	if got := l.Counter(t, "week"); got.Raised != 2 || got.Left != 2 || got.Used != 3 {
		t.Errorf("after the raise: %+v", got)
	}
	passed := 0
	r.Eventually(time.Second, "two more pass", func() bool {
		if r.call("raised").Status == http.StatusOK {
			passed++
		}
		return passed == 2
	})
	if !inARow(r, "raised", http.StatusForbidden) {
		t.Error("more passed than was raised")
	}
	if _, err := r.TryLimits("reset", "--raise", "2", "--limit", "minute"); err == nil {
		t.Error("a rate was raised")
	}
}

// clientsThatGo: what was granted to a request whose client did not wait for it comes back.
func clientsThatGo(t *testing.T, r resort) {
	const clients = 5
	answered := harness.NewGate()
	r.Faults.Set(wire.PathDecide, func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if !asksForLeases(t, q) {
			next.ServeHTTP(w, q)
			return
		}
		answer := &recorded{ResponseWriter: w, header: http.Header{}}
		next.ServeHTTP(answer, q) // the ledger grants
		answered.Fault(w, q, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer.replay(w) }))
	})
	r.Backend.Reset()
	for range 3 {
		impatient(t, r, "gone", clients, answered.Arrived())
	}
	if n := r.Backend.Counts().Requests; n != 0 {
		t.Errorf("%d requests reached the backend undecided", n)
	}
	answered.Open()
	r.Faults.Clear()
	r.settled(t, "gone", "minute", 0)
	r.settled(t, "gone", "week", 0)
	// Envoy may have noticed late that a client was gone: then its worker heard that nothing
	// was left, and remembers that for a second.
	passed := 0
	r.Eventually(10*time.Second, "all that came back is to be had", func() bool {
		if r.call("gone").Status == http.StatusOK {
			passed++
		}
		return passed == clients
	})
	if !inARow(r, "gone", http.StatusTooManyRequests) {
		t.Error("more passed than the limit allows")
	}
}

// asksForLeases says whether a request waits for the answer to a decide message. The
// message stays as it is.
func asksForLeases(t *testing.T, q *http.Request) bool {
	t.Helper()
	body, err := io.ReadAll(q.Body)
	if err != nil {
		t.Error(err)
	}
	q.Body = io.NopCloser(bytes.NewReader(body))
	return len(asksByCall(t, [][]byte{body})) > 0
}
