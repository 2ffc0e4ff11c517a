package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// What the store remembers of denials, for tollgate explain.
const (
	// KeepDenials and KeepFor bound decisions and denials each: the newest ones, and
	// none older.
	KeepDenials = 100_000
	KeepFor     = 7 * 24 * time.Hour
	// KeepReports is how long a usage report is known as taken. A filter repeats a
	// report within seconds.
	KeepReports = time.Hour
)

// Decision is a policy's deny. It holds no value of the request.
type Decision struct {
	ID           string
	Call         string
	Time         time.Time
	Status       int
	Reasons      []string
	Subscription uint32
	API          string
	Operation    string
	Policy       string // the policy's revision
	Rules        []Rule // none where there was no decision, or Detail says why not
	Detail       string // what else there is to say, for people
}

// Rule is a rule that took part in a deny.
type Rule struct {
	Path   string `json:"path"` // data.tollgate.access.deny
	File   string `json:"file"`
	Line   int    `json:"line"` // from 1
	Reason string `json:"reason,omitempty"`
	Title  string `json:"title,omitempty"` // from the rule's METADATA
}

// Record keeps decisions, all in one transaction.
func (s *Store) Record(ctx context.Context, decisions []Decision) error {
	return s.transact(ctx, "recording decisions", func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, `
			INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, d := range decisions {
			reasons, _ := json.Marshal(orEmpty(d.Reasons)) // strings always marshal
			rules, _ := json.Marshal(append([]Rule{}, d.Rules...))
			if _, err := insert.ExecContext(ctx, d.ID, d.Call, d.Time.UnixMilli(), d.Status, string(reasons), int64(d.Subscription),
				d.API, d.Operation, d.Policy, string(rules), d.Detail); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeUsage keeps a report's denials, once per (VM, Sequence): first is false, and nothing
// is kept, when it was taken before.
func (s *Store) TakeUsage(ctx context.Context, report wire.UsageReport) (first bool, err error) {
	err = s.transact(ctx, "taking usage", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `INSERT INTO usage_report (vm, sequence, taken) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			report.VM, int64(report.Sequence), s.now().UnixMilli())
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil || n == 0 {
			return err
		}
		first = true
		return insertDenials(ctx, tx, report.Denials)
	})
	return first && err == nil, err
}

func insertDenials(ctx context.Context, tx *sql.Tx, denials []wire.Denial) error {
	if len(denials) == 0 {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, `
		INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, d := range denials {
		if _, err := insert.ExecContext(ctx, d.Call, d.TimeMillis, d.Status, d.Reason, d.Decision, int64(d.Subscription),
			d.API, d.Operation); err != nil {
			return err
		}
	}
	return nil
}

// Prune forgets what is beyond Options.Keep, KeepFor and KeepReports, and intents older than
// KeepFor. Resources stay.
func (s *Store) Prune(ctx context.Context) error {
	now := s.now()
	old := now.Add(-KeepFor).UnixMilli()
	return s.transact(ctx, "pruning", func(tx *sql.Tx) error {
		for _, q := range []struct {
			statement string
			arguments []any
		}{
			{`DELETE FROM decision WHERE time < ?`, []any{old}},
			{`DELETE FROM decision WHERE seq <= (SELECT MAX(seq) FROM decision) - ?`, []any{s.keep}},
			{`DELETE FROM denial WHERE time < ?`, []any{old}},
			{`DELETE FROM denial WHERE seq <= (SELECT MAX(seq) FROM denial) - ?`, []any{s.keep}},
			{`DELETE FROM usage_report WHERE taken < ?`, []any{now.Add(-KeepReports).UnixMilli()}},
			{`DELETE FROM intent WHERE created < ?`, []any{old}},
		} {
			if _, err := tx.ExecContext(ctx, q.statement, q.arguments...); err != nil {
				return err
			}
		}
		return nil
	})
}
