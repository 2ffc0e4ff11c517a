package harness

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// Limits is what `tollgate limits -o json` prints.
type Limits struct {
	admin.Limits
	Adjustments []admin.Adjustment `json:"adjustments"`
}

// Counter is that of one limit. The test fails when there is none, or are several: of a
// quota's periods only the current one is listed.
func (l Limits) Counter(t *testing.T, limit string) admin.Counter {
	t.Helper()
	var found []admin.Counter
	for _, c := range l.Counters {
		if c.Name == limit {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d counters are called %s, want one: %+v", len(found), limit, l.Counters)
	}
	return found[0]
}

// Limits runs `tollgate limits` with these arguments against the gateway's sidecar, and
// fails the test when the command does.
func (g *Gateway) Limits(args ...string) Limits {
	g.t.Helper()
	l, err := g.TryLimits(args...)
	if err != nil {
		g.t.Fatalf("tollgate limits %s: %v", strings.Join(args, " "), err)
	}
	return l
}

// TryLimits returns the command's error, with what it said.
func (g *Gateway) TryLimits(args ...string) (l Limits, err error) {
	out, err := g.TryTollgate(append([]string{"limits", "-o", "json"}, args...)...)
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal([]byte(out), &l)
}
