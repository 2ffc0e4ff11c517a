package admin

import (
	"context"
	"net/http"
	"time"
)

// turnWait is how long what reads much waits for its turn, unless Config says otherwise.
const turnWait = 5 * time.Second

// turn lets one call at a time do what reads much.
type turn struct {
	free chan struct{}
	wait time.Duration
}

func newTurn(wait time.Duration) turn { return turn{make(chan struct{}, 1), wait} }

// take waits for the turn, which release ends; the problem is that another call has it too
// long.
func (t turn) take(ctx context.Context, doing string) (release func(), err error) {
	limit := time.NewTimer(t.wait)
	defer limit.Stop()
	select {
	case t.free <- struct{}{}:
		return func() { <-t.free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-limit.C:
	}
	p := problem(http.StatusServiceUnavailable, "busy", "another %s is under way, and there is one at a time: try again in a moment", doing)
	p.header = http.Header{"Retry-After": {"5"}}
	return nil, p
}
