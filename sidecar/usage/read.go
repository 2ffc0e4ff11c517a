package usage

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// Read answers a query. *QueryError says that it cannot be answered; see also
// database.Unavailable.
func Read(ctx context.Context, db *database.DB, q Query, now time.Time) (Report, error) {
	if err := q.complete(now); err != nil {
		return Report{}, err
	}
	s := q.span(now)
	var report Report
	err := db.View(ctx, "reading usage", func(tx *database.Tx) error {
		report = Report{Until: s.until, Grain: s.grain, Per: q.Per, By: append([]Dimension{}, q.By...), Rows: []Row{}}
		since, err := s.start(ctx, tx)
		if err != nil {
			return err
		}
		report.Since = since
		ids, err := q.subscriptions(ctx, tx)
		if err != nil || q.Subscription != "" && len(ids) == 0 {
			return err
		}
		return report.read(ctx, tx, q.statement(s, since, ids))
	})
	if err != nil {
		return Report{}, err
	}
	if report.More = len(report.Rows) > q.Limit; report.More {
		report.Rows = report.Rows[:q.Limit]
	}
	return report, nil
}

// start is since, or when the oldest row begins; without rows it is until.
func (s span) start(ctx context.Context, tx *database.Tx) (time.Time, error) {
	if !s.since.IsZero() {
		return s.since, nil
	}
	var oldest sql.NullInt64
	if err := tx.QueryRow(ctx, `SELECT MIN(t) FROM `+s.name).Scan(&oldest); err != nil {
		return time.Time{}, err
	}
	if !oldest.Valid || oldest.Int64 > s.until.Unix() {
		return s.until, nil
	}
	return time.Unix(oldest.Int64, 0).UTC(), nil
}

// subscriptions are the ids that Query.Subscription means. A name goes before an id.
func (q *Query) subscriptions(ctx context.Context, tx *database.Tx) ([]int64, error) {
	if q.Subscription == "" {
		return nil, nil
	}
	found, err := tx.Query(ctx, `SELECT id, removed FROM subscription WHERE name = ? ORDER BY removed, id`, bounded(q.Subscription))
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var ids []int64
	for live := false; found.Next(); {
		var id int64
		var removed bool
		if err := found.Scan(&id, &removed); err != nil {
			return nil, err
		}
		if live = live || !removed; live && removed {
			break // the name is another's now
		}
		ids = append(ids, id)
	}
	if id, err := strconv.ParseUint(q.Subscription, 10, 32); len(ids) == 0 && err == nil && id > 0 {
		ids = []int64{int64(id)}
	}
	return ids, found.Err()
}

// statement is a query in SQL.
type statement struct {
	text      string
	arguments []any
}

var dimensionColumns = map[Dimension][]string{
	BySubscription: {"u.subscription", "COALESCE(s.name, '')"},
	ByDeveloper:    {"COALESCE(s.developer, '')"},
	ByProduct:      {"u.product"},
	ByAPI:          {"u.api"},
	ByOperation:    {"u.operation"},
	ByOutcome:      {"u.outcome"},
}

func (q *Query) statement(s span, since time.Time, ids []int64) statement {
	groups := []string{"u.t * 0"}
	if q.Per != "" {
		groups[0] = fmt.Sprintf("u.t - u.t %% %d", int64(q.Per.length()/time.Second))
	}
	for _, d := range q.By {
		groups = append(groups, dimensionColumns[d]...)
	}
	places := make([]string, len(groups))
	for i := range groups {
		places[i] = strconv.Itoa(i + 1)
	}
	calls := len(groups) + 1 // its place
	st := statement{arguments: []any{since.Unix(), s.until.Unix()}}
	where := q.where(ids, &st.arguments)
	st.text = fmt.Sprintf(`SELECT %s, %s FROM %s u LEFT JOIN subscription s ON s.id = u.subscription WHERE u.t >= ? AND u.t < ?%s
		GROUP BY %s ORDER BY 1, %d DESC, %s LIMIT ?`, strings.Join(groups, ", "), sumsOf, s.name, where, strings.Join(places, ", "), calls, strings.Join(places, ", "))
	st.arguments = append(st.arguments, int64(q.Limit)+1)
	return st
}

// where is the conditions that a query names, each after AND.
func (q *Query) where(ids []int64, arguments *[]any) string {
	var b strings.Builder
	for _, c := range []struct{ column, value string }{
		{"COALESCE(s.developer, '')", q.Developer}, {"u.product", q.Product}, {"u.api", q.API}, {"u.operation", q.Operation}, {"u.outcome", string(q.Outcome)},
	} {
		if c.value != "" {
			b.WriteString(" AND " + c.column + " = ?")
			*arguments = append(*arguments, bounded(c.value))
		}
	}
	if len(ids) > 0 {
		b.WriteString(" AND u.subscription IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(ids)), ", ") + ")")
		for _, id := range ids {
			*arguments = append(*arguments, id)
		}
	}
	return b.String()
}

// sumsOf are the numbers of a Row: calls, those of each outcome, bytes, and the histograms.
var sumsOf = func() string {
	columns := []string{sum("u.calls")}
	for _, o := range outcomes {
		columns = append(columns, sum("CASE WHEN u.outcome = '"+string(o)+"' THEN u.calls ELSE 0 END"))
	}
	for _, c := range sumColumns[1:] {
		switch {
		case strings.HasSuffix(c, "_min"):
			columns = append(columns, "MIN(u."+c+")")
		case strings.HasSuffix(c, "_max"):
			columns = append(columns, "MAX(u."+c+")")
		default:
			columns = append(columns, sum("u."+c))
		}
	}
	return strings.Join(columns, ", ")
}()

// sum is a whole number in both dialects: PostgreSQL's own sum is a decimal.
func sum(of string) string { return "CAST(SUM(" + of + ") AS BIGINT)" }

func (r *Report) read(ctx context.Context, tx *database.Tx, st statement) error {
	found, err := tx.Query(ctx, st.text, st.arguments...)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var row Row
		var at int64
		var total, backend scanned
		places := []any{&at}
		for _, d := range r.By {
			places = append(places, row.places(d)...)
		}
		places = append(places, &row.Calls, &row.Success, &row.Blocked, &row.Failed, &row.Other, &row.RequestBytes, &row.ResponseBytes)
		if err := found.Scan(slices.Concat(places, total.places(), backend.places())...); err != nil {
			return err
		}
		if r.Per != "" {
			row.Time = time.Unix(at, 0).UTC()
		}
		row.Total, row.Backend = total.histogram().times(), backend.histogram().times()
		r.Rows = append(r.Rows, row)
	}
	return found.Err()
}

// places are those of a dimension's columns, in the order of dimensionColumns.
func (r *Row) places(d Dimension) []any {
	switch d {
	case BySubscription:
		return []any{&r.SubscriptionID, &r.Subscription}
	case ByDeveloper:
		return []any{&r.Developer}
	case ByProduct:
		return []any{&r.Product}
	case ByAPI:
		return []any{&r.API}
	case ByOperation:
		return []any{&r.Operation}
	}
	return []any{&r.Outcome}
}

// scanned is a histogram's columns, whose minimum and maximum are NULL where there is no call.
type scanned struct {
	h        histogram
	min, max sql.NullInt64
}

func (s *scanned) places() []any {
	places := []any{&s.h.sum, &s.min, &s.max}
	for i := range s.h.counts {
		places = append(places, &s.h.counts[i])
	}
	return places
}

func (s *scanned) histogram() *histogram {
	s.h.min, s.h.max = s.min.Int64, s.max.Int64
	return &s.h
}
