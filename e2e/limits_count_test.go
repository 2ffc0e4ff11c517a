package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/emulator"
)

// impatient has clients call, and hang up once n messages have come to arrived.
func impatient(t *testing.T, r resort, plan string, n int, arrived <-chan struct{}) {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	ended := make(chan error, n)
	for range n {
		go func() {
			_, err := r.Try(ctx, held(r.request(plan, apimSuffix)))
			ended <- err
		}()
	}
	for range n {
		<-arrived
	}
	hangUp()
	for range n {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that hangs up: %v", err)
		}
	}
}

// held marks a call that the backend of TestWhatIsCounted does not answer by itself.
func held(c harness.Call) harness.Call {
	c.Header = c.Header.Clone()
	c.Header.Set("X-Hold", "yes")
	return c
}

// desk is a backend's clerk, who keeps calls waiting.
type desk struct {
	arrived chan struct{}
	next    chan struct{} // one is answered for each
	closed  chan struct{} // all are
}

func (d *desk) fault(r *http.Request) *emulator.Error {
	if r.Header.Get("X-Fail") != "" {
		return &emulator.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "As asked for."}
	}
	if r.Header.Get("X-Hold") != "" {
		d.arrived <- struct{}{}
		select {
		case <-d.next:
		case <-d.closed:
		case <-r.Context().Done(): // only once the body has been read
		}
	}
	return nil
}

// TestWhatIsCounted holds the kinds and units beside calls in a window. The subtests share
// one gateway, each with a plan of its own.
func TestWhatIsCounted(t *testing.T) {
	d := &desk{arrived: make(chan struct{}, 100), next: make(chan struct{}, 100), closed: make(chan struct{})}
	r := plans{
		"two":     "{name: parallel, kind: concurrency, amount: 2}",
		"leaves":  "{name: parallel, kind: concurrency, amount: 2}",
		"one":     "{name: parallel, kind: concurrency, amount: 1}",
		"bytes":   "{name: bandwidth, kind: quota, unit: bytes, amount: 30000, period: 1d}",
		"rows":    "{name: rows, kind: quota, unit: rows, amount: 1000, period: 1d}",
		"success": "{name: good, kind: quota, amount: 12, period: 1d, count: success}",
		"report":  "{name: watched, kind: rate, amount: 2, window: 1m, enforce: false}",
	}.open(t, harness.Options{Emulator: func(c *emulator.Config) { c.Fault, c.Concurrency = d.fault, -1 }})
	t.Cleanup(func() { close(d.closed) })
	for _, s := range []struct {
		name string
		run  func(*testing.T, resort)
	}{
		{"as many at once as there are slots", func(t *testing.T, r resort) { slots(t, r, d) }},
		{"clients that hang up free their slots", func(t *testing.T, r resort) { slotsOfTheImpatient(t, r, d) }},
		{"one after the other is never refused", oneAfterTheOther},
		{"bytes", bytesAreCounted},
		{"rows", rowsAreCounted},
		{"only what succeeds", onlySuccessCounts},
		{"not enforced", notEnforced},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(t, r.For(t)) })
	}
}

func slots(t *testing.T, r resort, d *desk) {
	answers := make(chan harness.Response, 2)
	for range 2 {
		go func() {
			answer, err := r.Try(t.Context(), held(r.request("two", apimSuffix)))
			if err != nil {
				t.Error(err)
			}
			answers <- answer
		}()
		<-d.arrived
	}
	answer := r.call("two")
	seconds := retryAfter(t, answer)
	want := fmt.Sprintf(`{ "statusCode": 429, "message": "Too many calls at once. Try again in %d seconds." }`, seconds)
	if answer.Status != http.StatusTooManyRequests || answer.Body != want || answer.Header.Get("X-Tollgate-Reason") != "concurrency_limited" {
		t.Errorf("a third call: %d %s %s, want %s", answer.Status, answer.Header.Get("X-Tollgate-Reason"), answer.Body, want)
	}
	if got, want := answer.Header.Get("Ratelimit-Policy"), `"parallel";q=2;qu="concurrent-requests"`; got != want {
		t.Errorf("RateLimit-Policy %s, want %s", got, want)
	}
	d.next <- struct{}{}
	if first := <-answers; first.Status != http.StatusOK {
		t.Errorf("a call in a slot: %d %s", first.Status, first.Body)
	}
	r.Eventually(500*time.Millisecond, "the slot is free for the next", func() bool { return r.call("two").Status == http.StatusOK })
	d.next <- struct{}{}
	if second := <-answers; second.Status != http.StatusOK {
		t.Errorf("a call in a slot: %d %s", second.Status, second.Body)
	}
}

func slotsOfTheImpatient(t *testing.T, r resort, d *desk) {
	for range 3 {
		r.Eventually(2*time.Second, "both slots are free", func() bool {
			return len(r.Limits("leaves").Counters) == 0 || r.Limits("leaves").Counter(t, "parallel").Left == 2
		})
		impatient(t, r, "leaves", 2, d.arrived)
	}
	r.Eventually(2*time.Second, "a call passes", func() bool { return r.call("leaves").Status == http.StatusOK })
	r.settled(t, "leaves", "parallel", 0)
}

