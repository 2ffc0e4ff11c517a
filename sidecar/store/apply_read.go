package store

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/sidecar/database"
)

// chunkSize is how many values one statement looks for.
const chunkSize = 500

// places stand for a chunk in a statement.
var places = "(" + strings.Repeat("?, ", chunkSize-1) + "?)"

// chunks are values in parts that one statement looks for. In the last one a value stands
// several times, so that there is one statement for all.
func chunks(values []any) iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for part := range slices.Chunk(values, chunkSize) {
			full := slices.Grow(slices.Clone(part), chunkSize-len(part))
			for len(full) < chunkSize {
				full = append(full, part[0])
			}
			if !yield(full) {
				return
			}
		}
	}
}

// eachOf calls each for the rows of a statement that ends where a list of values is to be,
// which differ.
func eachOf(ctx context.Context, tx *database.Tx, statement string, values []any, each func(scan func(...any) error) error) error {
	for chunk := range chunks(values) {
		if err := eachFound(ctx, tx, statement+places, chunk, each); err != nil {
			return err
		}
	}
	return nil
}

func eachFound(ctx context.Context, tx *database.Tx, statement string, arguments []any, each func(scan func(...any) error) error) error {
	found, err := tx.Query(ctx, statement, arguments...)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		if err := each(found.Scan); err != nil {
			return err
		}
	}
	return found.Err()
}

// readSubscriptions reads those that are there by name, and those that were removed by name
// and developer, of several the latest: what the source has, and what the file names. last is
// the last id of all.
func (p *planning) readSubscriptions() (live, removed map[string]*Subscription, last uint32, err error) {
	live, removed, p.read = map[string]*Subscription{}, map[string]*Subscription{}, map[uint32]bool{}
	take := func(r row) error {
		if r.removed {
			removed[r.Name+"\x00"+r.Developer.Email] = &r.Subscription
		} else {
			live[r.Name], p.read[r.ID] = &r.Subscription, true
		}
		return nil
	}
	for _, source := range []string{p.write.Source, FileSource("")} {
		if !p.leaves(source) {
			continue
		}
		if err := eachRow(p.ctx, p.tx, `s.removed = 0 AND s.source = ?`, []any{source}, take); err != nil {
			return nil, nil, 0, err
		}
	}
	for _, where := range []string{`removed = 0`, `removed = 1`} {
		for chunk := range chunks(p.unread(live)) {
			// Said so that SQLite looks them up by their names and not all by their ids.
			if err := eachRow(p.ctx, p.tx, `s.id IN (SELECT id FROM subscription WHERE `+where+` AND name IN `+places+`)`, chunk, take); err != nil {
				return nil, nil, 0, err
			}
		}
	}
	err = p.tx.QueryRow(p.ctx, `SELECT COALESCE(MAX(id), 0) FROM subscription`).Scan(&last)
	return live, removed, last, err
}

// unread are the names in the file that are not among those.
func (p *planning) unread(among map[string]*Subscription) (names []any) {
	for i := range p.want {
		if among[p.want[i].Name] == nil {
			names = append(names, p.want[i].Name)
		}
	}
	return names
}

// readKeys reads what became of the file's keys, but for those that are where they are to be.
func (p *planning) readKeys(live map[string]*Subscription) error {
	var digests []any
	for i := range p.want {
		w := &p.want[i]
		for _, k := range w.Keys {
			if old := live[w.Name]; old == nil || !slices.ContainsFunc(old.Keys, func(held Key) bool { return sameKey(held, k) }) {
				digests = append(digests, k.Digest[:])
			}
		}
	}
	p.taken, p.revoked = map[[32]byte]string{}, map[[32]byte]bool{}
	var digest []byte
	var id uint32
	var name string
	if err := eachOf(p.ctx, p.tx, `SELECT digest FROM revoked_key WHERE digest IN `, digests, func(scan func(...any) error) error {
		if err := scan(&digest); err != nil {
			return err
		}
		p.revoked[[32]byte(digest)] = true
		return nil
	}); err != nil {
		return err
	}
	return eachOf(p.ctx, p.tx, `SELECT k.digest, s.id, s.name FROM key k JOIN subscription s ON s.id = k.subscription WHERE k.digest IN `, digests,
		func(scan func(...any) error) error {
			if err := scan(&digest, &id, &name); err != nil || p.read[id] {
				return err
			}
			p.taken[[32]byte(digest)] = name
			return nil
		})
}

// allowedKeys are the file's keys of a subscription but for those that are not to come back.
func (p *planning) allowedKeys(w *Subscription) (allowed []Key) {
	for _, k := range w.Keys {
		if !p.revoked[k.Digest] || p.file.Conflicts == ConflictsTakeOver {
			allowed = append(allowed, k)
			continue
		}
		p.keeps("key", keyName(w, k.Slot), "was revoked or replaced, and the file still declares it: declare another one, or take it over")
	}
	return allowed
}

// others calls each for the live subscriptions that were not read and meet a condition on one
// of the values, with as much as counts needs.
func (p *planning) others(condition string, values []any, each func(*Subscription)) error {
	return eachOf(p.ctx, p.tx, `SELECT id, name, developer, scope_kind, scope_name, state, expires FROM subscription WHERE removed = 0 AND `+condition+` IN `, values,
		func(scan func(...any) error) error {
			var sub Subscription
			err := scan(&sub.ID, &sub.Name, &sub.Developer.Email, &sub.Scope.Kind, &sub.Scope.Name, &sub.State, &sub.Expires)
			if err == nil && !p.read[sub.ID] {
				each(&sub)
			}
			return err
		})
}
