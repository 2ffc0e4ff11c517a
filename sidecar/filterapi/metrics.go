package filterapi

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/internal/wire"
)

// Outcomes of an ask, as the label of tollgate_decide_total.
const (
	outcomeAllow = "allow"
	outcomeDeny  = "deny"
	outcomeStale = "stale"
	outcomeError = "error"
)

// Outcomes of a take, as the label of tollgate_takes_total.
const (
	takeGranted     = "granted"
	takeExhausted   = "exhausted"
	takeUnavailable = "unavailable"
)

// metrics carry no name of a subscription, an API or a client: their labels are few and fixed.
type metrics struct {
	asks          *prometheus.CounterVec // outcome
	seconds       prometheus.Histogram
	calls         *prometheus.CounterVec // path, status
	watches       prometheus.Gauge
	revision      prometheus.Gauge
	subscriptions prometheus.Gauge
	usage         *prometheus.CounterVec // outcome
	uncounted     prometheus.Counter
	denials       prometheus.Counter
	unreported    prometheus.Counter
	unrecorded    prometheus.Counter

	takes           *prometheus.CounterVec // outcome
	units           *prometheus.CounterVec // unit
	settlements     prometheus.Counter
	abandoned       prometheus.Counter
	ledgerSeconds   prometheus.Histogram
	ledgerAvailable prometheus.Gauge
	events          *prometheus.CounterVec // percent
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
		usage: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_usage_calls_total",
			Help: "Calls that filters reported, by outcome."}, []string{"outcome"}),
		uncounted: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_usage_dropped_total",
			Help: "Calls that filters could not report: they are missing in what tollgate usage shows."}),
		denials: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_filter_denials_total",
			Help: "Requests that filters answered themselves."}),
		unreported: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_filter_denials_unreported_total",
			Help: "Denials that filters counted but could not report one by one."}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_decisions_unrecorded_total",
			Help: "Denies that could not be put on record for tollgate explain."}),

		takes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_takes_total",
			Help: "Leases that filters asked for, one per request's limits, by outcome."}, []string{"outcome"}),
		units: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_units_granted_total",
			Help: "Units leased to filters, by unit; unused ones come back."}, []string{"unit"}),
		settlements: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_settlements_total",
			Help: "Settlements of leases that the ledger took, repetitions included."}),
		abandoned: prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_takes_abandoned_total",
			Help: "Takes that filters gave up, repetitions included."}),
		ledgerSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tollgate_ledger_seconds",
			Help: "Time for one message's takes and settlements.", Buckets: prometheus.ExponentialBuckets(100e-6, 2, 16)}),
		ledgerAvailable: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tollgate_ledger_available",
			Help: "1 while the ledger answers, 0 while requests that need a lease are refused."}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_limit_events_total",
			Help: "Limits that reached a part of their amount, by percent."}, []string{"percent"}),
	}
	m.ledgerAvailable.Set(1)
	for _, o := range []string{takeGranted, takeExhausted, takeUnavailable} {
		m.takes.WithLabelValues(o)
	}
	for _, u := range []wire.LimitUnit{wire.UnitCalls, wire.UnitBytes, wire.UnitRows} {
		m.units.WithLabelValues(string(u))
	}
	for _, o := range []string{outcomeAllow, outcomeDeny, outcomeStale, outcomeError} {
		m.asks.WithLabelValues(o)
	}
	for _, o := range []wire.CallOutcome{wire.CallSuccess, wire.CallBlocked, wire.CallFailed, wire.CallOther} {
		m.usage.WithLabelValues(string(o))
	}
	if r != nil {
		r.MustRegister(m.usage, m.uncounted, m.asks, m.seconds, m.calls, m.watches, m.revision, m.subscriptions, m.denials, m.unreported, m.unrecorded,
			m.takes, m.units, m.settlements, m.abandoned, m.ledgerSeconds, m.ledgerAvailable, m.events)
	}
	return m
}

// took counts what a report held.
func (m *metrics) took(r *wire.UsageReport) {
	for i := range r.Rows {
		m.usage.WithLabelValues(string(r.Rows[i].Outcome)).Add(float64(r.Rows[i].Calls))
	}
	m.uncounted.Add(float64(r.UsageDropped))
	m.denials.Add(float64(len(r.Denials)))
	m.unreported.Add(float64(max(0, r.DenialsDropped)))
}
