package admin

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/sidecar/ledger"
)

const (
	// scrapeTimeout bounds reading the counters for one scrape.
	scrapeTimeout = time.Second
	// scrapeEvery is how old what a scrape shows may be: several that scrape, or scrape
	// often, cost no more than one.
	scrapeEvery = 2 * time.Second
)

var (
	counterLabels = []string{"limit", "key", "kind", "unit"}

	usedDesc   = prometheus.NewDesc("tollgate_limit_used", "Units that are spent in the window or period.", counterLabels, nil)
	leasedDesc = prometheus.NewDesc("tollgate_limit_leased", "Units that workers may spend without asking.", counterLabels, nil)
	leftDesc   = prometheus.NewDesc("tollgate_limit_left", "Units that are neither used nor leased; below 0 when overdrawn.", counterLabels, nil)
	amountDesc = prometheus.NewDesc("tollgate_limit_amount", "Units that the limit allows, with what it was raised by.", counterLabels, nil)
	resetDesc  = prometheus.NewDesc("tollgate_limit_reset_timestamp_seconds", "When more will be left.", counterLabels, nil)
	hiddenDesc = prometheus.NewDesc("tollgate_limits_unshown", "Counters beyond --limit-metrics, which are not shown.", nil, nil)
	failedDesc = prometheus.NewDesc("tollgate_limits_unreadable", "1 where the counters could not be read for this scrape.", nil, nil)
)

// Counting is what a Collector reads; *ledger.Ledger is one.
type Counting interface {
	Counters(context.Context, ledger.Filter) ([]ledger.Counter, error)
	// Count is how many counters there are.
	Count(context.Context) (int, error)
}

// Collector shows counters as metrics, when they are scraped. Only one reads at a time, and
// not more often than every 2 s.
type Collector struct {
	ledger Counting
	most   int

	mu     sync.Mutex
	read   time.Time
	found  []ledger.Counter
	hidden int
	err    error
}

// NewCollector makes a Collector of at most most counters, which is above 0.
func NewCollector(l Counting, most int) *Collector { return &Collector{ledger: l, most: most} }

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{usedDesc, leasedDesc, leftDesc, amountDesc, resetDesc, hiddenDesc, failedDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Where the counters cannot be read, all other
// metrics are still scraped.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	found, hidden, err := c.look()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if err != nil {
		gauge(failedDesc, 1)
		return
	}
	gauge(failedDesc, 0)
	gauge(hiddenDesc, float64(hidden))
	for labels, counter := range distinct(found) {
		gauge(usedDesc, float64(counter.Used), labels[:]...)
		gauge(leasedDesc, float64(counter.Leased), labels[:]...)
		gauge(leftDesc, float64(counter.Left), labels[:]...)
		gauge(amountDesc, float64(counter.Limit.Amount+counter.Raised), labels[:]...)
		if !counter.Reset.IsZero() {
			gauge(resetDesc, float64(counter.Reset.UnixMilli())/1000, labels[:]...)
		}
	}
}

// look reads the counters, unless that was done a moment ago.
func (c *Collector) look() ([]ledger.Counter, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.read.IsZero() && time.Since(c.read) < scrapeEvery {
		return c.found, c.hidden, c.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	c.found, c.err = c.ledger.Counters(ctx, ledger.Filter{All: true, Max: c.most})
	c.hidden = 0
	if c.err == nil && len(c.found) >= c.most {
		var all int
		all, c.err = c.ledger.Count(ctx)
		c.hidden = max(0, all-len(c.found))
	}
	c.read = time.Now()
	return c.found, c.hidden, c.err
}

// distinct has one counter per set of labels, the one that was made last: a limit whose window
// was changed has two for a while.
func distinct(found []ledger.Counter) map[[4]string]ledger.Counter {
	valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	shown := make(map[[4]string]ledger.Counter, len(found))
	for _, c := range found {
		labels := [4]string{valid(c.Limit.Name), valid(c.Limit.Key), string(c.Limit.Kind), string(c.Limit.Unit)}
		if c.ID > shown[labels].ID {
			shown[labels] = c
		}
	}
	return shown
}
