package usage

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteCSV writes the rows as RFC 4180 has it, with a first line of names: the time where
// Per is given, the dimensions of By (of a subscription its id as well), and the numbers. A
// name that a spreadsheet would take for a formula gets an apostrophe in front.
func (r Report) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	_ = out.Write(r.csvNames()) // Flush keeps the first error
	for i := range r.Rows {
		_ = out.Write(r.csvRow(&r.Rows[i]))
	}
	out.Flush()
	return out.Error()
}

func (r Report) csvNames() []string {
	var names []string
	if r.Per != "" {
		names = append(names, "time")
	}
	for _, d := range r.By {
		names = append(names, string(d))
		if d == BySubscription {
			names = append(names, "subscription_id")
		}
	}
	names = append(names, "calls", "success", "blocked", "failed", "other", "request_bytes", "response_bytes")
	for _, of := range []string{"total_", "backend_"} {
		for _, name := range []string{"calls", "average_micros", "min_micros", "max_micros", "p50_micros", "p95_micros", "p99_micros"} {
			names = append(names, of+name)
		}
	}
	return names
}

func (r Report) csvRow(row *Row) []string {
	var cells []string
	if r.Per != "" {
		cells = append(cells, row.Time.UTC().Format(time.RFC3339))
	}
	for _, d := range r.By {
		switch d {
		case BySubscription:
			cells = append(cells, harmless(row.Subscription), number(int64(row.SubscriptionID)))
		case ByDeveloper:
			cells = append(cells, harmless(row.Developer))
		case ByProduct:
			cells = append(cells, harmless(row.Product))
		case ByAPI:
			cells = append(cells, harmless(row.API))
		case ByOperation:
			cells = append(cells, harmless(row.Operation))
		case ByOutcome:
			cells = append(cells, string(row.Outcome))
		}
	}
	for _, n := range []int64{row.Calls, row.Success, row.Blocked, row.Failed, row.Other, row.RequestBytes, row.ResponseBytes} {
		cells = append(cells, number(n))
	}
	for _, t := range []Times{row.Total, row.Backend} {
		for _, n := range []int64{t.Calls, t.AverageMicros, t.MinMicros, t.MaxMicros, t.P50Micros, t.P95Micros, t.P99Micros} {
			cells = append(cells, number(n))
		}
	}
	return cells
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// harmless keeps a spreadsheet from calculating with a name.
func harmless(name string) string {
	if name != "" && strings.ContainsRune("=+-@\t\r\n", rune(name[0])) {
		return "'" + name
	}
	return name
}
