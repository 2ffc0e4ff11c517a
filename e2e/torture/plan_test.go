package torture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/e2e/torture"
)

// Headers in which a client tells the backend which call this is.
const (
	planHeader = "X-Plan"
	callHeader = "X-Call"
	sentHeader = "X-Sent" // nanoseconds since the start
)

// plan is a limit, a subscription that has it, and the clients that use it.
type plan struct {
	name    string
	kind    string // rate or quota; a quota is for life
	amount  int
	window  time.Duration
	clients int
	pace    time.Duration // of a client between two calls, under torture
	key     string
	pause   atomic.Int64 // pace, or 0 once the torture is over

	mu      sync.Mutex
	last    int            // id of a call
	calls   []torture.Call // that reached the backend
	seen    map[string]bool
	answers map[string]int // what clients were answered: status and reason
}

func (p *plan) limit() string {
	if p.kind == "quota" {
		return fmt.Sprintf("{name: %s, kind: quota, amount: %d, period: 0}", p.name, p.amount)
	}
	return fmt.Sprintf("{name: %s, kind: rate, amount: %d, window: %s}", p.name, p.amount, p.window)
}

// passed is how many calls reached the backend.
func (p *plan) passed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

// answered is how many calls were answered with 200.
func (p *plan) answered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers["200 "]
}

// since is a copy of the calls that were sent after start.
func (p *plan) since(start time.Duration) []torture.Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.calls), func(c torture.Call) bool { return c.Sent < start })
}

func (p *plan) next() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	return strconv.Itoa(p.last)
}

func (p *plan) count(answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[answer]++
}

// report is one line for people.
func (p *plan) report() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d reached the backend; answers:", p.name, len(p.calls))
	for _, answer := range slices.Sorted(maps.Keys(p.answers)) {
		fmt.Fprintf(&b, " %s: %d,", strings.TrimSpace(answer), p.answers[answer])
	}
	return strings.TrimSuffix(b.String(), ",")
}

// backend notes which calls were let pass.
type backend struct {
	t     *testing.T
	start time.Time
	plans map[string]*plan
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived := time.Since(b.start)
	p := b.plans[r.Header.Get(planHeader)]
	sent, err := strconv.ParseInt(r.Header.Get(sentHeader), 10, 64)
	if p == nil || err != nil {
		b.t.Errorf("a request that no client made reached the backend: %s %s", r.Method, r.URL.Path)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := r.Header.Get(callHeader); !p.seen[id] { // one call is one, though it comes twice
		p.seen[id] = true
		p.calls = append(p.calls, torture.Call{Sent: time.Duration(sent), Arrived: arrived})
	}
}

// client calls until ctx ends, now one gateway and now another.
type client struct {
	plan     *plan
	start    time.Time
	gateways []*harness.Gateway
	random   *rand.Rand
}

func (c *client) run(ctx context.Context) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	h := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	defer transport.CloseIdleConnections()
	for ctx.Err() == nil {
		if c.random.IntN(20) == 0 {
			transport.CloseIdleConnections() // the next connection may be another worker's
		}
		answer := c.call(ctx, h)
		if ctx.Err() != nil {
			return
		}
		c.plan.count(answer)
		wait := time.Duration(c.plan.pause.Load())
		if answer != "200 " {
			wait = time.Millisecond + time.Duration(c.random.Int64N(int64(10*time.Millisecond)))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// noAnswer is the answer of a call whose connection died.
const noAnswer = "none "

// call makes one call, a POST: no client and no proxy sends one twice by itself.
func (c *client) call(ctx context.Context, h *http.Client) string {
	g := c.gateways[c.random.IntN(len(c.gateways))]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/torture/call", http.NoBody)
	if err != nil {
		return err.Error()
	}
	request.Header.Set(harness.KeyHeader, c.plan.key)
	request.Header.Set(planHeader, c.plan.name)
	request.Header.Set(callHeader, c.plan.next())
	request.Header.Set(sentHeader, strconv.FormatInt(int64(time.Since(c.start)), 10))
	response, err := h.Do(request)
	if err != nil {
		return noAnswer
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil && !errors.Is(err, context.Canceled) {
		return noAnswer
	}
	return strconv.Itoa(response.StatusCode) + " " + response.Header.Get("X-Tollgate-Reason")
}
