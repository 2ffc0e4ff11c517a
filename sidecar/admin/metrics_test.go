package admin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// scrape is what a registry shows, by name and labels: "name{value of each label}".
func scrape(t *testing.T, c *admin.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			shown[f.GetName()+"{"+strings.Join(labels, " ")+"}"] = m.GetGauge().GetValue()
		}
	}
	return shown
}

func TestCountersAreMetrics(t *testing.T) {
	o := open(t)
	o.spend(1, false, week, minute)
	o.spend(1, true, week)
	if _, err := o.client.Raise(t.Context(), admin.Raise{Subscription: "alice", Limit: "week", Units: 10}); err != nil {
		t.Fatal(err)
	}
	shown := scrape(t, admin.NewCollector(o.ledger, 10))
	reset := "tollgate_limit_reset_timestamp_seconds{key=subscription:1 kind=rate limit=minute unit=calls}"
	counter := o.limitsNow("alice", "minute")
	if got, want := shown[reset], float64(counter.Reset.UnixMilli())/1000; got < want-5 || got > want+5 {
		t.Errorf("%s is %v, want about %v", reset, got, want)
	}
	delete(shown, reset)
	delete(shown, "tollgate_limit_reset_timestamp_seconds{key=subscription:1 kind=quota limit=week unit=calls}")
	inWeek, inMinute := "{key=subscription:1 kind=quota limit=week unit=calls}", "{key=subscription:1 kind=rate limit=minute unit=calls}"
	want := map[string]float64{
		"tollgate_limits_unreadable{}": 0, "tollgate_limits_unshown{}": 0,
		"tollgate_limit_used" + inWeek: 1, "tollgate_limit_leased" + inWeek: 1, "tollgate_limit_left" + inWeek: 108, "tollgate_limit_amount" + inWeek: 110,
		"tollgate_limit_used" + inMinute: 1, "tollgate_limit_leased" + inMinute: 0, "tollgate_limit_left" + inMinute: 4, "tollgate_limit_amount" + inMinute: 5,
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func (o *office) limitsNow(subscription, limit string) admin.Counter {
	o.t.Helper()
	all, err := o.client.Limits(context.Background(), subscription)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, c := range all.Counters {
		if c.Name == limit {
			return c
		}
	}
	o.t.Fatalf("no counter of %s", limit)
	return admin.Counter{}
}

func TestMetricsAreBounded(t *testing.T) {
	o := open(t)
	for i := range 7 {
		l := minute
		l.Key = fmt.Sprint("address:", i)
		o.spend(0, false, l)
	}
	shown := scrape(t, admin.NewCollector(o.ledger, 5))
	used := 0
	for name := range shown {
		if strings.HasPrefix(name, "tollgate_limit_used{") {
			used++
		}
	}
	if used != 5 || shown["tollgate_limits_unshown{}"] != 2 {
		t.Errorf("%d counters are shown and %v not, want 5 and 2", used, shown["tollgate_limits_unshown{}"])
	}
}

// scripted gives what a test wants to be counted, and counts how often it was asked.
type scripted struct {
	counters []ledger.Counter
	err      error
	asked    int
}

func (s *scripted) Counters(ctx context.Context, _ ledger.Filter) ([]ledger.Counter, error) {
	s.asked++
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("a scrape without a bound in time")
	}
	return s.counters, s.err
}

func (s *scripted) Count(context.Context) (int, error) { return len(s.counters), nil }

// A limit whose window was changed has two counters for a while: their labels are the same,
// and a scrape with the same labels twice would fail.
func TestOneCounterPerLabels(t *testing.T) {
	longer, bad := minute, minute
	longer.WindowMillis, bad.Key = 120_000, "broken \xff"
	s := &scripted{counters: []ledger.Counter{{ID: 1, Limit: minute, Used: 1}, {ID: 3, Limit: longer, Used: 3}, {ID: 2, Limit: minute, Used: 2}, {ID: 5, Limit: bad, Used: 5}}}
	c := admin.NewCollector(s, 10)
	shown := scrape(t, c)
	for labels, want := range map[string]float64{
		"{key=subscription:1 kind=rate limit=minute unit=calls}": 3,
		"{key=broken \uFFFD kind=rate limit=minute unit=calls}":  5,
	} {
		if got := shown["tollgate_limit_used"+labels]; got != want {
			t.Errorf("used%s is %v, want %v", labels, got, want)
		}
	}
	scrape(t, c)
	if s.asked != 1 {
		t.Errorf("two scrapes in a row asked %d times, want once", s.asked)
	}
}

func TestAScrapeGoesOnWithoutItsLedger(t *testing.T) {
	shown := scrape(t, admin.NewCollector(&scripted{err: ledger.ErrUnavailable}, 10))
	if diff := cmp.Diff(map[string]float64{"tollgate_limits_unreadable{}": 1}, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
