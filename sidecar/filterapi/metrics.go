package filterapi

import "github.com/prometheus/client_golang/prometheus"

// Outcomes of an ask, as the label of tollgate_decide_total.
const (
	outcomeAllow = "allow"
	outcomeDeny  = "deny"
	outcomeStale = "stale"
	outcomeError = "error"
)

// metrics carry no name of a subscription, an API or a client: their labels are few and fixed.
type metrics struct {
	asks          *prometheus.CounterVec // outcome
	seconds       prometheus.Histogram
	calls         *prometheus.CounterVec // path, status
	watches       prometheus.Gauge
	revision      prometheus.Gauge
	subscriptions prometheus.Gauge
	denials       prometheus.Counter
	unreported    prometheus.Counter
	unrecorded    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		asks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_decide_total",
			Help: "Decisions that filters asked for, by outcome."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tollgate_decide_seconds",
			Help: "Time to answer one ask.", Buckets: prometheus.ExponentialBuckets(25e-6, 2, 16)}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_filter_calls_total",
			Help: "Calls from filters, by path and status."}, []string{"path", "status"}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tollgate_watches",
			Help: "Filters that wait for the next revision."}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tollgate_revision",
			Help: "Number of the published revision."}),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tollgate_subscriptions",
			Help: "Subscriptions in the published revision."}),
		denials: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_filter_denials_total",
			Help: "Requests that filters answered themselves."}),
		unreported: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_filter_denials_unreported_total",
			Help: "Denials that filters counted but could not report one by one."}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_decisions_unrecorded_total",
			Help: "Denies of policies that could not be put on record for tollgate explain."}),
	}
	for _, o := range []string{outcomeAllow, outcomeDeny, outcomeStale, outcomeError} {
		m.asks.WithLabelValues(o)
	}
	if r != nil {
		r.MustRegister(m.asks, m.seconds, m.calls, m.watches, m.revision, m.subscriptions, m.denials, m.unreported, m.unrecorded)
	}
	return m
}
