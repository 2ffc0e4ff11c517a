package e2e_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

// A hundred calls a week are a hundred, however often everything is killed in between.
func TestAQuotaOutlivesEverything(t *testing.T) {
	const amount = 100
	r := plans{"weekly": "{name: week, kind: quota, amount: 100, period: 7d}"}.open(t, harness.Options{})
	crashes := map[int]func(){
		15: func() { r.KillSidecar(); r.StartSidecar() },
		40: func() { r.KillEnvoy(); r.StartEnvoy() },
		65: func() { r.KillSidecar(); r.KillEnvoy(); r.StartEnvoy(); r.StartSidecar() },
		85: func() { r.KillEnvoy(); r.KillSidecar(); r.StartSidecar(); r.StartEnvoy() },
		99: func() { r.KillSidecar(); r.StartSidecar() },
	}
	for passed := 0; passed < amount; {
		if crash := crashes[passed]; crash != nil {
			delete(crashes, passed)
			crash()
			r.AwaitReady(time.Minute)
		}
		switch answer := r.call("weekly"); answer.Status {
		case http.StatusOK:
			passed++
		case http.StatusServiceUnavailable: // the worker's connection to the sidecar that was
		default:
			t.Fatalf("after %d calls: %d %s", passed, answer.Status, answer.Body)
		}
	}
	outOfQuota(t, r)
	r.KillEnvoy()
	r.KillSidecar()
	r.StartSidecar()
	r.StartEnvoy()
	r.AwaitReady(time.Minute)
	outOfQuota(t, r)
	if n := r.Backend.Counts().Requests; n != amount {
		t.Errorf("%d requests reached the backend, want %d", n, amount)
	}
	// What workers had not settled when they were killed stays theirs.
	if c := r.Limits("weekly").Counter(t, "week"); c.Used+c.Leased != amount || c.Left != 0 {
		t.Errorf("%+v", c)
	}
}

// outOfQuota checks the refusal of every worker, of a quota of a week that has just begun.
func outOfQuota(t *testing.T, r resort) {
	t.Helper()
	for range 16 {
		answer := r.call("weekly")
		seconds := retryAfter(t, answer)
		want := `{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in ` + timeSpan(seconds) + `." }`
		if answer.Status != http.StatusForbidden || answer.Body != want || answer.Header.Get("X-Tollgate-Reason") != "quota_exceeded" {
			t.Errorf("%d %s %s, want %s", answer.Status, answer.Header.Get("X-Tollgate-Reason"), answer.Body, want)
		}
		const week = 7 * 24 * 60 * 60
		if seconds > week || seconds < week-10*60 {
			t.Errorf("%s: that is %d s of %d", answer.Body, seconds, week)
		}
	}
}

// Two gateways on one PostgreSQL are one ledger.
func TestTwoGatewaysShareALedger(t *testing.T) {
	p := plans{
		"minute": "{name: minute, kind: rate, amount: 5, window: 1m}",
		"reset":  "{name: minute, kind: rate, amount: 40, window: 1m}",
	}
	postgres := postgrestest.Start(t)
	o := harness.Options{Store: postgres.Database(t)}
	first := p.open(t, o)
	second := first.beside(t, o, p)

	t.Run("20 calls at once", func(t *testing.T) {
		gateways, turn := []resort{first.For(t), second.For(t)}, make(chan int, 20)
		for i := range cap(turn) {
			turn <- i % 2
		}
		answers := atOnce(t.Context(), t, cap(turn), func(ctx context.Context) (harness.Response, error) {
			r := gateways[<-turn]
			return r.Try(ctx, r.request("minute", apimSuffix))
		})
		if got := statuses(answers); got[http.StatusOK] != 5 || got[http.StatusTooManyRequests] != 15 {
			t.Errorf("%v, want 5 that pass and 15 that are refused", got)
		}
		for _, r := range gateways {
			r.settled(t, "minute", "minute", 5)
		}
	})
	t.Run("a reset at one is a reset at the other", func(t *testing.T) {
		first, second := first.For(t), second.For(t)
		for range 40 {
			if answer := first.call("reset"); answer.Status != http.StatusOK {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
		}
		first.settled(t, "reset", "minute", 40)
		if !inARow(second, "reset", http.StatusTooManyRequests) {
			t.Fatal("what is used up at one gateway is not refused at the other")
		}
		first.Limits("reset", "--reset")
		second.Eventually(3*time.Second, "the other lets calls pass", func() bool { return inARow(second, "reset", http.StatusOK) })
	})
}
