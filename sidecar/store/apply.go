package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// Apply makes the store hold c's developers and subscriptions, in one transaction, and says
// whether anything changed. It reads the keys through secrets and keeps their digests.
//
// A subscription keeps its id for as long as its name stays in the catalog, and gets it
// back, and its start, when the name returns with the same developer; a name that returns with another
// developer is another subscription. Its revision moves when anything that hangs on it
// changed. An error leaves the store as it was; it names every mistake, and no key.
func (s *Store) Apply(ctx context.Context, c *catalog.Catalog, secrets Secrets) (changed bool, err error) {
	want, err := declared(c, secrets)
	if err != nil {
		return false, fmt.Errorf("applying catalog: %w", err)
	}
	err = s.db.Transact(ctx, "applying catalog", func(tx *database.Tx) error {
		if err := s.alone(ctx, tx); err != nil {
			return err
		}
		held, err := loadSubscriptions(ctx, tx)
		if err != nil {
			return err
		}
		p := planOf(held, want, s.now())
		developers, err := applyDevelopers(ctx, tx, c.Developers)
		if err != nil {
			return err
		}
		changed = developers || !p.empty()
		return p.apply(ctx, tx)
	})
	return changed && err == nil, err
}

// plan is what Apply has to write.
type plan struct {
	insert, update, remove []Subscription
}

func (p plan) empty() bool { return len(p.insert)+len(p.update)+len(p.remove) == 0 }

func planOf(held []row, want []Subscription, now time.Time) plan {
	var p plan
	var last uint32
	live, removed := map[string]Subscription{}, map[string]Subscription{}
	for _, r := range held {
		last = max(last, r.ID)
		if r.removed {
			removed[r.Name+"\x00"+r.Developer.Email] = r.Subscription // the latest: rows come by id
		} else {
			live[r.Name] = r.Subscription
		}
	}
	for _, w := range want {
		old, ok := live[w.Name]
		delete(live, w.Name)
		returns := false
		if !ok {
			old, returns = removed[w.Name+"\x00"+w.Developer.Email]
		}
		w.ID, w.Revision = old.ID, old.Revision+1
		switch {
		case !ok && !returns:
			last++
			w.ID, w.Started = last, now
			p.insert = append(p.insert, w)
		case returns || !same(old, w):
			p.update = append(p.update, w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		p.remove = append(p.remove, live[name])
	}
	return p
}

// same compares what hangs on two subscriptions of one name.
func same(a, b Subscription) bool {
	return a.Scope == b.Scope && a.State == b.State && a.Expires == b.Expires && maps.Equal(a.Attributes, b.Attributes) &&
		a.Developer.Email == b.Developer.Email && a.Developer.Name == b.Developer.Name &&
		slices.Equal(a.Developer.Groups, b.Developer.Groups) && slices.Equal(a.Keys, b.Keys)
}

func (p plan) apply(ctx context.Context, tx *database.Tx) error {
	// Keys leave first: two subscriptions may have swapped theirs.
	for _, sub := range slices.Concat(p.update, p.remove) {
		if _, err := tx.Exec(ctx, `DELETE FROM key WHERE subscription = ?`, int64(sub.ID)); err != nil {
			return err
		}
	}
	for _, sub := range p.remove {
		if _, err := tx.Exec(ctx, `UPDATE subscription SET removed = 1, revision = revision + 1 WHERE id = ?`, int64(sub.ID)); err != nil {
			return err
		}
	}
	for _, sub := range p.insert {
		if _, err := tx.Exec(ctx, `
			INSERT INTO subscription (name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, id, started)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`, append(columns(sub), sub.Started.UnixMilli())...); err != nil {
			return err
		}
	}
	for _, sub := range p.update {
		if _, err := tx.Exec(ctx, `
			UPDATE subscription SET name = ?, developer = ?, scope_kind = ?, scope_name = ?, state = ?, expires = ?, attributes = ?,
			       revision = ?, removed = 0 WHERE id = ?`, columns(sub)...); err != nil {
			return err
		}
	}
	return insertKeys(ctx, tx, slices.Concat(p.insert, p.update))
}

func columns(sub Subscription) []any {
	attributes, _ := json.Marshal(sub.Attributes) // a map of strings always marshals
	return []any{sub.Name, sub.Developer.Email, string(sub.Scope.Kind), sub.Scope.Name, int(sub.State), int64(sub.Expires),
		string(attributes), int64(sub.Revision), int64(sub.ID)}
}

func insertKeys(ctx context.Context, tx *database.Tx, subs []Subscription) error {
	for _, sub := range subs {
		for _, k := range sub.Keys {
			if _, err := tx.Exec(ctx, `INSERT INTO key (subscription, slot, digest) VALUES (?, ?, ?)`,
				int64(sub.ID), int(k.Slot), k.Digest[:]); err != nil {
				return fmt.Errorf("keys of subscription %q: %w", sub.Name, err)
			}
		}
	}
	return nil
}

// applyDevelopers writes developers that are new or changed and removes the others.
func applyDevelopers(ctx context.Context, tx *database.Tx, want []catalog.Developer) (changed bool, err error) {
	held, err := loadDevelopers(ctx, tx)
	if err != nil {
		return false, err
	}
	for _, d := range want {
		groups, _ := json.Marshal(orEmpty(d.Groups)) // a list of strings always marshals
		now := developerRow{name: d.Name, groups: string(groups)}
		old, ok := held[d.Email]
		delete(held, d.Email)
		if ok && old == now {
			continue
		}
		changed = true
		if _, err := tx.Exec(ctx, `
			INSERT INTO developer (email, name, groups) VALUES (?, ?, ?)
			ON CONFLICT (email) DO UPDATE SET name = excluded.name, groups = excluded.groups`, d.Email, now.name, now.groups); err != nil {
			return false, fmt.Errorf("developer %s: %w", d.Email, err)
		}
	}
	for email := range held {
		changed = true
		if _, err := tx.Exec(ctx, `DELETE FROM developer WHERE email = ?`, email); err != nil {
			return false, fmt.Errorf("developer %s: %w", email, err)
		}
	}
	return changed, nil
}

type developerRow struct{ name, groups string }

func loadDevelopers(ctx context.Context, tx *database.Tx) (map[string]developerRow, error) {
	found, err := tx.Query(ctx, `SELECT email, name, groups FROM developer`)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	held := map[string]developerRow{}
	for found.Next() {
		var email string
		var d developerRow
		if err := found.Scan(&email, &d.name, &d.groups); err != nil {
			return nil, err
		}
		held[email] = d
	}
	return held, found.Err()
}