func oneAfterTheOther(t *testing.T, r resort) {
	got := map[int]int{}
	for range 100 {
		got[r.call("one").Status]++
	}
	if diff := cmp.Diff(map[int]int{http.StatusOK: 100}, got); diff != "" {
		t.Errorf("100 calls, one after the other (-want +got):\n%s", diff)
	}
}

func bytesAreCounted(t *testing.T, r resort) {
	request := r.request("bytes", apimSuffix)
	request.Body = fmt.Sprintf(`{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[[%q]]}},"GlobalParameters":{}}`, strings.Repeat("good day ", 100)) // answered with the same text
	passed := 0
	var answer harness.Response
	r.Eventually(20*time.Second, "all bytes are used up", func() bool {
		if answer = r.Do(request); answer.Status == http.StatusOK {
			passed++
			return false
		}
		c := r.Limits("bytes").Counter(t, "bandwidth")
		return c.Left <= 0 && c.Leased == 0
	})
	seconds := retryAfter(t, answer)
	want := fmt.Sprintf(`{ "statusCode": 403, "message": "Out of bandwidth quota. Quota will be replenished in %s." }`, timeSpan(seconds))
	if answer.Status != http.StatusForbidden || answer.Body != want {
		t.Errorf("%d %s, want %s", answer.Status, answer.Body, want)
	}
	for range 16 {
		if again := r.Do(request); again.Status != http.StatusForbidden {
			t.Errorf("after all is used up: %d %s", again.Status, again.Body)
		}
	}
	got := r.Limits("bytes").Counter(t, "bandwidth")
	// A call is more than its request's body, which comes back in the answer, and less than
	// that and 4 KiB. The last call of each of two workers may overdraw.
	const amount, workers = 30_000, 2
	least := int64(2 * len(request.Body))
	most := least + 4096
	if got.Used < amount || got.Used > amount+workers*most || got.Used < int64(passed)*least || got.Used > int64(passed)*most {
		t.Errorf("%d calls of %d to %d bytes passed: %+v", passed, least, most, got)
	}
}

// timeSpan is d.hh:mm:ss, without the days where there are none.
func timeSpan(seconds int) string {
	days := ""
	if n := seconds / 86400; n > 0 {
		days = fmt.Sprintf("%d.", n)
	}
	return fmt.Sprintf("%s%02d:%02d:%02d", days, seconds/3600%24, seconds/60%60, seconds%60)
}

func rowsAreCounted(t *testing.T, r resort) {
	r.Backend.Reset()
	want := int64(0)
	for _, rows := range []int{1, 4, 25, 100} {
		request := r.request("rows", apimSuffix)
		request.Header.Set("Accept-Encoding", "gzip")
		request.Body = `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[["x"]` + strings.Repeat(`,["This is a good day"]`, rows-1) + `]}},"GlobalParameters":{}}`
		if answer := r.Do(request); answer.Status != http.StatusOK {
			t.Errorf("%d rows: %d %s", rows, answer.Status, answer.Body)
		}
		want += int64(rows)
	}
	for _, seen := range r.Backend.Requests() {
		if got := seen.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("the backend was asked for %s, which cannot be counted", got)
		}
	}
	r.settled(t, "rows", "rows", want)
}

func onlySuccessCounts(t *testing.T, r resort) {
	failing := r.request("success", apimSuffix)
	failing.Header.Set("X-Fail", "yes")
	for range 3 {
		for i := range 10 {
			if answer := r.Do(failing); answer.Status != http.StatusServiceUnavailable || answer.Header.Get("X-Tollgate-Reason") != "" {
				t.Fatalf("failing call %d: %d %s", i, answer.Status, answer.Body)
			}
		}
		r.settled(t, "success", "good", 0)
	}
	for i := range 12 {
		if answer := r.call("success"); answer.Status != http.StatusOK {
			t.Errorf("call %d: %d %s", i, answer.Status, answer.Body)
		}
	}
	if answer := r.call("success"); answer.Status != http.StatusForbidden {
		t.Errorf("the 13th: %d %s", answer.Status, answer.Body)
	}
}

func notEnforced(t *testing.T, r resort) {
	for i := range 20 {
		answer := r.call("report")
		if answer.Status != http.StatusOK || answer.Header.Get("Ratelimit") != "" || answer.Header.Get("Ratelimit-Policy") != "" {
			t.Errorf("call %d: %d %s, RateLimit %q", i, answer.Status, answer.Body, answer.Header.Get("Ratelimit"))
		}
	}
	r.settled(t, "report", "watched", 20)
	if got := r.Limits("report").Counter(t, "watched"); got.Left != -18 {
		t.Errorf("%+v", got)
	}
}
