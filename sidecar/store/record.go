package store

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/usage"
)

// What the store remembers of denials, for tollgate explain.
const (
	// KeepDenials and KeepFor bound decisions and denials each: the newest ones, and
	// none older.
	KeepDenials = 100_000
	KeepFor     = 7 * 24 * time.Hour
	// KeepReports is how long it is known which usage reports of a worker were taken. A
	// filter repeats a report for as long as nobody answers.
	KeepReports = 30 * 24 * time.Hour
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
	return s.db.Transact(ctx, "recording decisions", func(tx *database.Tx) error {
		for _, d := range decisions {
			reasons, _ := json.Marshal(orEmpty(d.Reasons)) // strings always marshal
			rules, _ := json.Marshal(append([]Rule{}, d.Rules...))
			if _, err := tx.Exec(ctx, `
				INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, d.ID, shown(d.Call), d.Time.UnixMilli(), d.Status, shown(string(reasons)), int64(d.Subscription),
				shown(d.API), shown(d.Operation), d.Policy, shown(string(rules)), shown(d.Detail)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeUsage keeps a report's denials, adds its rows to what was called, and notes when keys
// were used, once per (VM, Sequence): first is false, and nothing is kept, when a report of
// that VM with this sequence or a higher one was taken before. The report has passed
// usage.Check.
func (s *Store) TakeUsage(ctx context.Context, report wire.UsageReport) (first bool, err error) {
	err = s.db.Transact(ctx, "taking usage", func(tx *database.Tx) error {
		first = false
		done, err := tx.Exec(ctx, `
			INSERT INTO usage_vm (vm, sequence, taken) VALUES (?, ?, ?)
			ON CONFLICT (vm) DO UPDATE SET sequence = excluded.sequence, taken = excluded.taken WHERE usage_vm.sequence < excluded.sequence`,
			shown(report.VM), int64(report.Sequence), s.now().UnixMilli())
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil || n == 0 {
			return err
		}
		first = true
		if err := insertDenials(ctx, tx, report.Denials); err != nil {
			return err
		}
		if err := usage.Add(ctx, tx, report.Rows); err != nil {
			return err
		}
		return noteKeys(ctx, tx, report.Keys, s.now())
	})
	return first && err == nil, err
}

// noteKeys moves the last use of keys forward, in one order for all sidecars. A key that is
// on its way out of its slot is told from the others by when it expires.
func noteKeys(ctx context.Context, tx *database.Tx, keys []wire.KeyUse, now time.Time) error {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b wire.KeyUse) int {
		return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Expires, b.Expires))
	})
	for _, k := range keys {
		at := min(k.TimeMillis, now.UnixMilli())
		if _, err := tx.Exec(ctx, `
			UPDATE key SET used = ? WHERE subscription = ? AND slot = ? AND expires = ? AND used < ?`,
			at, int64(k.Subscription), int(k.Slot), int64(k.Expires), at); err != nil {
			return err
		}
	}
	return nil
}

// Usage answers a question about what was called.
func (s *Store) Usage(ctx context.Context, q usage.Query) (usage.Report, error) {
	return usage.Read(ctx, s.db, q, s.now())
}

func insertDenials(ctx context.Context, tx *database.Tx, denials []wire.Denial) error {
	for _, d := range denials {
		if _, err := tx.Exec(ctx, `
			INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation, limit_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			shown(d.Call), d.TimeMillis, d.Status, shown(d.Reason), shown(d.Decision), int64(d.Subscription),
			shown(d.API), shown(d.Operation), shown(d.Limit)); err != nil {
			return err
		}
	}
	return nil
}

// Prune forgets what is beyond Options.Keep, KeepFor and KeepReports, intents older than
// KeepFor, and usage as package usage says. Resources stay.
func (s *Store) Prune(ctx context.Context) error {
	now := s.now()
	old := now.Add(-KeepFor).UnixMilli()
	err := s.db.Transact(ctx, "pruning", func(tx *database.Tx) error {
		for _, q := range []struct {
			statement string
			arguments []any
		}{
			{`DELETE FROM decision WHERE time < ?`, []any{old}},
			{`DELETE FROM decision WHERE seq <= (SELECT MAX(seq) FROM decision) - ?`, []any{int64(s.keep)}},
			{`DELETE FROM denial WHERE time < ?`, []any{old}},
			{`DELETE FROM denial WHERE seq <= (SELECT MAX(seq) FROM denial) - ?`, []any{int64(s.keep)}},
			{`DELETE FROM usage_vm WHERE taken < ?`, []any{now.Add(-KeepReports).UnixMilli()}},
			{`DELETE FROM intent WHERE created < ?`, []any{old}},
		} {
			if _, err := tx.Exec(ctx, q.statement, q.arguments...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return usage.Prune(ctx, s.db, now)
}
