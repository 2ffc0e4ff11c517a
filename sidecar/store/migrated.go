package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// finishMigration does to rows that a migration made, and nothing changed since, what SQL
// could not: it gives subscriptions the looks of their names, and writes developers as Create
// does.
func (s *Store) finishMigration(ctx context.Context) error {
	return s.db.Transact(ctx, "finishing the migration", func(tx *database.Tx) error {
		looks, err := looksOf4(ctx, tx)
		if err != nil {
			return err
		}
		for id, look := range looks {
			if _, err := tx.Exec(ctx, `UPDATE subscription SET look = ? WHERE id = ?`, look, id); err != nil {
				return err
			}
		}
		developers, err := selectObjects(ctx, tx, `kind = 'developer' AND change = 0`)
		if err != nil {
			return err
		}
		for _, o := range developers {
			var d catalog.Developer
			if err := json.Unmarshal(o.Spec, &d); err != nil {
				return fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
			}
			spec, err := encoded(d)
			if err != nil {
				return err
			}
			if bytes.Equal(spec, o.Spec) {
				continue
			}
			if _, err := tx.Exec(ctx, `UPDATE object SET spec = ? WHERE kind = 'developer' AND name = ?`, string(spec), o.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// looksOf4 are the looks, by id, of subscriptions that have the plain name for one.
func looksOf4(ctx context.Context, tx *database.Tx) (map[int64]string, error) {
	found, err := tx.Query(ctx, `SELECT id, name FROM subscription WHERE change = 0 AND removed = 0 AND look = name`)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	looks := map[int64]string{}
	for found.Next() {
		var id int64
		var name string
		if err := found.Scan(&id, &name); err != nil {
			return nil, err
		}
		if look := catalog.Look(name); look != name {
			looks[id] = look
		}
	}
	return looks, found.Err()
}
