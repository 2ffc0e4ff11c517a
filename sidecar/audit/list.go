package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// How many entries List gives.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Query says which entries List gives: those to which all of it applies that is not empty.
type Query struct {
	Kind   string
	Name   string
	Actor  string
	Action string
	Since  time.Time // not before this
	Until  time.Time // before this
	// After is the id of the last entry of the page before: only older ones follow.
	After int64
	// Limit is how many at most; 0: DefaultLimit; above MaxLimit: MaxLimit.
	Limit int
}

// List gives entries, the newest first. It does not verify them.
func List(ctx context.Context, db *database.DB, q Query) (entries []Entry, err error) {
	where, arguments := q.conditions()
	err = db.View(ctx, "listing the audit", func(tx *database.Tx) error {
		entries, err = load(ctx, tx, where+` ORDER BY id DESC LIMIT ?`, append(arguments, q.limit()))
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func (q *Query) limit() int {
	if q.Limit <= 0 {
		return DefaultLimit
	}
	return min(q.Limit, MaxLimit)
}

// conditions is what a query asks for in SQL. What it does not ask for is left out, so that
// an index can serve the rest.
func (q *Query) conditions() (where string, arguments []any) {
	var conditions []string
	and := func(given bool, condition string, argument any) {
		if given {
			conditions = append(conditions, condition)
			arguments = append(arguments, argument)
		}
	}
	and(q.Kind != "", `kind = ?`, plain(q.Kind))
	and(q.Name != "", `name = ?`, plain(q.Name))
	and(q.Actor != "", `actor = ?`, plain(q.Actor))
	and(q.Action != "", `action = ?`, plain(q.Action))
	and(!q.Since.IsZero(), `t >= ?`, ceiling(q.Since))
	and(!q.Until.IsZero(), `t < ?`, ceiling(q.Until))
	and(q.After > 0, `id < ?`, q.After)
	if len(conditions) == 0 {
		return "", nil
	}
	return ` WHERE ` + strings.Join(conditions, ` AND `), arguments
}

// ceiling is the first millisecond that is not before t: entries have whole ones.
func ceiling(t time.Time) int64 {
	millis := t.UnixMilli()
	if time.UnixMilli(millis).Before(t) {
		millis++
	}
	return millis
}

// load reads the entries that rest, what follows the FROM clause, gives.
func load(ctx context.Context, tx *database.Tx, rest string, arguments []any) (entries []Entry, err error) {
	err = each(ctx, tx, rest, arguments, func(e *Entry) { entries = append(entries, *e) })
	return entries, err
}

// each calls f for each of these entries, one at a time: some are large.
func each(ctx context.Context, tx *database.Tx, rest string, arguments []any, f func(*Entry)) error {
	rows, err := tx.Query(ctx, `SELECT id, t, actor, origin, action, kind, name, before_state, after_state, hash FROM audit`+rest, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
		var t int64
		var hash []byte
		if err := rows.Scan(&e.ID, &t, &e.Actor, &e.Origin, &e.Action, &e.Kind, &e.Name, &e.Before, &e.After, &hash); err != nil {
			return fmt.Errorf("reading an entry: %w", err)
		}
		e.Time = time.UnixMilli(t).UTC()
		if len(hash) == sha256.Size { // another one is none: it fits nothing
			e.Hash = [sha256.Size]byte(hash)
		}
		f(&e)
	}
	return rows.Err()
}
