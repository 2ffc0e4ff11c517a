package usage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// rowKey is what rows of one table differ by.
type rowKey struct {
	t                       int64 // Unix seconds
	subscription            uint32
	product, api, operation string
	outcome                 wire.CallOutcome
}

func (k rowKey) compare(o rowKey) int {
	return cmp.Or(cmp.Compare(k.t, o.t), cmp.Compare(k.subscription, o.subscription), strings.Compare(k.product, o.product),
		strings.Compare(k.api, o.api), strings.Compare(k.operation, o.operation), cmp.Compare(k.outcome, o.outcome))
}

// sums are calls added up.
type sums struct {
	calls, requestBytes, responseBytes int64
	total, backend                     histogram
}

func (s *sums) add(r *wire.UsageRow) {
	s.calls += r.Calls
	s.requestBytes += r.RequestBytes
	s.responseBytes += r.ResponseBytes
	s.total.add(r.Total)
	s.backend.add(r.Backend)
}

// histogram is durations in microseconds; the zero value has none.
type histogram struct {
	sum, min, max int64
	counts        [wire.UsageBuckets]int64
}

func (h *histogram) calls() (n int64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

func (h *histogram) add(t wire.UsageTimes) {
	if len(t.Counts) == 0 {
		return
	}
	if h.calls() == 0 || t.MinMicros < h.min {
		h.min = t.MinMicros
	}
	h.max = max(h.max, t.MaxMicros)
	h.sum += t.SumMicros
	for i, n := range t.Counts {
		h.counts[i] += n
	}
}

// columns are in the order of histogramColumns. Where there is no call there is no minimum.
func (h *histogram) columns() []any {
	row := []any{h.sum, h.min, h.max}
	if h.calls() == 0 {
		row[1], row[2] = nil, nil
	}
	for _, n := range h.counts {
		row = append(row, n)
	}
	return row
}

// Add adds rows that passed Check to what is there, within tx. The rows of each table are
// taken in one order, so that of several sidecars that add at once none waits for one that
// waits for it.
func Add(ctx context.Context, tx *database.Tx, rows []wire.UsageRow) error {
	if len(rows) == 0 {
		return nil
	}
	for _, t := range tables {
		merged := map[rowKey]*sums{}
		for i := range rows {
			k := keyOf(&rows[i], t)
			if merged[k] == nil {
				merged[k] = &sums{}
			}
			merged[k].add(&rows[i])
		}
		if err := t.put(ctx, tx, merged); err != nil {
			return fmt.Errorf("adding to %s: %w", t.name, err)
		}
	}
	return nil
}

func keyOf(r *wire.UsageRow, t table) rowKey {
	at := r.Minute * int64(time.Minute/time.Second)
	return rowKey{at - at%t.seconds(), r.Subscription, bounded(r.Product), bounded(r.API), bounded(r.Operation), r.Outcome}
}

// bounded is a name that every database takes and no index finds too long. The catalog's
// names are such names already.
func bounded(name string) string {
	name = strings.ReplaceAll(strings.ToValidUTF8(name, "\uFFFD"), "\x00", "\uFFFD")
	end := min(len(name), wire.UsageNameMax)
	for end < len(name) && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// together is how many rows one statement adds where there are as many: fewer ways to the
// server and back.
const together = 16

func (t table) put(ctx context.Context, tx *database.Tx, merged map[rowKey]*sums) error {
	keys := slices.SortedFunc(maps.Keys(merged), rowKey.compare)
	for len(keys) > 0 {
		n := 1
		if len(keys) >= together {
			n = together
		}
		var arguments []any
		for _, k := range keys[:n] {
			s := merged[k]
			arguments = append(arguments, k.t, int64(k.subscription), k.product, k.api, k.operation, string(k.outcome), s.calls, s.requestBytes, s.responseBytes)
			arguments = append(append(arguments, s.total.columns()...), s.backend.columns()...)
		}
		if _, err := tx.Exec(ctx, adding[t.name][n], arguments...); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// adding holds the statements that add n rows to a table, by its name and n.
var adding = func() map[string]map[int]string {
	statements := map[string]map[int]string{}
	for _, t := range tables {
		statements[t.name] = map[int]string{1: addition(t.name, 1), together: addition(t.name, together)}
	}
	return statements
}()

var (
	keyColumns = []string{"t", "subscription", "product", "api", "operation", "outcome"}
	sumColumns = slices.Concat([]string{"calls", "request_bytes", "response_bytes"}, histogramColumns("total"), histogramColumns("backend"))
)

func histogramColumns(of string) []string {
	columns := []string{of + "_sum", of + "_min", of + "_max"}
	for i := range wire.UsageBuckets {
		columns = append(columns, fmt.Sprintf("%s_%d", of, i))
	}
	return columns
}

func addition(table string, rows int) string {
	var sets []string
	for _, c := range sumColumns {
		was, comes := table+"."+c, "excluded."+c
		switch {
		case strings.HasSuffix(c, "_min"): // or else what of the two is not NULL
			sets = append(sets, fmt.Sprintf("%s = CASE WHEN %s < %s THEN %s ELSE COALESCE(%s, %s) END", c, was, comes, was, comes, was))
		case strings.HasSuffix(c, "_max"):
			sets = append(sets, fmt.Sprintf("%s = CASE WHEN %s > %s THEN %s ELSE COALESCE(%s, %s) END", c, was, comes, was, comes, was))
		default:
			sets = append(sets, fmt.Sprintf("%s = %s + %s", c, was, comes))
		}
	}
	columns := slices.Concat(keyColumns, sumColumns)
	values := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ") + ")"
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES %s ON CONFLICT (%s) DO UPDATE SET %s", table, strings.Join(columns, ", "),
		strings.TrimSuffix(strings.Repeat(values+", ", rows), ", "), strings.Join(keyColumns, ", "), strings.Join(sets, ", "))
}

// Prune forgets rows that are older than they are kept, a bounded part of the oldest at a
// time: called again it goes on.
func Prune(ctx context.Context, db *database.DB, now time.Time) error {
	for _, t := range tables {
		old := now.Add(-t.keep).Unix()
		if err := db.Transact(ctx, "pruning "+t.name, func(tx *database.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM `+t.name+` WHERE t < ? AND t < (SELECT MIN(t) FROM `+t.name+`) + ?`, old, int64(t.slice/time.Second))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
