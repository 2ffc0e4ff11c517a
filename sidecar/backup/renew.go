package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
)

const (
	// step is by how much the numbers of a store go on with a restore: more than it can
	// have used since the backup, so that none comes again with other content. JSON carries
	// two million of them exactly.
	step = 1 << 32
	// revisionStep is the same for one object or subscription, whose revision has 32 bits.
	revisionStep = 1 << 16
)

// timeline is none that a database has. The ledger's first look at its clock takes it for a
// database that went on from another copy, which it did.
const timeline = "restored"

// renew brings a restored store up to date and changes what must not go on as it was.
func (s *Summary) renew(ctx context.Context, path string) (err error) {
	db, err := database.Open(ctx, database.Config{Source: path})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	report, err := audit.Verify(ctx, db, nil)
	if err != nil {
		return err
	}
	if err := db.Transact(ctx, "renewing the store", func(tx *database.Tx) error {
		*s = Summary{Target: s.Target, Taken: s.Taken, Version: s.Version}
		if err := s.change(ctx, tx, db.Dialect()); err != nil {
			return err
		}
		return s.count(ctx, tx)
	}); err != nil {
		return err
	}
	s.Notes = s.notes()
	if report.Broken != nil {
		s.Notes = append(s.Notes, fmt.Sprintf("The chain of the audit does not hold, and did not in the backup: %s.", report.Broken.Why))
	}
	return nil
}

func (s *Summary) change(ctx context.Context, tx *database.Tx, d database.Dialect) error {
	for _, c := range []struct {
		statement string
		args      []any
	}{
		// Filters that hold a later revision get a whole snapshot, and no entity tag of
		// before fits another content.
		{`UPDATE meta SET number = number + ?, change = change + ?`, []any{int64(step), int64(step)}},
		{`UPDATE subscription SET revision = revision + ?`, []any{revisionStep}},
		{`UPDATE object SET revision = revision + ?`, []any{revisionStep}},
		// What was spent since is not known, and what filters remember of limits is over.
		{`UPDATE limit_meta SET timeline = ?, resets = resets + ?`, []any{timeline, int64(step)}},
		// A creation that was not answered then never will be; its caller may try again.
		{`DELETE FROM idempotency WHERE status = 0`, nil},
	} {
		if _, err := tx.Exec(ctx, c.statement, c.args...); err != nil {
			return err
		}
	}
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(store), '') FROM meta`).Scan(&s.Store); err != nil {
		return err
	}
	after, err := json.Marshal(struct {
		Taken   time.Time `json:"taken"`
		Version int64     `json:"version"`
	}{s.Taken, s.Version})
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, d, []audit.Entry{{Time: time.Now(), Actor: operator(), Origin: "backup", Action: "store.restore", Kind: "store",
		Name: s.Store, After: string(after)}})
}

// operator is who runs this process: "alice (uid 1000)".
func operator() string {
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return u.Username + " (uid " + uid + ")"
	}
	return "uid " + uid
}

func (s *Summary) count(ctx context.Context, tx *database.Tx) error {
	tables, err := tablesOf(ctx, tx)
	if err != nil {
		return err
	}
	s.Rows = make(map[string]int64, len(tables))
	for _, t := range tables {
		var n int64
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM `+quoted(t.name)).Scan(&n); err != nil {
			return err
		}
		s.Rows[t.name] = n
	}
	return nil
}

func (s *Summary) notes() []string {
	at := s.Taken.Format(time.RFC3339)
	return []string{
		fmt.Sprintf("Everything that changed after %s is not in it.", at),
		fmt.Sprintf("Keys and tokens that were revoked, regenerated or expired by hand after %s work again, and subscriptions that were suspended or cancelled then are what they were: do it again where it matters.", at),
		"Limits of a kind rate let nothing pass until one of their windows and 30 s have passed since the first start, and concurrency limits for 30 s: what was spent is not known.",
		fmt.Sprintf("Quotas go on from %s: in the periods that run they may let pass again what was spent since.", at),
		fmt.Sprintf("Batch jobs that were submitted after %s belong to nobody that the gateway knows: their owners get 404.", at),
		"A head of the audit that was noted after the backup is not in its chain any more; the restore is the chain's next entry.",
	}
}
